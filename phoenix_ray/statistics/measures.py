"""What is measured in one video: pure functions of its landmarks.

Pixels are those of the decoded frame (`x * width`, `y * height`), so that figures match what a viewer sees. Files of
other tools may not record the size of a frame: movements into and out of such frames are left out, and counted as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts

# Presence scores are counted in steps of 0.01 from 0 to 1.
SCORE_BINS = 100
# A median of more numbers than these, which are three minutes of a face at 25 fps, is found by counting.
_EXACT_VALUES = 1 << 21
# Bits of a float32 that are cut off to count it: 11 of its mantissa remain.
_BITS_CUT = 12


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames without a part, between two frames that have it: the frame index of the first, and how many."""

    first: int
    frames: int


@dataclass(frozen=True, slots=True)
class PartMeasures:
    """The measures of one part in a video.

    Attributes:
        found: Frames in which it was found.
        jitter: Median over points and frames of the length of the second difference, in pixels: how far a point is from
            the middle between its neighbours in time; to 0.03 % in long videos. None when it is never found in three
            frames of known size in a row.
        energy: Mean over points and frames of the squared movement from one frame to the next, px² per frame². None
            when it is never found in two such frames in a row.
        jerk: Mean over points and frames of the length of the third difference, px per frame³. A mean, because the
            median of `jitter` already says how a usual frame is, and only a mean shows a part that flips now and then.
            None when it is never found in four such frames in a row.
        jump: Largest movement from one frame to the next, in pixels, of the median point of the part; 0 for none.
        jump_frame: Frame index that it leads to, None for none.
        gaps: Frames of a gap → how many gaps have as many.
        longest_gap: The longest gap, the first of several; None when there is none.
        scores: int32 (SCORE_BINS,): frames by presence score, of those in which the network ran.
    """

    found: int
    jitter: float | None
    energy: float | None
    jerk: float | None
    jump: float
    jump_frame: int | None
    gaps: Mapping[int, int]
    longest_gap: Gap | None
    scores: NDArray[np.int32]


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
        counted_only: Whether statuses and `found` are all that is known (`summary.count_only`).
    """

    split: str
    video_id: str
    signer: str
    frames: int
    statuses: dict[str, int]
    parts: dict[str, PartMeasures]
    unsized: int = 0
    counted_only: bool = False

    def rate(self, part: str) -> float:
        """Return the share of frames in which a part was found, 0 for a video without frames."""
        return self.parts[part].found / self.frames if self.frames else 0.0


def measure_video(video: VideoLandmarks) -> VideoMeasures:
    """Measure every part of a video that is relative to the image."""
    return measure_blocks([video])


def measure_blocks(blocks: Iterable[VideoLandmarks]) -> VideoMeasures:
    """Measure a video that comes in blocks of rows, in order; the result does not depend on where it is cut.

    Needs the memory of one block, whatever the length of the video.

    Raises:
        ValueError: There is no block; a video without rows is one empty block.
    """
    statuses: Counter[str] = Counter()
    parts: dict[str, _PartInBlocks] = {}
    rows = unsized = 0
    video = None
    for video in blocks:
        parts = parts or {part: _PartInBlocks() for part in image_parts(video.layout)}
        sized = np.asarray((video.sizes > 0).all(axis=1), np.bool_)
        found = np.zeros(len(video), np.bool_)
        for part, measured in parts.items():
            found |= measured.add(video, part, sized)
        statuses.update(video.status)
        rows += len(video)
        unsized += int(np.count_nonzero(found & ~sized))
    if video is None:
        raise ValueError("a video has at least one block of rows")
    measures = {part: measured.result() for part, measured in parts.items()}
    signer = video.annotation.get("signer", "")
    return VideoMeasures(video.split, video.video_id, signer, rows, dict(sorted(statuses.items())), measures, unsized)


class _PartInBlocks:
    """Measures one part, block after block."""

    def __init__(self) -> None:
        self._found = 0
        self._bends = _Median()
        self._energy = _Mean()
        self._jerk = _Mean()
        self._jump = 0.0
        self._jump_frame: int | None = None
        self._gaps: Counter[int] = Counter()
        self._longest_gap: Gap | None = None
        # Rows without the part since it was last found, and the frame index of the first; None before it is found.
        self._missing: int | None = None
        self._missing_first = 0
        self._scores = np.zeros(SCORE_BINS, np.int32)
        # Points in pixels, whether they are measurable, and frame indices of the last three rows.
        self._last: tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int32]] | None = None

    def add(self, video: VideoLandmarks, part: str, sized: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Measure the next rows of a video; `sized` says where the size of the frame is known.

        Returns:
            bool (rows,): where any point of the part was found.
        """
        present = np.asarray(~np.isnan(video.points[part][:, :, 0]).all(axis=1), np.bool_)
        points = video.points[part][:, :, :2] * video.sizes[:, np.newaxis]
        self._found += int(present.sum())
        self._scores += count_scores(video.scores[part])
        self._add_gaps(present, video.frame_index)
        self._add_movements(points, present & sized, video.frame_index)
        return present

    def result(self) -> PartMeasures:
        """Return what was measured in all blocks."""
        bend = self._bends.result()
        return PartMeasures(
            found=self._found,
            # Half of the second difference is the distance from the middle of the neighbours.
            jitter=None if bend is None else bend / 2,
            energy=self._energy.result(),
            jerk=self._jerk.result(),
            jump=self._jump,
            jump_frame=self._jump_frame,
            gaps=dict(self._gaps),
            longest_gap=self._longest_gap,
            scores=self._scores,
        )

    def _add_movements(self, points: NDArray[Any], measurable: NDArray[np.bool_], frames: NDArray[np.int32]) -> None:
        known = 0
        if self._last is not None:
            known = len(self._last[0])
            points = np.concatenate((self._last[0], points))
            measurable = np.concatenate((self._last[1], measurable))
            frames = np.concatenate((self._last[2], frames))
        self._last = (points[-3:].copy(), measurable[-3:].copy(), frames[-3:].copy())
        # Row i + 1 follows row i when its frame does: a video that is not finished may lack some.
        follows = (np.diff(frames) == 1) & measurable[1:] & measurable[:-1]

        def new(runs: NDArray[np.bool_], rows: int) -> NDArray[np.intp]:
            """Return where runs of so many rows begin that end in this block."""
            starts = np.flatnonzero(runs)
            return starts[starts + rows > known]

        movements = np.diff(points, axis=0)
        pairs = new(follows, 2)
        distances = np.linalg.norm(movements[pairs], axis=2)
        self._energy.add(distances**2)
        self._add_jump(distances, frames[pairs + 1])
        turns = np.diff(movements, axis=0)
        bends = np.linalg.norm(turns[new(follows[1:] & follows[:-1], 3)], axis=2)
        self._bends.add(bends[~np.isnan(bends)])
        fours = new(follows[2:] & follows[1:-1] & follows[:-2], 4)
        self._jerk.add(np.linalg.norm(turns[fours + 1] - turns[fours], axis=2))

    def _add_jump(self, distances: NDArray[np.float64], frames: NDArray[np.int32]) -> None:
        """Take in movements, float64 (movements, points), and the frames that they lead to."""
        if np.isnan(distances).any():
            # Files of other tools may lack some points of a part.
            shared = ~np.isnan(distances).all(axis=1)
            frames, steps = frames[shared], np.nanmedian(distances[shared], axis=1)
        else:
            steps = np.median(distances, axis=1)
        if len(steps) and (self._jump_frame is None or steps.max() > self._jump):
            largest = int(steps.argmax())
            self._jump, self._jump_frame = float(steps[largest]), int(frames[largest])

    def _add_gaps(self, present: NDArray[np.bool_], frames: NDArray[np.int32]) -> None:
        rows = np.flatnonzero(present)
        before = int(rows[0]) if len(rows) else len(present)
        if self._missing is not None and before:
            self._missing_first = self._missing_first if self._missing else int(frames[0])
            self._missing += before
        if not len(rows):
            return
        gaps = find_gaps(present, frames)
        if self._missing:
            gaps.insert(0, Gap(self._missing_first, self._missing))
        self._gaps.update(gap.frames for gap in gaps)
        longest = [gap for gap in (self._longest_gap, *gaps) if gap is not None]
        self._longest_gap = max(longest, key=lambda gap: gap.frames, default=None)
        self._missing = len(present) - 1 - int(rows[-1])
        if self._missing:
            self._missing_first = int(frames[rows[-1] + 1])


