"""What one model finds on the sample: how often each part, how steadily, how surely; and its points among the 133.

Movements are those of `statistics.measures`. They are given twice: for the parts of the model's own layout, and for its
points among COCO-WholeBody's 133, which mean the same in every model and so can be set side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.layouts import COCO_WHOLEBODY_133, Layout, Part
from phoenix_ray.layouts.coco import BODY_NAMES, IMAGE_AXES
from phoenix_ray.layouts.correspondence import PARTS_OF_133, Point, coco_133_points
from phoenix_ray.statistics.measures import PartMeasures, measure_blocks

# Axes that say how sure a model is of a point, in the order in which they are looked for.
_CONFIDENCES = ("confidence", "visibility")

# The body down to the wrists, without hips and legs: in pictures of signers these lie behind a table or below the edge,
# and what models guess of them hides how they differ on what is seen. Its points are points of the pose, too.
UPPER_BODY = "upper_body"
_UPPER_POINTS = slice(0, 11)
COMPARED_PARTS = {"pose": PARTS_OF_133["pose"], UPPER_BODY: _UPPER_POINTS, **PARTS_OF_133}
_COMPARED = Layout(
    "compared",
    tuple(
        Part(UPPER_BODY, tuple(BODY_NAMES[_UPPER_POINTS]), IMAGE_AXES)
        if name == UPPER_BODY
        else COCO_WHOLEBODY_133.part(name)
        for name in COMPARED_PARTS
    ),
)


@dataclass(frozen=True, slots=True)
class PartFindings:
    """What a model finds of one part.

    Attributes:
        found: Frames in which any point of it was found.
        rate: Their share of the frames that could be read, 0..1.
        jitter: As in `PartMeasures`, in pixels.
        jerk: As in `PartMeasures`, in px per frame³.
        confidence: Mean over the points found: visibility or confidence of a point, where the layout has neither the
            presence score of the part. In units of the model's own; None where it gives none.
    """

    found: int
    rate: float
    jitter: float | None
    jerk: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class ModelFindings:
    """What a model finds on the sample.

    Attributes:
        readable: Frames that could be read.
        people: Frames with a person: any part was found.
        parts: By part of the model's own layout; those in metres are left out.
        shared: By part of `COMPARED_PARTS`, of which the layout has at least one point.
    """

    readable: int
    people: int
    parts: Mapping[str, PartFindings]
    shared: Mapping[str, PartFindings]

    @property
    def person_rate(self) -> float:
        """Share of the readable frames with a person, 0..1."""
        return self.people / self.readable if self.readable else 0.0


def find_out(runs: Sequence[VideoLandmarks]) -> ModelFindings:
    """Return what a model found in the runs of a sample."""
    readable = sum(status != "unreadable" for run in runs for status in run.status)
    people = sum(status == "ok" for run in runs for status in run.status)
    known = compared_parts(runs[0].layout) if runs else ()
    shared = _parts([as_133(run) for run in runs], readable)
    return ModelFindings(
        readable, people, _parts(runs, readable), {part: found for part, found in shared.items() if part in known}
    )


def compared_parts(layout: Layout) -> tuple[str, ...]:
    """Return the parts of `COMPARED_PARTS` of which a layout has at least one point."""
    mapping = coco_133_points(layout)
    return tuple(part for part, own in COMPARED_PARTS.items() if any(point is not None for point in mapping[own]))


def upper_body(first: Layout, second: Layout) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Return the points of `UPPER_BODY` that two layouts share, in each; empty where they share none."""
    places = zip(coco_133_points(first)[_UPPER_POINTS], coco_133_points(second)[_UPPER_POINTS], strict=True)
    shared = [(mine, theirs) for mine, theirs in places if mine is not None and theirs is not None]
    return tuple(mine for mine, _ in shared), tuple(theirs for _, theirs in shared)


def points_133(run: VideoLandmarks) -> NDArray[np.float64]:
    """Return COCO-WholeBody's points in pixels, float64 (frames, 133, 2), NaN where missing or not in the layout."""
    found = as_133(run)
    normalised = np.concatenate([found.points[part][:, :, :2] for part in PARTS_OF_133], axis=1).astype(np.float64)
    sizes = np.where(run.sizes > 0, run.sizes, np.nan)[:, np.newaxis]
    pixels: NDArray[np.float64] = normalised * sizes
    pixels[np.isnan(pixels).any(axis=2)] = np.nan
    return pixels


def as_133(run: VideoLandmarks) -> VideoLandmarks:
    """Return a run as `COMPARED_PARTS`, NaN where its layout has no such point; scores are those of their parts."""
    frames = len(run)
    points = {part.name: np.full((frames, len(part.points), 3), np.nan, np.float32) for part in _COMPARED.parts}
    scores = {part.name: np.full(frames, np.nan, np.float32) for part in _COMPARED.parts}
    sure = {part: confidence_of(run, part) for part in image_parts(run.layout)}
    mapping = coco_133_points(run.layout)
    for name, own in COMPARED_PARTS.items():
        for place, point in enumerate(mapping[own]):
            if point is not None and point[0] in sure:
                part, index = point
                points[name][:, place, :2] = run.points[part][:, index, :2]
                points[name][:, place, 2] = sure[part][:, index]
                scores[name] = run.scores[part]
    return replace(run, layout=_COMPARED, points=points, scores=scores)


def confidence_of(run: VideoLandmarks, part: str) -> NDArray[np.float32]:
    """Return how sure the model is of each point, float32 (frames, points), NaN where it does not say."""
    points, axes = run.points[part], run.layout.part(part).axes
    for axis in _CONFIDENCES:
        if axis in axes:
            return points[:, :, axes.index(axis)]
    score = run.scores.get(part, np.full(len(run), np.nan, np.float32))
    spread: NDArray[np.float32] = np.repeat(score[:, np.newaxis], points.shape[1], axis=1)
    return spread


def _parts(runs: Sequence[VideoLandmarks], readable: int) -> dict[str, PartFindings]:
    """Return the findings by part of the runs' layout."""
    if not runs:
        return {}
    measures = measure_blocks(_in_a_row(runs))
    return {part: _part(runs, part, measured, readable) for part, measured in measures.parts.items()}


def _part(runs: Sequence[VideoLandmarks], part: str, measured: PartMeasures, readable: int) -> PartFindings:
    sure = [confidence_of(run, part)[~np.isnan(run.points[part][:, :, 0])] for run in runs]
    known = np.concatenate(sure).astype(np.float64)
    known = known[~np.isnan(known)]
    return PartFindings(
        found=measured.found,
        rate=measured.found / readable if readable else 0.0,
        jitter=measured.jitter,
        jerk=measured.jerk,
        confidence=float(known.mean()) if len(known) else None,
    )


def _in_a_row(runs: Sequence[VideoLandmarks]) -> list[VideoLandmarks]:
    """Return runs with frame indices as of one video, in which no run follows the one before it."""
    numbered, first = [], 0
    for run in runs:
        indices = run.frame_index - (run.frame_index[0] if len(run) else 0) + first
        numbered.append(replace(run, frame_index=indices.astype(np.int32)))
        first = int(indices[-1]) + 2 if len(run) else first
    return numbered
