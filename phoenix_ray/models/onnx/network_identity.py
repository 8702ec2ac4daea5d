"""What the landmarks of a network in an ONNX file depend on beside the pixels: its part of a dataset's identity."""

from __future__ import annotations

import json
from collections.abc import Iterator

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.onnx.boxes import box_rule
from phoenix_ray.models.onnx.manifest import DetectorManifest, NetworkFile, PoseManifest
from phoenix_ray.models.onnx.session import frames_at_once
from phoenix_ray.models.weight_files import WEIGHTS
from phoenix_ray.setting_types import Section

ENGINE = "onnx"
# Raise it with every change of `models/onnx` that moves a landmark.
PIPELINE_VERSION = "1"
# The box that MediaPipe's detector finds needs this network.
_BLAZEPOSE = "pose_detection"
# Fields of a manifest that move no landmark: texts for people, and where its file is. The sha256 of the file counts;
# `box` is what the manifest proposes, and the identity has what was decided.
_NOT_COMPARED = frozenset({"name", "description", "license", "source", "weights", "fp16", "kind", "box"})


def network_identity(
    manifest: PoseManifest, file: NetworkFile, detector: DetectorManifest | None, settings: ModelSettings
) -> dict[str, str]:
    """Return everything that two runs with a network must have in common.

    Args:
        manifest: Describes the network.
        file: Its file, in the precision that the settings ask for.
        detector: Describes the network that finds boxes; None if another rule does.
        settings: The run's settings.
    """
    box = box_rule(manifest, settings)
    identity = {
        "model": manifest.name,
        "engine": ENGINE,
        "pipeline_version": PIPELINE_VERSION,
        "weights": file.sha256,
        **dict(_flat(manifest, _NOT_COMPARED)),
        "box": box,
        **arithmetic(settings),
    }
    if box == "blazepose":
        identity["min_detection_confidence"] = repr(settings.min_detection_confidence)
        identity["box.weights"] = next(weight.sha256 for weight in WEIGHTS if weight.name == _BLAZEPOSE)
        identity["litert"] = provenance.litert_generation()
    if detector is not None:
        identity["detector"] = detector.name
        identity["detector.weights"] = detector.weights.sha256
        identity |= {f"detector.{name}": value for name, value in _flat(detector, _NOT_COMPARED)}
    return identity


def arithmetic(settings: ModelSettings) -> dict[str, str]:
    """Return what the bits of a network's outputs depend on beside its file.

    On the CPU these are the kind of processor, the generation of onnxruntime, and its threads, among which it divides
    sums; a network sees one input at a time there, so the batch does not matter. On a GPU they are the kind of device,
    the version of onnxruntime, the precision, and the batch that all calls are filled up to.
    """
    precision = {} if settings.precision == "exact" else {"precision": settings.precision}
    if settings.device in ("auto", "cpu"):
        return {
            "device": "cpu",
            "architecture": processor(settings),
            "onnxruntime": provenance.onnxruntime_generation(),
            "threads": str(settings.threads),
            **precision,
        }
    return {
        "device": settings.device,
        "onnxruntime": provenance.onnxruntime_version(),
        "batch_size": str(frames_at_once(settings)),
        **precision,
    }


def processor(settings: ModelSettings) -> str:
    """Return the kind of processor whose arithmetic the settings ask for: this machine's, or the one that they name."""
    return provenance.vector_architecture() if settings.architecture == "auto" else settings.architecture


def _flat(section: Section, without: frozenset[str] = frozenset(), prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and text of each field of a section and the sections in it; lists as JSON."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name in without:
            continue
        if isinstance(value, Section):
            yield from _flat(value, prefix=f"{prefix}{name}.")
        elif isinstance(value, tuple):
            yield f"{prefix}{name}", json.dumps(section.model_dump(mode="json")[name])
        else:
            yield f"{prefix}{name}", str(value)
