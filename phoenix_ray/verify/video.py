"""Two versions of one video, compared: the heart of `phoenix-ray verify`, a pure function.

    rows that are the same frame (alignment) → frames in the wrong place (moves) → checks of the others

A frame that is missing, extra or in another place is told as that, and not again by each of its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.models.agreement import PartAgreement, agree
from phoenix_ray.verify.aligned import AlignedFrames, has_scores, missing_frames, side_by_side
from phoenix_ray.verify.alignment import Alignment, align
from phoenix_ray.verify.checks import check_coordinates, check_names, check_presence, check_scores, check_statuses
from phoenix_ray.verify.differences import Difference, frame_text
from phoenix_ray.verify.moves import describe_moves, displaced, misplaced
from phoenix_ray.verify.shared_layout import SharedPart, share
from phoenix_ray.verify.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class VideoComparison:
    """What came of comparing a video.

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
        """The largest distance that is told as a difference."""
        return max((difference.pixels for difference in self.differences), default=0.0)

    @property
    def differing_frames(self) -> int:
        """Frames in which something differs."""
        return len({frame for difference in self.differences for frame in difference.frames})


def compare_videos(
    reference: VideoLandmarks, candidate: VideoLandmarks, tolerance: Tolerance, *, statuses: bool = True
) -> VideoComparison:
    """Compare two versions of a video.

    Args:
        reference: What it should be.
        candidate: What it is.
        tolerance: What counts as equal.
        statuses: Whether both sides tell why a part may be missing; files of other tools do not.
    """
    shared = share(reference.layout, candidate.layout)
    alignment = align(reference, candidate)
    frames = side_by_side(reference, candidate, alignment, shared.parts)
    missing = missing_frames(reference, alignment, shared.parts)
    moves = displaced(frames, alignment.candidate) | misplaced(shared.parts, frames, missing, tolerance)
    in_place = np.ones(len(frames), bool)
    in_place[list(moves)] = False
    kept = frames.only(in_place)
    found = [
        *_unmatched(reference, candidate, alignment),
        *_moved(frames, moves),
        *check_names(kept),
        *(check_statuses(kept) if statuses else ()),
        *_check_parts(shared.parts, kept, tolerance),
    ]
    return VideoComparison(
        reference.split,
        reference.video_id,
        len(frames),
        tuple(found),
        tuple(agree(one.part, kept.sizes, *kept.points[one.part.name]) for one in shared.parts),
        (*shared.notes, *_notes_on_scores(reference, candidate), *_notes_on_failures(frames)),
    )


def _unmatched(reference: VideoLandmarks, candidate: VideoLandmarks, alignment: Alignment) -> Iterator[Difference]:
    missing = tuple(reference.frame_index[alignment.missing].tolist())
    if missing:
        yield Difference("frames missing", f"{frame_text(missing)} missing", missing)
    extra = tuple(candidate.frame_index[alignment.extra].tolist())
    if extra:
        yield Difference("frames extra", f"{frame_text(extra)} extra", extra)


def _moved(frames: AlignedFrames, moves: dict[int, int]) -> Iterator[Difference]:
    numbers = {int(frames.numbers[row]): held for row, held in moves.items()}
    for message, moved in describe_moves(numbers):
        yield Difference("frames moved", message, moved)


def _check_parts(parts: tuple[SharedPart, ...], frames: AlignedFrames, tolerance: Tolerance) -> Iterator[Difference]:
    for shared in parts:
        yield from check_presence(shared.part, frames)
        yield from check_coordinates(shared.part, frames, tolerance)
        yield from check_scores(shared.part, frames, tolerance)


def _notes_on_scores(reference: VideoLandmarks, candidate: VideoLandmarks) -> Iterator[str]:
    has = {"reference": has_scores(reference), "candidate": has_scores(candidate)}
    if len(set(has.values())) > 1:
        side = next(name for name, scores in has.items() if not scores)
        yield f"the {side} has no scores; they were not compared"


def _notes_on_failures(frames: AlignedFrames) -> Iterator[str]:
    if ("failed", "failed") in frames.statuses:
        yield "frames that failed on both sides were compared by name and status only"
