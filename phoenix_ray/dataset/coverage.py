"""Which frames a set of frame ranges holds: pure arithmetic behind resume, compaction and reading.

Ranges of one video may overlap: another run used another shard size, or two drivers raced. Rows of the same frame and
source are equal, so any choice is right as long as it takes each frame once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FrameRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pick:
    """A part of one of the given ranges: frames `first` to `last` (exclusive) are to be taken from range `source`."""

    source: int
    first: int
    last: int


def pick_once(ranges: Sequence[FrameRange]) -> list[Pick]:
    """Return, in frame order, what to take of which range so that every frame that any of them holds comes once."""
    picks: list[Pick] = []
    reached = 0
    for source in sorted(range(len(ranges)), key=lambda index: (ranges[index][0], -ranges[index][1])):
        first, last = ranges[source]
        if last > reached and last > first:
            picks.append(Pick(source, max(first, reached), last))
            reached = last
    return picks


def missing_frames(ranges: Iterable[FrameRange], frame_count: int) -> list[FrameRange]:
    """Return the ranges of frames 0 to `frame_count` that none of the given ranges holds, in order."""
    gaps: list[FrameRange] = []
    reached = 0
    for first, last in sorted(ranges):
        if first >= frame_count:
            break
        if first > reached:
            gaps.append((reached, first))
        reached = max(reached, last)
    if reached < frame_count:
        gaps.append((reached, frame_count))
    return gaps
