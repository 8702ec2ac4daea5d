"""A comparison as plain values for programs: `comparison.json`. docs/compare.md lists the fields."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict
from typing import Any

from phoenix_ray import __version__
from phoenix_ray.model_comparison.comparison import ComparedModel, ModelComparison
from phoenix_ray.text import printable_line

FORMAT = 1


def comparison_json(comparison: ModelComparison) -> dict[str, Any]:
    """Return the comparison as values that JSON has; null where something could not be measured."""
    tree = {
        "format": FORMAT,
        "version": __version__,
        "machine": {"system": platform.system(), "processes": 1},
        "source": printable_line(comparison.source),
        "sample": {
            "frames": comparison.frames,
            "videos_of_source": comparison.videos,
            "unreadable_videos_of_source": comparison.problems,
            "runs": [
                {
                    "split": run.video.split,
                    "video_id": run.video.video_id,
                    "first_frame": run.frames[0].index,
                    "frames": len(run.frames),
                    "unreadable": sum(frame.image is None for frame in run.frames),
                }
                for run in comparison.runs
            ],
        },
        "labels": asdict(comparison.labels) if comparison.labels else None,
        "models": [_model(model) for model in comparison.models],
        "failed": [{"model": model.candidate.label, "reason": model.reason} for model in comparison.failed],
        "pairs": [
            {"first": pair.first, "second": pair.second, "parts": [asdict(part) for part in pair.parts]}
            for pair in comparison.pairs
        ],
    }
    plain: dict[str, Any] = _finite(tree)
    return plain


def _model(model: ComparedModel) -> dict[str, Any]:
    result, findings = model.result, model.findings
    settings = result.candidate.settings
    return {
        "model": model.label,
        "settings": settings.model_dump(mode="json", exclude={"weights_path"}),
        "layout": result.layout.name,
        "kernels": result.kernels,
        "speed": asdict(result.speed),
        "statuses": dict(result.statuses),
        "readable_frames": findings.readable,
        "person_rate": findings.person_rate,
        "parts": {name: asdict(part) for name, part in findings.parts.items()},
        "compared_parts": {name: asdict(part) for name, part in findings.shared.items()},
        "labels": {name: asdict(score) for name, score in model.scores.items()},
    }


def _finite(value: Any) -> Any:
    """Return a value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
