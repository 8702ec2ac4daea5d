"""What is measured in one video: pure functions of its landmarks.

Pixels are those of the decoded frame (`x * width`, `y * height`), so that figures compare with what one sees. Files of
other tools may not record the size of a frame: movements into and out of such frames are left out, and counted as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts

# Presence scores are counted in steps of 0.01 from 0 to 1.
SCORE_BINS = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames without a part, between two frames that have it.

    Attributes:
        first: Frame index of the first.
        frames: How many.
    """

    first: int
    frames: int


@dataclass(frozen=True, slots=True)
class PartMeasures:
    """How one part does in a video.

    Attributes:
        found: Frames in which it was found.
        jitter: Median over points and frames of the length of the second difference, in pixels: how far a point is from
            the middle between its neighbours in time. None when it is never found in three frames of known size in a
            row.
        jump: Largest movement from one frame to the next, in pixels, of the median point of the part; 0 for none.
        jump_frame: Frame index that it leads to, None for none.
        gaps: The gaps, in order.
        scores: int32 (SCORE_BINS,): frames by presence score, of those in which the network ran.
    """

    found: int
    jitter: float | None
    jump: float
    jump_frame: int | None
    gaps: tuple[Gap, ...]
    scores: NDArray[np.int32]

    @property
    def longest_gap(self) -> Gap | None:
        """The longest gap, the first of several; None when there is none."""
        return max(self.gaps, key=lambda gap: gap.frames, default=None)


@dataclass(frozen=True, slots=True)
class VideoMeasures:
    """What was measured in a video.

    Attributes:
        split: Its split.
        video_id: The video.
        signer: Who signs, empty where the source does not say.
        frames: Its rows.
        statuses: Rows by status.
        parts: By name, in the order of the layout; those relative to the image.
        unsized: Rows in which a part was found but the size of the frame is not known.
    """

    split: str
    video_id: str
    signer: str
    frames: int
    statuses: dict[str, int]
    parts: dict[str, PartMeasures]
    unsized: int = 0

    def rate(self, part: str) -> float:
        """Return the share of frames in which a part was found, 0 for a video without frames."""
        return self.parts[part].found / self.frames if self.frames else 0.0


def measure_video(video: VideoLandmarks) -> VideoMeasures:
    """Measure every part of a video that is relative to the image."""
    statuses = {status: video.status.count(status) for status in sorted(set(video.status))}
    parts = {part: measure_part(video, part) for part in image_parts(video.layout)}
    found = np.any([_found(video, part) for part in parts], axis=0)
    unsized = int(np.count_nonzero(found & ~_sized(video)))
    signer = video.annotation.get("signer", "")
    return VideoMeasures(video.split, video.video_id, signer, len(video), statuses, parts, unsized)


def measure_part(video: VideoLandmarks, part: str) -> PartMeasures:
    """Measure one part of a video."""
    points = video.points[part][:, :, :2] * video.sizes[:, np.newaxis]
    present, frames = _found(video, part), video.frame_index
    measurable = present & _sized(video)
    # Rows are neighbours when their frames are: a video that is not finished may lack some.
    adjacent = np.diff(frames) == 1
    pairs = np.flatnonzero(adjacent & measurable[1:] & measurable[:-1])
    distances = np.linalg.norm(points[pairs + 1] - points[pairs], axis=2)
    if np.isnan(distances).any():
        # Files of other tools may lack some points of a part.
        shared = ~np.isnan(distances).all(axis=1)
        pairs, steps = pairs[shared], np.nanmedian(distances[shared], axis=1)
    else:
        steps = np.median(distances, axis=1)
    middles = np.flatnonzero(adjacent[1:] & adjacent[:-1] & measurable[2:] & measurable[1:-1] & measurable[:-2]) + 1
    bends = np.linalg.norm(points[middles + 1] - 2 * points[middles] + points[middles - 1], axis=2)
    bends = bends[~np.isnan(bends)]
    largest = int(steps.argmax()) if len(steps) else None
    return PartMeasures(
        found=int(present.sum()),
        # Half of the second difference is the distance from the middle of the neighbours.
        jitter=float(np.median(bends)) / 2 if bends.size else None,
        jump=0.0 if largest is None else float(steps[largest]),
        jump_frame=None if largest is None else int(frames[pairs[largest] + 1]),
        gaps=tuple(find_gaps(present, frames)),
        scores=count_scores(video.scores[part]),
    )


def _found(video: VideoLandmarks, part: str) -> NDArray[np.bool_]:
    """Return where any point of a part was found, bool (frames,)."""
    return np.asarray(~np.isnan(video.points[part][:, :, 0]).all(axis=1), np.bool_)


def _sized(video: VideoLandmarks) -> NDArray[np.bool_]:
    """Return where the size of the frame is known, bool (frames,)."""
    return np.asarray((video.sizes > 0).all(axis=1), np.bool_)


def find_gaps(present: NDArray[np.bool_], frames: NDArray[np.int32]) -> list[Gap]:
    """Return the runs of rows without a part that lie between rows with it."""
    rows = np.flatnonzero(present)
    steps = np.diff(rows)
    return [Gap(int(frames[rows[place] + 1]), int(steps[place]) - 1) for place in np.flatnonzero(steps > 1)]


def count_scores(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return how many scores lie in each of `SCORE_BINS` equal steps from 0 to 1, int32 (SCORE_BINS,); NaN in none."""
    bins = np.clip(scores[~np.isnan(scores)].astype(np.float64) * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=SCORE_BINS).astype(np.int32)
