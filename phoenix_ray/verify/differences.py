"""What can differ between two versions of a video, and how each is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

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
]

# How many ranges of frames a sentence lists; the JSON has all.
_RANGES_TOLD = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs, in one or more frames of a video.

    Attributes:
        kind: What it is. "Missing" is in the reference only, "extra" in the candidate only.
        message: A sentence for people.
        frames: Numbers of the frames, ascending; empty where the video as a whole differs.
        part: The part, where it is about one.
        pixels: The largest distance, where it is about coordinates in an image of known size; else 0.
        worst_frame: Frame with the largest distance, None where there is no distance.
    """

    kind: DifferenceKind
    message: str
    frames: tuple[int, ...] = ()
    part: str = ""
    pixels: float = 0.0
    worst_frame: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; frames as [first, last] ranges."""
        tree: dict[str, Any] = {"kind": self.kind, "message": self.message, "frames": frame_ranges(self.frames)}
        if self.part:
            tree["part"] = self.part
        if self.worst_frame is not None:
            tree |= {"worst_frame": self.worst_frame, "pixels": self.pixels}
        return tree


def frame_ranges(frames: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as (first, last) ranges."""
    ranges = []
    for _, group in groupby(enumerate(frames), key=lambda item: item[1] - item[0]):
        numbers = [number for _, number in group]
        ranges.append((numbers[0], numbers[-1]))
    return ranges


def frame_text(frames: Sequence[int]) -> str:
    """Return ascending numbers as text: "frame 7", "frames 7-9, 12"."""
    ranges = frame_ranges(frames)
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_RANGES_TOLD])
    more = f" and {len(ranges) - _RANGES_TOLD} more ranges" if len(ranges) > _RANGES_TOLD else ""
    return f"frame{'s' * (len(frames) != 1)} {told}{more}"
