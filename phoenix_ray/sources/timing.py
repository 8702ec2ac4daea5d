"""When each frame of a video file is shown: its timeline, and the frames per second that follow from it.

The frame rate is derived from time stamps in the same way for all containers, because what a container declares is
often wrong: a remuxed file declares the rate of its clock, a cut file that of the file it was cut from. The rate is the
number of intervals over the time they span. Clocks of whole milliseconds make that 30.03 or 29.95 for a film of
30000/1001, so where a common rate explains every time stamp, the common rate is taken instead.

Camcorders record interlaced video (AVCHD, 50i and 60i) as two fields for each frame, and H.264 can code each field as a
picture of its own. FFmpeg's reader then gives two packets for a frame, of which the decoder makes one picture; if every
packet counted as a frame, every second frame would seem to be lost. A packet that lasts half a frame, at the rate that
the stream declares, is taken for a field if the decoder, tried on the first packets, confirms it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.files import LISTED_MAX_PIXELS, open_container, read_packets, video_stream
from phoenix_ray.sources.paths import SourceFile

Item = TypeVar("Item")

# The rates of broadcast, film, cameras and screens. Those with 1001 go back to NTSC colour television.
COMMON_RATES = (
    *(Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120, 240)),
    *(Fraction(rate) for rate in (1, 2, 5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 200, 240)),
    Fraction(15, 2),
    Fraction(25, 2),
)
# Many files have passed through a clock of milliseconds (Matroska, FLV). Decoding times, which an index holds, are
# presentation times less an interval that was rounded as well.
_COARSE_ROUNDING = Fraction(2, 1000)
# How far the average may be from a common rate that is tried: two time stamps of a coarse clock say little.
_NEAR = Fraction(1, 4)
# FFmpeg guesses every time in these formats.
_UNTIMED_FORMATS = ("mpegvideo",)
# Enough to see past the frames that a decoder holds back.
_PROBED_PACKETS = 64


@dataclass(frozen=True, slots=True)
class FrameRate:
    """Frames per second, None where nothing gives them, and whether the intervals between frames vary.

    The rate of a video whose intervals vary is the average.
    """

    fps: float | None
    varies: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """When each frame is shown, known before decoding, so that a frame the decoder loses leaves a gap in its place.

    Attributes:
        times: When each frame is shown, ascending, in units of `time_base`. Empty where the container does not time
            every frame, as in old AVI files; then frames are numbered in the order in which they come.
        time_base: Seconds of a tick.
        fps: Frames per second, by which frames are timed where `times` is empty.
    """

    times: tuple[int, ...]
    time_base: Fraction
    fps: float | None

    def index_at(self, time: int | None, position: int) -> int:
        """Return the index of the frame shown at `time`: `position` where that is unknown, and never less."""
        if time is None or not self.times:
            return position
        rank = bisect_left(self.times, time)
        known = rank < len(self.times) and self.times[rank] == time
        return max(position, rank) if known else position

    def index_before(self, time: int | None) -> int:
        """Return the index of the frame shown at `time` or last before it, 0 where that is unknown."""
        return max(0, bisect_right(self.times, time) - 1) if time is not None else 0

    def seconds(self, index: int, start: int = 0) -> float | None:
        """Return the time of a frame in seconds after frame `start`, which is not behind it."""
        if index < len(self.times):
            return float((self.times[index] - self.times[start]) * self.time_base)
        return (index - start) / self.fps if self.fps else None


def read_timeline(file: SourceFile, fps: float | None) -> Timeline:
    """Return when each frame of a video file is shown.

    Raises:
        ContainerError, OSError: The file cannot be opened or read.
    """
    with open_container(file) as container:
        stream = video_stream(container)
        _, times = read_times(file, container, stream)
        return Timeline(tuple(times), stream.time_base, fps)


def read_times(file: SourceFile, container: Any, stream: Any) -> tuple[int, list[int]]:
    """Return how many frames there are, and when each is shown, ascending; no times unless each frame has its own."""
    packets, fields = [], []
    for packet in read_packets(container, stream):
        if not packet.is_discard:
            packets.append((packet.pts, packet.dts))
            fields.append(is_field(packet, stream))
    if any(fields) and are_fields_split(file):
        packets = list(without_second_fields(packets, fields))
    times = sorted(pts for pts, _ in packets if pts is not None)
    # Files that were joined, as on a DVD, begin their clock anew; sorted, frames of one part would lie among those of
    # another.
    starts_anew = any(later < earlier for earlier, later in pairwise(dts for _, dts in packets if dts is not None))
    timed = container.format.name not in _UNTIMED_FORMATS
    each_has_its_own = timed and len(times) == len(packets) and ascend(times) and not starts_anew
    return len(packets), times if each_has_its_own else []


def ascend(times: Sequence[int]) -> bool:
    """Return whether every time is later than the one before it."""
    return all(earlier < later for earlier, later in pairwise(times))


def measure_frame_rate(times: Sequence[int], time_base: Fraction, declared: Fraction | None) -> FrameRate:
    """Return the frame rate that time stamps show.

    The rate varies where an interval between two frames differs from the average by more than half of it, or where a
    frame is shown more than half an interval before or after `index / fps`; a tick of the clock is allowed for.

    Args:
        times: When each frame is shown, strictly ascending, in units of `time_base`.
        time_base: Seconds of a tick.
        declared: What the container declares, which counts where fewer than two frames are timed.
    """
    intervals = len(times) - 1
    if intervals < 1:
        return FrameRate(float(declared) if declared else None)
    span = times[-1] - times[0]
    average = Fraction(intervals) / (span * time_base)
    common = {rate for rate in (*COMMON_RATES, declared) if rate and abs(rate / average - 1) < _NEAR}
    # Integers throughout; of any size where a clock of nanoseconds would overflow 64 bits.
    largest = max([intervals, *((rate * time_base).numerator for rate in (*common, average))])
    exact = np.int64 if 4 * span * largest < 1 << 62 else object
    ticks = np.array([time - times[0] for time in times], exact)
    if _varies(ticks, span):
        return FrameRate(float(average), varies=True)
    spreads = {rate: _spread(ticks, rate * time_base) for rate in common}
    best = min(spreads, key=lambda rate: (spreads[rate], rate != declared, rate), default=average)
    rounds_alike = best in spreads and spreads[best] <= 1
    passed_a_coarse_clock = best in spreads and spreads[best] * time_base <= _COARSE_ROUNDING
    if rounds_alike or (passed_a_coarse_clock and _spread(ticks, average * time_base) > 1):
        return FrameRate(float(best))
    return FrameRate(float(average))


def is_field(packet: Any, stream: Any) -> bool:
    """Return whether a packet lasts half a frame at the rate that its H.264 stream declares."""
    rate = _declared_rate(stream)
    if not rate or not packet.duration:
        return False
    frames: Fraction = packet.duration * stream.time_base * rate
    return abs(2 * frames - 1) < Fraction(1, 10)


def looks_split(stream: Any) -> bool:
    """Return whether a container declares clearly more frames per second than its H.264 stream does."""
    rate = _declared_rate(stream)
    return bool(rate and stream.average_rate and stream.average_rate > rate * Fraction(51, 50))


def are_fields_split(file: SourceFile) -> bool:
    """Return whether the decoder makes fewer pictures than a file has packets because some packets are fields.

    Raises:
        ContainerError, OSError: The file cannot be opened or read.
    """
    import av

    with open_container(file) as container:
        stream = video_stream(container)
        decoder = stream.codec_context
        decoder.options = {"max_pixels": str(2 * LISTED_MAX_PIXELS)}
        decoder.thread_count = 1
        packets = list(islice(read_packets(container, stream), _PROBED_PACKETS))
        fields = [is_field(packet, stream) for packet in packets]
        pictures = 0
        for packet in [*packets, None]:
            with suppress(av.FFmpegError):
                pictures += len(decoder.decode(packet))
    pairs = len(packets) - sum(1 for _ in without_second_fields(packets, fields))
    # Half of the pairs decide, so a few damaged frames do not matter.
    return pairs > 0 and pictures <= len(packets) - (pairs + 1) // 2


def without_second_fields(items: Sequence[Item], fields: Sequence[bool]) -> Iterator[Item]:
    """Yield the items that begin a frame: all but the second of each two consecutive fields."""
    second = False
    for item, field in zip(items, fields, strict=True):
        second = field and not second
        if second or not field:
            yield item


def _varies(ticks: NDArray[Any], span: int) -> bool:
    """Return whether intervals vary. Everything is multiplied by the number of intervals, so it stays an integer."""
    intervals = len(ticks) - 1
    room = span + 2 * intervals
    places = np.arange(len(ticks), dtype=ticks.dtype) * span
    misplaced = 2 * abs(ticks * intervals - places) > room
    uneven = 2 * abs(np.diff(ticks) * intervals - span) > room
    return bool(misplaced.any() or uneven.any())


def _spread(ticks: NDArray[Any], frames_a_tick: Fraction) -> Fraction:
    """Return by how many ticks time stamps scatter around evenly spaced frames: at most 1 if rounding explains it."""
    frames, over = frames_a_tick.numerator, frames_a_tick.denominator
    off = ticks * frames - np.arange(len(ticks), dtype=ticks.dtype) * over
    return Fraction(int(off.max() - off.min()), frames)


def _declared_rate(stream: Any) -> Fraction | None:
    decoder = stream.codec_context
    return decoder.framerate if decoder.codec.name == "h264" else None
