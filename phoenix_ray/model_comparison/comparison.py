"""Compares models: chooses frames, runs one model after the other, and brings together what was found.

`commands.compare` calls `compare_models`; `as_json`, `tables` and `page` show the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import Settings
from phoenix_ray.errors import ConfigError, ModelError, SourceError
from phoenix_ray.estimation import error_message
from phoenix_ray.layouts.correspondence import PARTS_OF_133, coco_133_points
from phoenix_ray.model_comparison.candidates import ModelChoice
from phoenix_ray.model_comparison.findings_of_model import ModelFindings, compared_parts, find_out, points_133
from phoenix_ray.model_comparison.label_scores import WHOLE_BODY, PartScores, score_part
from phoenix_ray.model_comparison.labels import MatchedLabels, PersonLabel, match_labels, read_label_files
from phoenix_ray.model_comparison.measurement import ModelResult, run_candidate
from phoenix_ray.model_comparison.pair_agreement import PairAgreement, compare_pair
from phoenix_ray.model_comparison.sample import SampledRun, choose_runs, read_runs
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.registry import open_source
from phoenix_ray.text import ShowProgress


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How much is compared.

    Attributes:
        frames: Frames in all.
        videos: Videos at most; None leaves it to `sample.choose_runs`.
    """

    frames: int = 200
    videos: int | None = None


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """A model that ran: what it did, what it found, and what labels say about it (empty without labels)."""

    result: ModelResult
    findings: ModelFindings
    scores: Mapping[str, PartScores]

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.result.candidate.label


@dataclass(frozen=True, slots=True)
class FailedModel:
    """A model that could not be compared, and why, with the way out."""

    candidate: ModelChoice
    reason: str


