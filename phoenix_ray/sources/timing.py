"""Frames per second of a video file, derived from its time stamps in one way for all containers.

What a container declares is often wrong: a remuxed file declares the rate of its clock, a cut one that of the file it
was cut from. The rate is the number of intervals over the time they span. Clocks of whole milliseconds make that
30.03 or 29.95 for a film of 30000/1001, so where a common rate explains every time stamp, it is taken instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.streams import LISTED_MAX_PIXELS, open_container, read_packets, video_stream

# The rates of broadcast, film, cameras and screens. Those with 1001 go back to NTSC colour television.
COMMON_RATES = (
    *(Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120, 240)),
    *(Fraction(rate) for rate in (1, 2, 5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 200, 240)),
    Fraction(15, 2),
    Fraction(25, 2),
)
# Files commonly pass through a clock of milliseconds on their way (Matroska, FLV). Times of decoding, which an index
# has, are those of presentation less an interval that was rounded as well.
_COARSE_ROUNDING = Fraction(2, 1000)
# How far the average may be from a common rate that is tried: two time stamps of a coarse clock say little.
_NEAR = Fraction(1, 4)


@dataclass(frozen=True, slots=True)
class FrameRate:
    """Frames per second, None where nothing says it, and whether the intervals between frames vary.

    The rate of a video whose intervals vary is the average.
    """

    fps: float | None
    varies: bool = False


def measure_frame_rate(times: Sequence[int], time_base: Fraction, declared: Fraction | None) -> FrameRate:
    """Return the frame rate of time stamps.

    The rate varies where an interval between two frames differs from the average by more than half of it, or where a
    frame is shown more than half an interval before or after `index / fps`; a tick of the clock is allowed for.

    Args:
        times: When each frame is shown, ascending and each another, in units of `time_base`.
        time_base: Seconds of a tick.
        declared: What the container says, which holds where fewer than two frames are timed.
    """
    intervals = len(times) - 1
    if intervals < 1:
        return FrameRate(float(declared) if declared else None)
    span = times[-1] - times[0]
    average = Fraction(intervals) / (span * time_base)
    common = {rate for rate in (*COMMON_RATES, declared) if rate and abs(rate / average - 1) < _NEAR}
    # Whole numbers throughout, and whole numbers of any size for clocks of nanoseconds.
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


def _varies(ticks: NDArray[Any], span: int) -> bool:
    """Return whether intervals vary. All is multiplied by their number, so that it stays whole."""
    intervals = len(ticks) - 1
    room = span + 2 * intervals
    places = np.arange(len(ticks), dtype=ticks.dtype) * span
    misplaced = 2 * abs(ticks * intervals - places) > room
    uneven = 2 * abs(np.diff(ticks) * intervals - span) > room
    return bool(misplaced.any() or uneven.any())


def _spread(ticks: NDArray[Any], frames_a_tick: Fraction) -> Fraction:
    """Return by how many ticks time stamps scatter around frames at even intervals: at most 1 where it is rounding."""
    frames, over = frames_a_tick.numerator, frames_a_tick.denominator
    off = ticks * frames - np.arange(len(ticks), dtype=ticks.dtype) * over
    return Fraction(int(off.max() - off.min()), frames)


Item = TypeVar("Item")

# Enough to see past the frames that a decoder holds back.
_PROBED_PACKETS = 64


def is_field(packet: Any, stream: Any) -> bool:
    """Return whether a packet lasts half a frame by the rate that its H.264 stream declares."""
    rate = _declared_rate(stream)
    if not rate or not packet.duration:
        return False
    frames: Fraction = packet.duration * stream.time_base * rate
    return abs(2 * frames - 1) < Fraction(1, 10)


def looks_split(stream: Any) -> bool:
    """Return whether a container names clearly more frames a second than its H.264 stream declares."""
    rate = _declared_rate(stream)
    return bool(rate and stream.average_rate and stream.average_rate > rate * Fraction(51, 50))


def without_second_fields(items: Sequence[Item], fields: Sequence[bool]) -> Iterator[Item]:
    """Yield what begins a frame: all but the second of each two fields that follow one another."""
    second = False
    for item, field in zip(items, fields, strict=True):
        second = field and not second
        if second or not field:
            yield item


def are_fields_split(path: str) -> bool:
    """Return whether the decoder makes fewer pictures than a file has packets, because some are fields.

    Raises:
        ContainerError, OSError: The file cannot be opened or read.
    """
    import av

    with open_container(path) as container:
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
    # A damaged frame more or less does not matter.
    pairs = len(packets) - sum(1 for _ in without_second_fields(packets, fields))
    return pairs > 0 and pictures <= len(packets) - (pairs + 1) // 2


def _declared_rate(stream: Any) -> Fraction | None:
    decoder = stream.codec_context
    return decoder.framerate if decoder.codec.name == "h264" else None
