"""The kinds of difference between two versions of a video, and the sentence for each.

`DifferenceCollector` is given the frames that both have, block by block, and afterwards says what differs in all of
them: names, statuses, parts, coordinates, scores, heads. It takes a few bytes for each frame that differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Head, Part
from phoenix_ray.models.agreement import differences
from phoenix_ray.models.base import is_found
from phoenix_ray.verify.alignment import AlignedFrames, SharedLayout
from phoenix_ray.verify.tolerance import Tolerance

DifferenceKind = Literal[
    "video missing",
    "video extra",
    "video unreadable",
    "frames missing",
    "frames extra",
    "frames moved",
    "frame names",
    "status",
    "part missing",
    "part extra",
    "coordinates",
    "scores",
    "heads",
]
FrameNumbers = NDArray[np.int32]

# How many ranges of frames a sentence lists; the JSON has all.
_RANGES_LISTED = 6


def _no_frames() -> FrameNumbers:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs, in one or more frames of a video.

    Attributes:
        kind: Its kind. "Missing" is in the reference only, "extra" in the candidate only.
        message: A sentence for people.
        frames: int32 (frames,): frame numbers, ascending; empty where the video as a whole differs.
        part: Name of the part, empty where the difference concerns whole frames.
        pixels: The largest distance of coordinates in an image of known size; else 0.
        worst_frame: Frame with the largest distance, None where there is no distance.
    """

    kind: DifferenceKind
    message: str
    frames: FrameNumbers = field(default_factory=_no_frames)
    part: str = ""
    pixels: float = 0.0
    worst_frame: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; frames as [first, last] ranges."""
        ranges = frame_ranges(self.frames).tolist()
        tree: dict[str, Any] = {"kind": self.kind, "message": self.message, "frames": ranges}
        if self.part:
            tree["part"] = self.part
        if self.worst_frame is not None:
            tree |= {"worst_frame": self.worst_frame, "pixels": self.pixels}
        return tree


def frame_ranges(frames: FrameNumbers) -> NDArray[np.int32]:
    """Return ascending numbers as ranges, int32 (ranges, 2): the first and the last number of each."""
    if not frames.size:
        return np.empty((0, 2), np.int32)
    breaks = np.flatnonzero(np.diff(frames) != 1)
    return np.stack([frames[np.append(0, breaks + 1)], frames[np.append(breaks, len(frames) - 1)]], axis=1)


def frame_text(frames: FrameNumbers) -> str:
    """Return ascending numbers as text: "frame 7", "frames 7-9, 12"."""
    ranges = frame_ranges(frames)
    listed = ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_RANGES_LISTED].tolist()
    )
    more = f" and {len(ranges) - _RANGES_LISTED} more ranges" if len(ranges) > _RANGES_LISTED else ""
    return f"{'frame' if len(frames) == 1 else 'frames'} {listed}{more}"


class DifferenceCollector:
    """Collects what differs in the frames that both versions of a video have."""

    def __init__(self, shared: SharedLayout, tolerance: Tolerance, *, statuses: bool) -> None:
        self._parts = [_PartCollector(shared_part.part, tolerance) for shared_part in shared.parts]
        self._heads = [_HeadCollector(head, tolerance) for head in shared.heads]
        self._compares_statuses = statuses
        self._renamed = _Numbers()
        self._first_names: tuple[str, str] | None = None
        self._statuses: dict[tuple[str, str], _Numbers] = {}

    def add(self, frames: AlignedFrames) -> None:
        """Compare the next frames."""
        self._add_names(frames)
        if self._compares_statuses:
            self._add_statuses(frames)
        for part in self._parts:
            part.add(frames)
        for head in self._heads:
            head.add(frames)

    def result(self, *, scores: bool) -> Iterator[Difference]:
        """Yield what differs in all frames that were added; `scores` says whether both sides have scores at all."""
        if self._first_names is not None:
            (expected, found), numbers = self._first_names, self._renamed.all()
            yield Difference("frame names", f"{frame_text(numbers)} named {found!r} instead of {expected!r}", numbers)
        for (expected, found), changed in self._statuses.items():
            numbers = changed.all()
            yield Difference("status", f"{frame_text(numbers)} {found!r} instead of {expected!r}", numbers)
        for part in self._parts:
            yield from part.result(scores=scores)
        for head in self._heads:
            yield from head.result()

    def _add_names(self, frames: AlignedFrames) -> None:
        other = [row for row, (expected, found) in enumerate(frames.names) if expected and found and expected != found]
        if other:
            self._first_names = self._first_names or frames.names[other[0]]
            self._renamed.add(frames.numbers[other])

    def _add_statuses(self, frames: AlignedFrames) -> None:
        """Collect each change of status but those that follow from a part found or missing, a difference by itself."""
        presence = [is_found(expected) != is_found(found) for expected, found in frames.points.values()]
        for row, (expected, found) in enumerate(frames.statuses):
            if expected == found:
                continue
            follows = {expected, found} == {"ok", "no_person"} and any(changed[row] for changed in presence)
            if not follows:
                self._statuses.setdefault((expected, found), _Numbers()).add(frames.numbers[[row]])


class _Numbers:
    """Frame numbers that come in blocks."""

    def __init__(self) -> None:
        self._blocks: list[FrameNumbers] = []

    def add(self, numbers: FrameNumbers) -> None:
        if numbers.size:
            self._blocks.append(numbers)
        # Blocks of single frames would take many times the bytes of their numbers.
        if len(self._blocks) > 1_000:
            self._blocks = [np.concatenate(self._blocks)]

    def all(self) -> FrameNumbers:
        return np.concatenate(self._blocks) if self._blocks else _no_frames()


class _PartCollector:
    """Collects what differs in one part."""

    def __init__(self, part: Part, tolerance: Tolerance) -> None:
        self._part = part
        self._tolerance = tolerance
        self._missing, self._extra, self._moved, self._rescored = (_Numbers() for _ in range(4))
        # Values that differ, the largest distance, in stored units and in pixels, and what to say of it.
        self._values = 0
        self._largest = -1.0
        self._pixels = 0.0
        self._worst = ("", 0)
        self._largest_score = -1.0
        self._worst_score = ""

    def add(self, frames: AlignedFrames) -> None:
        expected, found = map(is_found, frames.points[self._part.name])
        self._missing.add(frames.numbers[expected & ~found])
        self._extra.add(frames.numbers[found & ~expected])
        self._add_coordinates(frames.only(expected & found))
        self._add_scores(frames)

    def result(self, *, scores: bool) -> Iterator[Difference]:
        name = self._part.name
        if (numbers := self._missing.all()).size:
            yield Difference("part missing", f"{name} missing in {frame_text(numbers)}", numbers, name)
        if (numbers := self._extra.all()).size:
            yield Difference("part extra", f"{name} extra in {frame_text(numbers)}", numbers, name)
        if (numbers := self._moved.all()).size:
            worst, frame = self._worst
            message = f"{name} differs in {frame_text(numbers)}: {worst}"
            if np.isfinite(self._largest):
                message += f", off by {self._largest:.2g}"
            if self._values > 1:
                message += f", the most of {self._values:,} values"
            if self._pixels:
                message += f" (at most {self._pixels:.2g} px)"
            yield Difference("coordinates", message, numbers, name, self._pixels, frame)
        if scores and (numbers := self._rescored.all()).size:
            message = f"{name} score differs in {frame_text(numbers)}: {self._worst_score}"
            yield Difference("scores", message, numbers, name)

    def _add_coordinates(self, frames: AlignedFrames) -> None:
        part = self._part
        expected, found = frames.points[part.name]
        different = self._tolerance.different(part, frames.sizes, expected, found)
        if not different.any():
            return
        self._moved.add(frames.numbers[different.any(axis=(1, 2))])
        self._values += int(different.sum())
        distances = np.where(different, differences(expected, found), -1)
        row, point, axis = np.unravel_index(int(distances.argmax()), distances.shape)
        number = int(frames.numbers[row])
        if distances[row, point, axis] > self._largest:
            self._largest = float(distances[row, point, axis])
            self._worst = (
                f"{part.points[point]} {part.axes[axis]} of frame {number} is {_value(found[row, point, axis])} "
                f"instead of {_value(expected[row, point, axis])}",
                number,
            )
        self._pixels = max(self._pixels, _largest_pixels(part, frames.sizes, np.where(different, distances, 0)))

    def _add_scores(self, frames: AlignedFrames) -> None:
        if self._part.name not in frames.scores:
            return
        expected, found = frames.scores[self._part.name]
        different = self._tolerance.different_scores(expected, found)
        if not different.any():
            return
        self._rescored.add(frames.numbers[different])
        distances = np.where(different, differences(expected, found), -1)
        row = int(distances.argmax())
        if distances[row] > self._largest_score:
            self._largest_score = float(distances[row])
            self._worst_score = f"{found[row]:.9g} instead of {expected[row]:.9g} in frame {frames.numbers[row]}"


class _HeadCollector:
    """Collects what differs in the numbers of one head."""

    def __init__(self, head: Head, tolerance: Tolerance) -> None:
        self._head = head
        self._tolerance = tolerance
        self._names = (*(f"{head.logits_column} of {label}" for label in head.classes), *head.number_columns)
        self._changed = _Numbers()
        self._largest = -1.0
        self._worst = ""

    def add(self, frames: AlignedFrames) -> None:
        expected, found = frames.heads[self._head.name]
        different = self._tolerance.different_scores(expected, found)
        if not different.any():
            return
        self._changed.add(frames.numbers[different.any(axis=1)])
        distances = np.where(different, differences(expected, found), -1)
        row, column = np.unravel_index(int(distances.argmax()), distances.shape)
        if distances[row, column] > self._largest:
            self._largest = float(distances[row, column])
            self._worst = (
                f"{self._names[column]} of frame {frames.numbers[row]} is {_value(found[row, column])} "
                f"instead of {_value(expected[row, column])}"
            )

    def result(self) -> Iterator[Difference]:
        if (numbers := self._changed.all()).size:
            name = self._head.name
            yield Difference("heads", f"{name} differs in {frame_text(numbers)}: {self._worst}", numbers, name)


def _value(value: np.float32) -> str:
    return "missing" if np.isnan(value) else f"{value:.9g}"


def _largest_pixels(part: Part, sizes: NDArray[np.int32], distances: NDArray[np.float64]) -> float:
    """Return the largest distance in the image in pixels; 0 for parts in metres, and where no size is known."""
    if not part.scored:
        return 0.0
    axes = [part.axes.index(axis) for axis in ("x", "y")]
    offsets = distances[:, :, axes] * sizes[:, np.newaxis, :]
    finite = np.where(np.isfinite(offsets), offsets, 0)
    return float(np.linalg.norm(finite, axis=2).max(initial=0))
