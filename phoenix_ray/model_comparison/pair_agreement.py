"""How far two models lie apart on the same frames: on the points that their layouts share, part by part.

docs/compare.md states each definition. A distance is counted where both models found a point; where one alone found it,
that is counted beside the distances, never as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts.correspondence import CommonPart, Point, shared_points
from phoenix_ray.model_comparison.findings_of_model import UPPER_BODY, points_133, upper_body
from phoenix_ray.model_comparison.label_scores import OUTER_EYES, SHOULDERS


@dataclass(frozen=True, slots=True)
class PairPart:
    """How one part of two models compares.

    Attributes:
        name: The part.
        points: Points that both layouts have.
        frames: Frames that could be read.
        both: Frames in which both found a point of it.
        only_first: Frames in which only the first did.
        only_second: Frames in which only the second did.
        distances: Distances that were measured.
        one_sided: Points that one model alone found, in the frames of `both`.
        median_px: Median of the distances in pixels; None without any.
        p95_px: 95 % of the distances are at most this.
        unit: What the shares are of: `shoulder width` or, for the face, `eye distance`.
        median_share: Median of the distances as a share of the unit; None where the unit was found in no frame.
        p95_share: As `p95_px`.
        without_unit: Distances that the shares leave out, in runs where the unit was not found.
    """

    name: str
    points: int
    frames: int
    both: int
    only_first: int
    only_second: int
    distances: int
    one_sided: int
    median_px: float | None
    p95_px: float | None
    unit: str
    median_share: float | None
    p95_share: float | None
    without_unit: int


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How two models compare.

    Attributes:
        first: Label of the one.
        second: Label of the other.
        parts: The parts that both have, none where their layouts share no point.
        apart: float64 (frames,): for each frame of the sample the largest median distance of a part, in pixels, of the
            pose that of the upper body; NaN where nothing was compared.
        one_sided: int (frames,): parts that one model alone found.
    """

    first: str
    second: str
    parts: tuple[PairPart, ...]
    apart: NDArray[np.float64]
    one_sided: NDArray[np.int64]


def compare_pair(
    first: tuple[str, Sequence[VideoLandmarks]], second: tuple[str, Sequence[VideoLandmarks]]
) -> PairAgreement:
    """Compare two models on the runs of a sample, of which there is at least one.

    Args:
        first: A model's label and its landmarks of each run.
        second: Those of another model, of the same runs.
    """
    runs = list(zip(first[1], second[1], strict=True))
    frames = sum(len(run) for run, _ in runs)
    apart, one_sided = np.full(frames, np.nan), np.zeros(frames, np.int64)
    layouts = (runs[0][0].layout, runs[0][1].layout)
    shared = list(shared_points(*layouts))
    mine, theirs = upper_body(*layouts)
    if mine:
        # Behind the pose, whose points these are.
        shared.insert(1, CommonPart(UPPER_BODY, mine, theirs))
    widths = [_unit_length(run, other, SHOULDERS) for run, other in runs]
    eyes = [_unit_length(run, other, OUTER_EYES) for run, other in runs]
    parts = []
    for part in shared:
        unit, lengths = ("eye distance", eyes) if part.name == "face" else ("shoulder width", widths)
        compared, distances, alone = _compare_part(part, runs, unit, lengths)
        parts.append(compared)
        if part.name != "pose" or not mine:
            apart = np.fmax(apart, distances)
        if part.name != UPPER_BODY:
            one_sided += alone
    return PairAgreement(first[0], second[0], tuple(parts), apart, one_sided)


def _compare_part(
    part: CommonPart, runs: Sequence[tuple[VideoLandmarks, VideoLandmarks]], unit: str, lengths: Sequence[float]
) -> tuple[PairPart, NDArray[np.float64], NDArray[np.bool_]]:
    """Return the comparison of a part, its median distance in each frame, and where one model alone found it."""
    mine = np.concatenate([_pixels(run, part.first) for run, _ in runs])
    theirs = np.concatenate([_pixels(run, part.second) for _, run in runs])
    readable = np.concatenate([(run.sizes > 0).all(axis=1) for run, _ in runs])
    scale = np.concatenate([np.full(len(run), length) for (run, _), length in zip(runs, lengths, strict=True)])
    here, there = ~np.isnan(mine).any(axis=2), ~np.isnan(theirs).any(axis=2)
    found, also = here.any(axis=1), there.any(axis=1)
    both = here & there
    distances = np.linalg.norm(mine - theirs, axis=2)
    shares = distances / scale[:, np.newaxis]
    values, ratios = distances[both], shares[both]
    known = ratios[~np.isnan(ratios)]
    compared = PairPart(
        name=part.name,
        points=len(part.first),
        frames=int(readable.sum()),
        both=int((found & also).sum()),
        only_first=int((found & ~also).sum()),
        only_second=int((also & ~found).sum()),
        distances=len(values),
        one_sided=int((here ^ there)[found & also].sum()),
        median_px=_quantile(values, 0.5),
        p95_px=_quantile(values, 0.95),
        unit=unit,
        median_share=_quantile(known, 0.5),
        p95_share=_quantile(known, 0.95),
        without_unit=len(ratios) - len(known),
    )
    of_frames = np.full(len(distances), np.nan)
    for row in np.flatnonzero(both.any(axis=1)).tolist():
        of_frames[row] = np.median(distances[row, both[row]])
    return compared, of_frames, found ^ also


def _pixels(run: VideoLandmarks, points: Sequence[Point]) -> NDArray[np.float64]:
    """Return points in pixels, float64 (frames, points, 2), NaN where missing or where the frame could not be read."""
    normalised = np.stack([run.points[part][:, index, :2] for part, index in points], axis=1).astype(np.float64)
    pixels: NDArray[np.float64] = normalised * np.where(run.sizes > 0, run.sizes, np.nan)[:, np.newaxis]
    return pixels


def _unit_length(first: VideoLandmarks, second: VideoLandmarks, ends: tuple[int, int]) -> float:
    """Return the distance of two of the 133 points in a run: the median over the frames of both models; NaN without.

    A median over the run, because a person who turns has narrow shoulders in single frames.
    """
    lengths = []
    for run in (first, second):
        points = points_133(run)
        lengths.append(np.linalg.norm(points[:, ends[0]] - points[:, ends[1]], axis=1))
    known = np.concatenate(lengths)
    known = known[known > 0]
    return float(np.median(known)) if len(known) else float("nan")


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
