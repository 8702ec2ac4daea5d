"""Frames that a file stores as two fields each, as camcorders record interlaced video (AVCHD, 50i and 60i).

H.264 can code each field as a picture of its own. FFmpeg's reader then gives two packets for a frame, of which the
decoder makes one picture; counted as they come, every second frame would seem to be lost. A packet that lasts half a
frame by the rate that the stream declares is such a field, provided that decoding the first of them shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from typing import Any, TypeVar

from phoenix_ray.sources.streams import LISTED_MAX_PIXELS, open_container, read_packets, video_stream

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
