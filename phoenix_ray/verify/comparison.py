"""Two versions of a video, or of all videos, compared: the heart of `phoenix-ray verify`.

    rows that are the same frame (alignment) → frames in the wrong place (moved_frames) → what differs in the others

A frame that is missing, extra or in another place is reported as that, and not again by each of its numbers. A video is
compared some rows at a time, so that memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection
from phoenix_ray.models.agreement import PartAgreement, add_up, agree
from phoenix_ray.verify.alignment import Alignment, FrameList, align, share, side_by_side
from phoenix_ray.verify.differences import Difference, DifferenceCollector, DifferenceKind, frame_text
from phoenix_ray.verify.moved_frames import REACH, MovedFrames, describe_moves
from phoenix_ray.verify.tolerance import Tolerance
from phoenix_ray.verify.video_blocks import RowWindow, Side, UnreadableError, VideoBlocks, read_both

# Rows that are compared at once: 7 MB of Holistic on each side, and some times as much for their differences.
_ROWS_COMPARED = 1_024


@dataclass(frozen=True, slots=True)
class VideoComparison:
    """The result of comparing two versions of a video.

    Attributes:
        split: Its split.
        video_id: The video.
        frames: Frames that both sides have.
        differences: All that differs; empty when the two are equal.
        parts: How near the frames are that stand in their place.
        notes: What could not be compared, and why.
        by_digest: Whether it was not read because the digests of both sides agree.
    """

    split: str
    video_id: str
    frames: int = 0
    differences: tuple[Difference, ...] = ()
    parts: tuple[PartAgreement, ...] = ()
    notes: tuple[str, ...] = ()
    by_digest: bool = False

    @property
    def pixels(self) -> float:
        """The largest distance that is reported as a difference."""
        return max((difference.pixels for difference in self.differences), default=0.0)

    def differing_frames(self, *kinds: DifferenceKind) -> int:
        """Return how many frames have differences of some kinds, or of any."""
        frames = [difference.frames for difference in self.differences if difference.kind in kinds or not kinds]
        return np.unique(np.concatenate(frames)).size if frames else 0


def compare_collections(
    reference: LandmarkCollection,
    candidate: LandmarkCollection,
    keys: Sequence[VideoKey],
    tolerance: Tolerance,
    *,
    agreed: Mapping[VideoKey, int],
    statuses: bool,
    extra: str = "the video is extra",
) -> Iterator[VideoComparison]:
    """Yield the result for each video.

    Args:
        reference: What it should be.
        candidate: What it is.
        keys: The videos to compare; each is in at least one of the two.
        tolerance: What counts as equal.
        agreed: Videos known to be the same bits → their number of frames; they are not read.
        statuses: Whether both sides record why a part may be missing.
        extra: What to say of a video that only the candidate has.
    """
    expected, found = set(reference.keys()), set(candidate.keys())
    sides = Side("reference", reference), Side("candidate", candidate)
    for key in keys:
        if key in agreed:
            yield VideoComparison(*key, frames=agreed[key], by_digest=True)
        elif key not in found:
            yield _not_compared(key, "video missing", "the video is missing")
        elif key not in expected:
            yield _not_compared(key, "video extra", extra)
        else:
            try:
                yield read_both(*sides, key, partial(compare_blocks, tolerance=tolerance, statuses=statuses))
            except UnreadableError as error:
                yield _not_compared(key, "video unreadable", str(error))


def _not_compared(key: VideoKey, kind: DifferenceKind, message: str) -> VideoComparison:
    return VideoComparison(*key, differences=(Difference(kind, message),))


def compare_blocks(
    reference: VideoBlocks, candidate: VideoBlocks, tolerance: Tolerance, *, statuses: bool = True
) -> VideoComparison:
    """Compare two versions of a video that come in blocks of rows; the result does not depend on where they are cut.

    Args:
        reference: What it should be.
        candidate: What it is.
        tolerance: What counts as equal.
        statuses: Whether both sides record why a part may be missing; files of other tools do not.

    Raises:
        OutdatedError: A side has other frames than were listed.
    """
    expected, found = RowWindow(reference), RowWindow(candidate)
    shared = share(expected.video.layout, found.video.layout)
    alignment = align(reference.frames, candidate.frames)
    collector = DifferenceCollector(shared, tolerance, statuses=statuses)
    moved = MovedFrames(shared.parts, tolerance)
    # Number of the frame that each row of the candidate holds, by what it is called and then by what is in it.
    held = alignment.standing.copy()
    parts: tuple[PartAgreement, ...] = ()
    failed = far = False
    for span in _spans(reference.frames, alignment):
        expected.move(span.first - REACH, span.last + REACH)
        found.move(span.candidate_first - REACH, span.candidate_last + REACH)
        rows = np.arange(span.first, span.last)
        partners = alignment.partners[rows]
        # What is farther away is out of order, and so reported as moved.
        near = (partners >= found.start) & (partners < found.end)
        rows, partners = rows[near], partners[near]
        frames = side_by_side(expected.take(rows), found.take(partners), shared)
        moves, others_differ = moved.find(frames, rows, expected)
        held[rows[list(moves)]] = list(moves.values())
        kept = frames.only(held[rows] == frames.numbers)
        collector.add(kept)
        compared = tuple(
            agree(shared_part.part, kept.sizes, *kept.points[shared_part.part.name]) for shared_part in shared.parts
        )
        parts = add_up([parts, compared])
        failed |= ("failed", "failed") in frames.statuses
        far |= others_differ
    expected.finish()
    found.finish()
    return VideoComparison(
        expected.video.split,
        expected.video.video_id,
        int(np.count_nonzero(alignment.partners >= 0)),
        (
            *_unmatched(reference.frames, candidate.frames, alignment),
            *_moved(reference.frames.numbers, held),
            *collector.result(scores=expected.has_scores and found.has_scores),
        ),
        parts,
        (*shared.notes, *_notes(expected, found, failed=failed, far=far and len(reference.frames) > REACH + 1)),
    )


class _Span(NamedTuple):
    """Rows of the reference, `first` to `last - 1`, and those of the candidate that belong to them and are in order."""

    first: int
    last: int
    candidate_first: int
    candidate_last: int


def _spans(frames: FrameList, alignment: Alignment) -> Iterator[_Span]:
    """Cut a video so that neither side has more than `_ROWS_COMPARED` rows in a span; there is at least one."""
    in_order = (alignment.partners >= 0) & (alignment.standing == frames.numbers)
    first = candidate = 0
    while True:
        last = min(first + _ROWS_COMPARED, len(frames))
        rows = first + np.flatnonzero(in_order[first:last])
        partners = alignment.partners[rows]
        if partners.size:
            beyond = np.flatnonzero(partners - partners[0] >= _ROWS_COMPARED)
            last = int(rows[beyond[0]]) if beyond.size else last
            partners = partners[: beyond[0]] if beyond.size else partners
            candidate = int(partners[0])
        end = int(partners[-1]) + 1 if partners.size else candidate
        yield _Span(first, last, candidate, end)
        first, candidate = last, end
        if first == len(frames):
            return


def _unmatched(reference: FrameList, candidate: FrameList, alignment: Alignment) -> Iterator[Difference]:
    missing = reference.numbers[alignment.partners < 0]
    if missing.size:
        yield Difference("frames missing", f"{frame_text(missing)} missing", missing)
    extra = candidate.numbers[alignment.extra]
    if extra.size:
        yield Difference("frames extra", f"{frame_text(extra)} extra", extra)


def _moved(numbers: NDArray[np.int32], held: NDArray[np.int32]) -> Iterator[Difference]:
    moved = held != numbers
    for message, frames in describe_moves(numbers[moved], held[moved]):
        yield Difference("frames moved", message, frames)


def _notes(reference: RowWindow, candidate: RowWindow, *, failed: bool, far: bool) -> Iterator[str]:
    if reference.has_scores != candidate.has_scores:
        side = "candidate" if reference.has_scores else "reference"
        yield f"the {side} has no scores; they were not compared"
    if failed:
        yield "frames that failed on both sides were compared by name and status only"
    if far:
        yield f"frames that differ were looked for among the {REACH:,} before and behind, and not farther away"
