"""What two versions of a video have in common: the parts, points and axes of their layouts, and their frames.

Formats differ: 468 or 478 face points, no `pose_world`, no visibility. Frames are the same by name where both sides
have names of their own, so that a format without frame numbers may lack frames in the middle; else by number. What only
one side has is reported and left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Head, Layout, Part
from phoenix_ray.models.agreement import Points

Rows = NDArray[np.intp]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A part that both sides have.

    Attributes:
        part: With the points and axes that both have, in the order of the reference.
        reference: Indices of these points and of these axes in the reference's part; None where they are all of it.
        candidate: The same in the candidate's part.
    """

    part: Part
    reference: tuple[Rows, Rows] | None
    candidate: tuple[Rows, Rows] | None

    def of_reference(self, video: VideoLandmarks) -> Points:
        """Return the part in the reference, float32 (frames, points, axes)."""
        return _pick(video.points[self.part.name], self.reference)

    def of_candidate(self, video: VideoLandmarks) -> Points:
        """Return the part in the candidate, float32 (frames, points, axes)."""
        return _pick(video.points[self.part.name], self.candidate)


@dataclass(frozen=True, slots=True)
class SharedLayout:
    """The parts and heads that both sides have, and a sentence for each thing that only one has."""

    parts: tuple[SharedPart, ...]
    notes: tuple[str, ...]
    heads: tuple[Head, ...] = ()


def share(reference: Layout, candidate: Layout) -> SharedLayout:
    """Return what two layouts have in common, by the names of parts, points and axes."""
    theirs = {part.name: part for part in candidate.parts}
    parts, notes = [], []
    for part in reference.parts:
        if part.name not in theirs:
            notes.append(f"{part.name} is in the reference only and was not compared")
            continue
        other = theirs.pop(part.name)
        points = [point for point in part.points if point in set(other.points)]
        axes = [axis for axis in part.axes if axis in other.axes]
        if not points or not {"x", "y"}.issubset(axes):
            notes.append(f"{part.name} has no point with x and y in common and was not compared")
            continue
        for what, shared, mine, its in (
            ("points", points, part.points, other.points),
            ("axes", axes, part.axes, other.axes),
        ):
            if len(shared) < max(len(mine), len(its)):
                counts = f"{len(mine)} in the reference, {len(its)} in the candidate"
                notes.append(f"{part.name}: only the {len(shared)} {what} that both have were compared ({counts})")
        common = Part(part.name, tuple(points), tuple(axes), scored=part.scored and other.scored)
        parts.append(SharedPart(common, _indices(part, common), _indices(other, common)))
    notes += [f"{name} is in the candidate only and was not compared" for name in theirs]
    heads, remarks = _share_heads(reference.heads, candidate.heads)
    return SharedLayout(tuple(parts), (*notes, *remarks), heads)


def _share_heads(reference: Iterable[Head], candidate: Iterable[Head]) -> tuple[tuple[Head, ...], list[str]]:
    """Return the heads with the same name, classes and values, and a sentence for each other."""
    mine, theirs = ({head.name: head for head in heads} for heads in (reference, candidate))
    shared, notes = [], []
    for name, head in mine.items():
        other = theirs.pop(name, None)
        if other is None:
            notes.append(f"{name} is in the reference only and was not compared")
        elif (other.classes, other.values) != (head.classes, head.values):
            notes.append(f"{name} has other classes or values in the candidate and was not compared")
        else:
            shared.append(head)
    return tuple(shared), [*notes, *(f"{name} is in the candidate only and was not compared" for name in theirs)]


def _indices(part: Part, common: Part) -> tuple[Rows, Rows] | None:
    if (part.points, part.axes) == (common.points, common.axes):
        return None
    points = {point: index for index, point in enumerate(part.points)}
    return (
        np.array([points[point] for point in common.points], np.intp),
        np.array([part.axes.index(axis) for axis in common.axes], np.intp),
    )


def _pick(values: Points, indices: tuple[Rows, Rows] | None) -> Points:
    return values if indices is None else values[:, indices[0][:, np.newaxis], indices[1]]


@dataclass(frozen=True, slots=True)
class FrameList:
    """The frames of a video by number and name, in a few bytes each, however long the video is.

    Attributes:
        numbers: int32 (frames,): ascending.
        names: int64 (frames,): hash of each name without its folders, 0 for a frame without a name of its own.
    """

    numbers: NDArray[np.int32]
    names: NDArray[np.int64]

    @classmethod
    def of(cls, blocks: Iterable[VideoLandmarks]) -> FrameList:
        """Return the frames of a video that comes in blocks of rows."""
        numbers, names = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for block in blocks:
            numbers.append(block.frame_index)
            names.append(_hashes(block.frame_index, block.frame_names))
        return cls(np.concatenate(numbers), np.concatenate(names))

    @classmethod
    def named(cls, names: Iterable[str]) -> FrameList:
        """Return frames that are numbered from 0."""
        named = list(names)
        numbers = np.arange(len(named), dtype=np.int32)
        return cls(numbers, _hashes(numbers, named))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.numbers)


