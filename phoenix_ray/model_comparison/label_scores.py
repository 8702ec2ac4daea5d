"""How near points come to labels: PCK, OKS and NME, as pure functions of arrays.

docs/compare.md states each definition. A point that is not labelled counts nowhere. A labelled point that a model does
not find is wrong for PCK and adds 0 to OKS; points that a model's layout does not have are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts.coco import FACE
from phoenix_ray.layouts.correspondence import PARTS_OF_133

Points = NDArray[np.float64]

# Standard deviation of each of the 133 points over the root of the person's area, as COCO-WholeBody's evaluation has
# them (jin-s13/COCO-WholeBody, evaluation/myeval_wholebody.py); the first 17 are COCO's (`kpt_oks_sigmas` of
# pycocotools).
_BODY_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087),
    *(0.089, 0.089),
)
_FEET_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043),
    *(0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007),
    *(0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011),
    *(0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007),
    *(0.007, 0.008, 0.011, 0.008, 0.008, 0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021),
    *(0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)
SIGMAS_133 = np.array((*_BODY_SIGMAS, *_FEET_SIGMAS, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS))

# Shoulders, and the outer corners of the eyes (36 and 45 of iBUG's 68 points), among the 133.
SHOULDERS = (5, 6)
OUTER_EYES = (FACE.start + 36, FACE.start + 45)

PCK_SHARES = (0.1, 0.2)
# COCO's thresholds: .50, .55, … .95.
OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
WHOLE_BODY = "whole_body"
_GROUPS = {**PARTS_OF_133, WHOLE_BODY: slice(0, len(SIGMAS_133))}


@dataclass(frozen=True, slots=True)
class PartScores:
    """What labels say about one part of a model, over the labelled frames.

    Attributes:
        frames: Frames with a labelled point of the part.
        points: Labelled points that the layout has.
        not_found: Those of them that the model did not find.
        pck: Share → share of the labelled points within it of the normaliser; empty where no frame has a normaliser.
        without_normaliser: Frames that PCK leaves out, because their labels give no length to divide by.
        oks: Mean object keypoint similarity over the frames whose label has an area; None without any.
        recall: Mean over COCO's thresholds of the share of those frames whose OKS reaches it; None without any.
        without_area: Frames that OKS leaves out.
        nme: Mean distance over the distance of the outer corners of the eyes (face alone); None where it is not
            defined.
        nme_frames: Frames that NME is the mean of.
    """

    frames: int
    points: int
    not_found: int
    pck: dict[str, float]
    without_normaliser: int
    oks: float | None
    recall: float | None
    without_area: int
    nme: float | None = None
    nme_frames: int = 0


def score_part(part: str, found: Points, labels: Points, areas: Points, has: NDArray[np.bool_]) -> PartScores | None:
    """Return the scores of a part, None where the layout has none of its points or no frame a label of them.

    Args:
        part: Of `PARTS_OF_133`, or `WHOLE_BODY`.
        found: float64 (frames, 133, 2): the model's points in pixels, NaN where missing.
        labels: float64 (frames, 133, 2): the labels, NaN where a point is not labelled.
        areas: float64 (frames,): the persons' areas, NaN where not known.
        has: bool (133,): the points that the layout has.
    """
    own = np.zeros(len(SIGMAS_133), np.bool_)
    own[_GROUPS[part]] = True
    own &= has
    labelled: NDArray[np.bool_] = ~np.isnan(labels).any(axis=2) & own
    rows = labelled.any(axis=1)
    if not rows.any():
        return None
    labelled, distances = labelled[rows], np.linalg.norm(found - labels, axis=2)[rows]
    lengths = normalisers(part, labels[rows])
    similarity = object_similarity(distances, labelled, areas[rows])
    known = similarity[~np.isnan(similarity)]
    nme, nme_frames = _normalised_error(distances, labelled, labels[rows]) if part == "face" else (None, 0)
    return PartScores(
        frames=int(rows.sum()),
        points=int(labelled.sum()),
        not_found=int((labelled & np.isnan(distances)).sum()),
        pck=correct_shares(distances, labelled, lengths),
        without_normaliser=int(np.isnan(lengths).sum()),
        oks=float(known.mean()) if len(known) else None,
        recall=float((known[:, np.newaxis] >= OKS_THRESHOLDS).mean()) if len(known) else None,
        without_area=int(np.isnan(similarity).sum()),
        nme=nme,
        nme_frames=nme_frames,
    )


def object_similarity(distances: Points, labelled: NDArray[np.bool_], areas: Points) -> Points:
    """Return the object keypoint similarity of each frame, float64 (frames,), NaN where the area is not known.

    As COCO defines it: the mean over labelled points of exp(-d² / (2 area (2 sigma)²)).

    Args:
        distances: float64 (frames, 133): pixels, NaN where the model found no point.
        labelled: bool (frames, 133): the points that count, at least one in each frame.
        areas: float64 (frames,): px².
    """
    areas = np.where(areas > 0, areas, np.nan)
    exponents = distances**2 / (2 * SIGMAS_133) ** 2 / areas[:, np.newaxis] / 2
    similar = np.where(labelled & ~np.isnan(distances), np.exp(-exponents), 0.0)
    result: Points = similar.sum(axis=1, where=labelled) / labelled.sum(axis=1)
    return np.where(np.isnan(areas), np.nan, result)


def normalisers(part: str, labels: Points) -> Points:
    """Return what PCK divides by in each frame, float64 (frames,) in pixels; NaN where the labels do not give it.

    For hands and face it is the longer side of the box around the part's labelled points, for everything else the
    distance of the labelled shoulders.
    """
    if part in ("face", "left_hand", "right_hand"):
        points = labels[:, PARTS_OF_133[part]]
        lengths = _longer_sides(points)
    else:
        left, right = SHOULDERS
        lengths = np.linalg.norm(labels[:, left] - labels[:, right], axis=1)
    return np.where(lengths > 0, lengths, np.nan)


def correct_shares(distances: Points, labelled: NDArray[np.bool_], lengths: Points) -> dict[str, float]:
    """Return the share of labelled points at most 0.1 and 0.2 of the length away; a point not found is wrong."""
    usable = labelled & ~np.isnan(lengths)[:, np.newaxis]
    if not usable.any():
        return {}
    with np.errstate(invalid="ignore"):
        shares = distances / lengths[:, np.newaxis]
        return {f"{share:g}": float((shares[usable] <= share).mean()) for share in PCK_SHARES}


def _normalised_error(distances: Points, labelled: NDArray[np.bool_], labels: Points) -> tuple[float | None, int]:
    """Return the mean over frames of the face's mean distance over that of the outer eye corners; and the frames."""
    first, second = OUTER_EYES
    between = np.linalg.norm(labels[:, first] - labels[:, second], axis=1)
    counted = labelled & ~np.isnan(distances)
    usable = counted.any(axis=1) & (between > 0)
    if not usable.any():
        return None, 0
    sums = np.where(counted, distances, 0.0)[usable].sum(axis=1)
    return float((sums / counted[usable].sum(axis=1) / between[usable]).mean()), int(usable.sum())


def _longer_sides(points: Points) -> Points:
    """Return the longer side of the box around each frame's points, NaN where there are none."""
    known = np.asarray(~np.isnan(points).any(axis=2), np.bool_)
    low = np.where(known[:, :, np.newaxis], points, np.inf).min(axis=1)
    high = np.where(known[:, :, np.newaxis], points, -np.inf).max(axis=1)
    sides = (high - low).max(axis=1)
    return np.where(known.any(axis=1), sides, np.nan)
