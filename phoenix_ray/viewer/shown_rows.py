"""The rows of a video that a moving picture shows, and when it shows them.

`moving_pictures` takes an `Overview` of the rows first, without their landmarks; `film` draws them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError
from phoenix_ray.viewer.overlay import Points

# Frames per second for a source without a clock: those of PHOENIX-2014-T, and of television in Europe.
ASSUMED_RATE = 25
# No camera of signing is faster; a higher rate is damage, and beyond some no file can hold it.
_HIGHEST_RATE = 10_000
SIZE_UNKNOWN = (640, 480)


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """Frames `first` to `end - 1` of a video; to its last where `end` is None."""

    first: int = 0
    end: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> FrameSpan:
        """Return what `FIRST:END` says, where either may be left out; None and `:` mean all frames.

        Raises:
            ConfigError: It says something else, or holds no frame.
        """
        found = re.fullmatch(r"(\d{0,9}):(\d{0,9})", "".join((text or ":").split()), re.ASCII)
        if found is not None:
            span = cls(int(found[1] or 0), int(found[2]) if found[2] else None)
            if span.end is None or span.first < span.end:
                return span
        raise ConfigError(f"'{text}' is not a range of frames: write FIRST:END, as 100:150 for the frames 100 to 149.")

    def __str__(self) -> str:
        """Return what stands after "no row of …"."""
        if self == ALL_FRAMES:
            return " yet"
        return f" from frame {self.first} on" if self.end is None else f" in frames {self.first} to {self.end - 1}"


ALL_FRAMES = FrameSpan()


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of a video.

    Attributes:
        index: Index of its frame.
        status: Its status (`dataset.schema.FrameStatus`).
        size: Width and height of the decoded frame in pixels, 0 where it was unreadable.
        timestamp: Seconds from the start of the video, NaN where unknown.
        points: Part name → float32 (points, axes), NaN where the part is missing.
    """

    index: int
    status: str
    size: tuple[int, int]
    timestamp: float
    points: Mapping[str, Points]


def rows_of(blocks: Iterable[VideoLandmarks], span: FrameSpan) -> Iterator[ShownRow]:
    """Yield the rows in a span of a video that comes in blocks."""
    for block in blocks:
        for row, index in enumerate(block.frame_index.tolist()):
            if span.end is not None and index >= span.end:
                return
            if index >= span.first:
                points = {part: values[row] for part, values in block.points.items()}
                width, height = block.sizes[row].tolist()
                yield ShownRow(index, block.status[row], (width, height), float(block.timestamps[row]), points)


@dataclass(frozen=True, slots=True)
class Timing:
    """When pictures are shown: `rate` a second, the average where `is_even` is false and time stamps decide."""

    rate: Fraction
    is_even: bool
    is_assumed: bool

    @classmethod
    def of(cls, fps: float | None, fps_varies: bool | None) -> Timing:
        """Return the timing that a dataset records for a video."""
        # The denominator of NTSC's rates is 1001.
        rate = Fraction(fps).limit_denominator(1001) if fps is not None and math.isfinite(fps) else Fraction(0)
        if not 0 < rate <= _HIGHEST_RATE:
            return cls(Fraction(ASSUMED_RATE), is_even=True, is_assumed=True)
        return cls(rate, is_even=fps_varies is False, is_assumed=False)

    def times(self, rows: Iterable[ShownRow]) -> Iterator[tuple[ShownRow, float]]:
        """Yield each row with the seconds from the first row to it, ascending."""
        first, seconds = None, 0.0
        for row in rows:
            first = first or row
            if self.is_even:
                seconds = float((row.index - first.index) / self.rate)
            elif row is not first:
                since = row.timestamp - first.timestamp
                seconds = since if since > seconds else float(seconds + 1 / self.rate)
            yield row, seconds


@dataclass(frozen=True, slots=True)
class Overview:
    """What pictures of a video have in common.

    Attributes:
        rows: Their number.
        last: Index of the last frame.
        last_timestamp: Its seconds from the start of the video, NaN where the source has no clock.
        size: The most frequent width and height of a frame.
        timing: When they are shown.
        seconds: From the first picture to the end of the last.
    """

    rows: int
    last: int
    last_timestamp: float
    size: tuple[int, int]
    timing: Timing
    seconds: float

    @classmethod
    def of(cls, blocks: Iterator[VideoLandmarks], span: FrameSpan) -> Overview:
        """Return that of the rows in a span of a video, which comes in at least one block."""
        first = next(blocks)
        timing = Timing.of(first.fps, first.fps_varies)
        rows, last, timestamp, seconds = 0, 0, math.nan, 0.0
        sizes = Counter[tuple[int, int]]()
        for row, shown in timing.times(rows_of(chain([first], blocks), span)):
            rows, last, timestamp, seconds = rows + 1, row.index, row.timestamp, shown
            if min(row.size) > 0:
                sizes[row.size] += 1
        size = sizes.most_common(1)[0][0] if sizes else SIZE_UNKNOWN
        return cls(rows, last, timestamp, size, timing, float(seconds + 1 / timing.rate))