def own_name(name: str, number: int) -> str:
    """Return the name of a frame without folders, empty where it only repeats the frame's number."""
    last = PurePosixPath(name).name if "/" in name or name == "." else name
    return "" if last == f"frame-{number}" else last


def _hashes(numbers: NDArray[np.int32], names: Iterable[str]) -> NDArray[np.int64]:
    own = (own_name(name, number) for number, name in zip(numbers.tolist(), names, strict=True))
    return np.fromiter((hash(name) or 1 if name else 0 for name in own), np.int64, len(numbers))


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which rows of two versions of a video are the same frame.

    Attributes:
        partners: intp (frames of the reference,): the row of the candidate that is the same frame, -1 for none.
        standing: int32 (frames of the reference,): number of the frame that takes this place in the candidate's order;
            another than the frame's own where names are out of order.
        extra: Rows of the candidate whose frame the reference lacks.
    """

    partners: Rows
    standing: NDArray[np.int32]
    extra: Rows


def align(reference: FrameList, candidate: FrameList) -> Alignment:
    """Return which rows belong together: rows with the same name, and of the others those with the same number."""
    partners = np.full(len(reference), -1, np.intp)
    is_extra = np.ones(len(candidate), np.bool_)
    if _is_unique(reference.names) and _is_unique(candidate.names):
        _, rows, others = np.intersect1d(reference.names, candidate.names, assume_unique=True, return_indices=True)
        partners[rows], is_extra[others] = others, False
    unpaired, left = np.flatnonzero(partners < 0), np.flatnonzero(is_extra)
    _, rows, others = np.intersect1d(reference.numbers[unpaired], candidate.numbers[left], return_indices=True)
    partners[unpaired[rows]], is_extra[left[others]] = left[others], False
    paired = np.flatnonzero(partners >= 0)
    standing = reference.numbers.copy()
    standing[paired] = reference.numbers[paired[np.argsort(partners[paired])]]
    return Alignment(partners, standing, np.flatnonzero(is_extra))


def _is_unique(names: NDArray[np.int64]) -> bool:
    """Return whether every frame has a name that no other frame has."""
    return bool(names.all()) and np.unique(names).size == names.size


@dataclass(frozen=True, slots=True)
class AlignedFrames:
    """Frames that both versions have; of each pair the first is the reference's, the second the candidate's.

    Attributes:
        numbers: int32 (frames,): frame numbers, by the reference.
        sizes: int32 (frames, 2): width and height in pixels, 0 where neither side knows.
        names: Pairs of names; empty where a side has none of its own.
        statuses: Pairs of statuses.
        points: Part → pair of float32 (frames, points, axes), NaN where the part is missing.
        scores: Part → pair of float32 (frames,), NaN where there is none; only parts that have scores on both sides.
        heads: Head → pair of float32 (frames, width), NaN where there is none.
    """

    numbers: NDArray[np.int32]
    sizes: NDArray[np.int32]
    names: tuple[tuple[str, str], ...]
    statuses: tuple[tuple[str, str], ...]
    points: Mapping[str, tuple[Points, Points]]
    scores: Mapping[str, tuple[Scores, Scores]]
    heads: Mapping[str, tuple[Scores, Scores]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.numbers)

    def only(self, rows: NDArray[np.bool_]) -> AlignedFrames:
        """Return some of the frames."""
        if rows.all():
            return self
        chosen = np.flatnonzero(rows)
        return AlignedFrames(
            self.numbers[rows],
            self.sizes[rows],
            tuple(self.names[row] for row in chosen),
            tuple(self.statuses[row] for row in chosen),
            {part: (expected[rows], found[rows]) for part, (expected, found) in self.points.items()},
            {part: (expected[rows], found[rows]) for part, (expected, found) in self.scores.items()},
            {head: (expected[rows], found[rows]) for head, (expected, found) in self.heads.items()},
        )


def side_by_side(reference: VideoLandmarks, candidate: VideoLandmarks, layout: SharedLayout) -> AlignedFrames:
    """Return frames that both sides have, given as as many rows of each, with the parts and heads that both have."""
    shared = layout.parts
    sides = (reference, candidate)
    return AlignedFrames(
        numbers=reference.frame_index,
        sizes=np.where(reference.sizes > 0, reference.sizes, candidate.sizes),
        names=tuple(zip(*map(_own_names, sides), strict=True)),
        statuses=tuple(zip(reference.status, candidate.status, strict=True)),
        points={
            shared_part.part.name: (shared_part.of_reference(reference), shared_part.of_candidate(candidate))
            for shared_part in shared
        },
        scores={
            shared_part.part.name: (reference.scores[shared_part.part.name], candidate.scores[shared_part.part.name])
            for shared_part in shared
            if all(shared_part.part.name in side.scores for side in sides)
        },
        heads={head.name: (reference.heads[head.name], candidate.heads[head.name]) for head in layout.heads},
    )


def _own_names(video: VideoLandmarks) -> list[str]:
    return [own_name(*frame) for frame in zip(video.frame_names, video.frame_index.tolist(), strict=True)]