class _Mean:
    """Finds the mean of rows of numbers that come in blocks, NaN left out; it is the same however they are cut.

    Rounding depends on the order of additions, so the rows' sums are added one after the other.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, rows: NDArray[np.float64]) -> None:
        sums = np.nansum(rows, axis=1)
        self._sum = float(np.cumsum(np.concatenate(([self._sum], sums)))[-1])
        self._count += int(np.count_nonzero(~np.isnan(rows)))

    def result(self) -> float | None:
        """Return the mean, None without numbers."""
        return self._sum / self._count if self._count else None


class _Median:
    """Finds the median of numbers ≥ 0 that come in blocks: up to `_EXACT_VALUES` exactly, of more to 0.03 %.

    Of more it counts numbers by the first bits of their float32, so that memory does not grow.
    """

    def __init__(self) -> None:
        self._values: list[NDArray[np.float64]] = []
        self._held = 0
        self._counts: NDArray[np.int64] | None = None

    def add(self, values: NDArray[np.float64]) -> None:
        self._values.append(values)
        self._held += len(values)
        if self._counts is None and self._held > _EXACT_VALUES:
            self._counts = np.zeros(1 << (31 - _BITS_CUT), np.int64)
        if self._counts is not None:
            for held in self._values:
                with np.errstate(over="ignore"):
                    bits = held.astype(np.float32).view(np.uint32)
                self._counts += np.bincount(bits >> _BITS_CUT, minlength=len(self._counts))
            self._values = []

    def result(self) -> float | None:
        """Return the median, None without numbers."""
        if self._counts is None:
            return float(np.median(np.concatenate(self._values))) if self._held else None
        ends = np.cumsum(self._counts)
        middle = np.searchsorted(ends, [(self._held - 1) // 2, self._held // 2], side="right").astype(np.uint32)
        with np.errstate(invalid="ignore"):
            low, high = ((middle + step << _BITS_CUT).view(np.float32).astype(np.float64) for step in (0, 1))
        # The lowest bin counts as zero pixels; above the largest number there is only infinity.
        return float(np.where((middle == 0) | ~np.isfinite(high), low, (low + high) / 2).mean())


def find_gaps(present: NDArray[np.bool_], frames: NDArray[np.int32]) -> list[Gap]:
    """Return the runs of rows without a part that lie between rows with it."""
    rows = np.flatnonzero(present)
    steps = np.diff(rows)
    return [Gap(int(frames[rows[place] + 1]), int(steps[place]) - 1) for place in np.flatnonzero(steps > 1)]


def count_scores(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return how many scores lie in each of `SCORE_BINS` equal steps from 0 to 1, int32 (SCORE_BINS,); NaN in none.

    Scores of some networks are no probabilities: those above 1 count in the last step, those below 0 in the first.
    """
    bins = np.clip(scores[~np.isnan(scores)].astype(np.float64) * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=SCORE_BINS).astype(np.int32)