@dataclass(frozen=True, slots=True)
class LabelUse:
    """What became of labels.

    Attributes:
        path: Their file, or files.
        used: Frames of the sample with a labelled person.
        without_person: Frames of the sample whose label has no person, or no point of one.
        unlabelled: Frames of the sample without a label.
        outside: Labels whose frames are not in the sample.
        without_frame: As in `MatchedLabels`.
        ambiguous: As in `MatchedLabels`.
        several: As in `MatchedLabels`.
        unreadable: Labels whose frames cannot be read.
    """

    path: str
    used: int
    without_person: int
    unlabelled: int
    outside: int
    without_frame: int
    ambiguous: int
    several: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Models on the same frames.

    Attributes:
        source: What was read, in a line.
        runs: The sample.
        videos: Videos of the source.
        problems: Videos of the source that cannot be read.
        models: Those that ran, in the order of the words.
        failed: Those that did not.
        pairs: Each two of those that ran; with a reference only those that it is part of.
        labels: What became of the labels, None without any.
    """

    source: str
    runs: tuple[SampledRun, ...]
    videos: int
    problems: int
    models: tuple[ComparedModel, ...]
    failed: tuple[FailedModel, ...]
    pairs: tuple[PairAgreement, ...]
    labels: LabelUse | None

    @property
    def frames(self) -> int:
        """Frames of the sample."""
        return sum(len(run.frames) for run in self.runs)


def compare_models(
    settings: Settings,
    candidates: Sequence[ModelChoice],
    size: SampleSize,
    labels: Sequence[Path],
    reference: ModelChoice | None,
    announce: Callable[[str], None],
    show: ShowProgress,
) -> ModelComparison:
    """Return the comparison of models on a sample of a source.

    Args:
        settings: Source and decoding.
        candidates: The models, at least one.
        size: How much is compared.
        labels: Files of COCO keypoint annotations; none compares the models with each other alone.
        reference: Compare each model with this alone, of `candidates`; None compares each two.
        announce: Receives a line for each download of weights.
        show: Moves a progress bar over the models.

    Raises:
        ConfigError: The labels cannot be read, or mean no frame of the source.
        ModelError: No model could be run.
        SourceError: The source cannot be read, or holds no frames.
    """
    source = open_source(settings.source)
    listed = list(source.videos())
    videos = [video for video in listed if isinstance(video, Video)]
    matched = _match(labels, videos)
    labelled = {key: list(of) for key, of in matched.frames.items()} if matched else None
    runs = choose_runs(videos, size.frames, size.videos, labelled)
    if not runs:
        problems = [video for video in listed if isinstance(video, SourceProblem)]
        why = f": {problems[0].message}" if problems else ": it holds no frames."
        raise SourceError(f"{source.root} has nothing to compare models on{why}")
    sample = read_runs(runs, settings.decode, show)
    results, failed = _run(candidates, sample, announce, show)
    if not results:
        raise ModelError("No model could be run. " + " ".join(f"{model.reason}" for model in failed))
    marks = _labels_of(sample, matched) if matched else None
    compared = [
        ComparedModel(result, find_out(result.runs), _scores(result, marks) if marks else {}) for result in results
    ]
    pairs = [
        compare_pair((first.candidate.label, first.runs), (second.candidate.label, second.runs))
        for first, second in _pairs(results, reference)
    ]
    use = _label_use(labels, sample, matched) if matched else None
    return ModelComparison(
        source.description,
        tuple(sample),
        len(videos),
        len(listed) - len(videos),
        tuple(compared),
        tuple(failed),
        tuple(pairs),
        use,
    )


def _match(labels: Sequence[Path], videos: Sequence[Video]) -> MatchedLabels | None:
    if not labels:
        return None
    file = read_label_files(labels)
    matched = match_labels(file, videos)
    if not matched.count:
        example = f" (such as '{file.images[0][0]['file_name']}')" if file.images else ""
        raise ConfigError(
            f"None of the {len(file.images)} images of the labels {_names(labels)}{example} is a frame of the source. "
            "Name each as SPLIT/VIDEO/FRAME in 'file_name', or give 'video_id' and 'frame_index' (docs/compare.md)."
        )
    return matched


def _run(
    candidates: Sequence[ModelChoice], sample: Sequence[SampledRun], announce: Callable[[str], None], show: ShowProgress
) -> tuple[list[ModelResult], list[FailedModel]]:
    results, failed = [], []
    for done, candidate in enumerate(candidates):
        show(done, len(candidates), f" {candidate.label}")
        try:
            results.append(run_candidate(candidate, sample, announce))
        # Whatever a network or a library raises, the other models can still be compared.
        except Exception as error:
            reason = f"{candidate.label}: {error_message(error)}"
            failed.append(FailedModel(candidate, reason))
    show(len(candidates), len(candidates))
    return results, failed


def _pairs(results: Sequence[ModelResult], reference: ModelChoice | None) -> list[tuple[ModelResult, ModelResult]]:
    if reference is None:
        return list(combinations(results, 2))
    given = [result for result in results if result.candidate == reference]
    return [(first, second) for first in given for second in results if second is not first]


@dataclass(frozen=True, slots=True)
class _Marks:
    """The labels of a sample: points float64 (frames, 133, 2) in pixels, areas float64 (frames,); NaN where none."""

    points: NDArray[np.float64]
    areas: NDArray[np.float64]


def _labels_of(sample: Sequence[SampledRun], matched: MatchedLabels) -> _Marks:
    frames = [(run.video, frame) for run in sample for frame in run.frames]
    points, areas = np.full((len(frames), 133, 2), np.nan), np.full(len(frames), np.nan)
    for row, (video, frame) in enumerate(frames):
        label = matched.frames.get((video.split, video.video_id), {}).get(frame.index)
        if label is None or frame.image is None:
            continue
        height, width = frame.image.shape[:2]
        # Labels may have been made on pictures of another size.
        scale = np.array([1.0, 1.0]) if label.size is None else np.array([width, height]) / np.maximum(label.size, 1)
        points[row], areas[row] = label.points * scale, label.area * scale.prod()
    return _Marks(points, areas)


def _scores(result: ModelResult, marks: _Marks) -> dict[str, PartScores]:
    """Return the scores of each part that the layout has and of the whole body where it has all parts."""
    layout = result.layout
    found = np.concatenate([points_133(run) for run in result.runs])
    has = np.array([point is not None for point in coco_133_points(layout)])
    parts = [part for part in compared_parts(layout) if part in PARTS_OF_133]
    if len(parts) == len(PARTS_OF_133):
        parts.append(WHOLE_BODY)
    scores = {part: score_part(part, found, marks.points, marks.areas, has) for part in parts}
    return {part: score for part, score in scores.items() if score is not None}


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _label_use(paths: Sequence[Path], sample: Sequence[SampledRun], matched: MatchedLabels) -> LabelUse:
    used = without_person = unlabelled = unreadable = 0
    for run in sample:
        labels: Mapping[int, PersonLabel | None] = matched.frames.get((run.video.split, run.video.video_id), {})
        for frame in run.frames:
            if frame.index not in labels:
                unlabelled += 1
            elif frame.image is None:
                unreadable += 1
            elif (label := labels[frame.index]) is None or np.isnan(label.points).all():
                without_person += 1
            else:
                used += 1
    return LabelUse(
        path=_names(paths),
        used=used,
        without_person=without_person,
        unlabelled=unlabelled,
        outside=matched.count - used - without_person - unreadable,
        without_frame=matched.without_frame,
        ambiguous=matched.ambiguous,
        several=matched.several,
        unreadable=unreadable,
    )
