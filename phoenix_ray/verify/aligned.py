"""Two versions of a video with the rows of a frame side by side: what every check of `verify.checks` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.models.agreement import Points
from phoenix_ray.verify.alignment import Alignment, frame_name
from phoenix_ray.verify.shared_layout import SharedPart

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AlignedFrames:
    """Frames that both versions have; of each pair the first is the reference's, the second the candidate's.

    Attributes:
        numbers: int32 (frames,): frame numbers, by the reference.
        sizes: int32 (frames, 2): width and height in pixels, 0 where neither side knows.
        names: Pairs of names; empty where a side has none of its own.
        statuses: Pairs of statuses.
        points: Part → pair of float32 (frames, points, axes), NaN where the part is missing.
        scores: Part → pair of float32 (frames,), NaN where there is none; only parts that both sides have scores of.
    """

    numbers: NDArray[np.int32]
    sizes: NDArray[np.int32]
    names: tuple[tuple[str, str], ...]
    statuses: tuple[tuple[str, str], ...]
    points: Mapping[str, tuple[Points, Points]]
    scores: Mapping[str, tuple[Scores, Scores]]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.numbers)

    def only(self, rows: NDArray[np.bool_]) -> AlignedFrames:
        """Return some of the frames."""
        chosen = np.flatnonzero(rows)
        return AlignedFrames(
            self.numbers[rows],
            self.sizes[rows],
            tuple(self.names[row] for row in chosen),
            tuple(self.statuses[row] for row in chosen),
            {part: (expected[rows], found[rows]) for part, (expected, found) in self.points.items()},
            {part: (expected[rows], found[rows]) for part, (expected, found) in self.scores.items()},
        )


@dataclass(frozen=True, slots=True)
class MissingFrames:
    """Frames that only the reference has: their numbers, int32 (frames,), and part → float32 (frames, points, axes)."""

    numbers: NDArray[np.int32]
    points: Mapping[str, Points]


def missing_frames(reference: VideoLandmarks, alignment: Alignment, parts: tuple[SharedPart, ...]) -> MissingFrames:
    """Return the frames that an alignment leaves over in the reference, with the parts that both sides have."""
    points = {shared.part.name: shared.of_reference(reference, alignment.missing) for shared in parts}
    return MissingFrames(reference.frame_index[alignment.missing], points)


def side_by_side(
    reference: VideoLandmarks, candidate: VideoLandmarks, alignment: Alignment, parts: tuple[SharedPart, ...]
) -> AlignedFrames:
    """Return the frames that an alignment pairs, with the parts that both sides have."""
    mine, its = alignment.reference, alignment.candidate
    sizes = reference.sizes[mine]
    return AlignedFrames(
        numbers=reference.frame_index[mine],
        sizes=np.where(sizes > 0, sizes, candidate.sizes[its]),
        names=tuple(
            (frame_name(reference, one), frame_name(candidate, other)) for one, other in zip(mine, its, strict=True)
        ),
        statuses=tuple((reference.status[one], candidate.status[other]) for one, other in zip(mine, its, strict=True)),
        points={
            shared.part.name: (shared.of_reference(reference, mine), shared.of_candidate(candidate, its))
            for shared in parts
        },
        scores={
            shared.part.name: (reference.scores[shared.part.name][mine], candidate.scores[shared.part.name][its])
            for shared in parts
            if shared.part.name in reference.scores and shared.part.name in candidate.scores
        }
        if has_scores(reference) and has_scores(candidate)
        else {},
    )


def has_scores(video: VideoLandmarks) -> bool:
    """Return whether a video has any score at all; MediaPipe and most formats give none."""
    return any(not np.isnan(scores).all() for scores in video.scores.values())
