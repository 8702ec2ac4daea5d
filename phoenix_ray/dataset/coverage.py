"""Which frames are there, and which rows of them count: the pure rules behind resume, compaction and reading.

Ranges of one video may overlap: another run used another shard size, or two drivers raced. Rows of the same frame and
source are equal, so any choice is right as long as it takes each frame once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

FrameRange = tuple[int, int]
HoldingType = TypeVar("HoldingType", bound="Holding")


class Version(NamedTuple):
    """One content of a video: rows of different versions never mix."""

    signature: str
    frame_count: int


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
        if first == last:
            continue
        if first >= frame_count:
            break
        if first > reached:
            gaps.append((reached, first))
        reached = max(reached, last)
    if reached < frame_count:
        gaps.append((reached, frame_count))
    return gaps


class Holding(Protocol):
    """Frames of one version of a video, somewhere in the dataset; a `PartitionInfo` is one."""

    @property
    def version(self) -> Version:
        """Which content of the video they come from."""
        ...

    @property
    def first(self) -> int:
        """First frame."""
        ...

    @property
    def last(self) -> int:
        """End of the frames, exclusive."""
        ...

    @property
    def modified(self) -> float:
        """When they were written."""
        ...


def live_holdings(holdings: Iterable[HoldingType], compacted: Version | None) -> list[HoldingType] | None:
    """Return those of a video's partitions that are the video now, or None when its compacted rows are.

    A video whose source changed is computed again, so that rows of two versions may lie side by side for a while. A
    version that is whole wins over one that is not, and partitions over compacted rows of another version, since
    compaction would have removed them were they older. Until a new version is whole, the old one is the video.
    """
    versions: dict[Version, list[HoldingType]] = {}
    for holding in holdings:
        versions.setdefault(holding.version, []).append(holding)
    if compacted is not None:
        versions.pop(compacted, None)
        versions = {version: group for version, group in versions.items() if is_whole(version, group)}
    if not versions:
        return None
    return max(
        versions.values(),
        key=lambda group: (
            is_whole(group[0].version, group),
            max(holding.modified for holding in group),
            group[0].version,
        ),
    )


def is_whole(version: Version, holdings: Iterable[Holding]) -> bool:
    """Whether the holdings have every frame of a version."""
    return not missing_frames(((holding.first, holding.last) for holding in holdings), version.frame_count)
