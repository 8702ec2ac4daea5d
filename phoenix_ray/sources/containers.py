"""Video files: how many frames a container holds, and its frames in order of presentation.

The driver counts and signs a file with `examine`; a worker decodes a range of it with `decode_video`. Decoding runs
sequentially from the file's first frame in one thread, because a seek is exact in some codecs only: the same frame has
the same pixels in whatever range it is asked for.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import UnreadableFrameError, check_size
from phoenix_ray.sources.files import blame_storage, is_storage_trouble, open_regular_file
from phoenix_ray.sources.streams import ContainerError, open_container, read_packets, video_stream
from phoenix_ray.sources.timing import (
    FrameRate,
    are_fields_split,
    is_field,
    looks_split,
    measure_frame_rate,
    without_second_fields,
)

SIGNED_BYTES = 64 * 1024
# Program streams time some frames only, and FFmpeg's guesses between them are off by a frame now and then. The rate
# that the stream declares is the one it was coded with.
_SPARSELY_TIMED = ("mpeg", "mpegvideo")
# Here all times are guesses.
_UNTIMED = ("mpegvideo",)


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A video file's number of frames, frame rate, and signature."""

    frame_count: int
    rate: FrameRate
    signature: str


def examine_container(path: str, limit_frames: int | None = None) -> ContainerFile:
    """Count and sign the first `limit_frames` frames of a video file (None: all).

    The signature covers the size and the first and last 64 KiB, so that planning does not read whole videos.

    Raises:
        ContainerError: The file is no container that can be opened, or has no video stream or no frames.
        OSError: The file cannot be read.
    """
    signature = _sign(path)
    with open_container(path) as container:
        stream = video_stream(container)
        declared = stream.average_rate or stream.guessed_rate
        index = stream.index_entries
        if stream.frames and stream.frames == len(index) and not (looks_split(stream) and are_fields_split(path)):
            # Times of decoding: where they are even, those of presentation are so at the same intervals.
            times = [entry.timestamp for entry in index if not entry.is_discard]
            frame_count = len(times)
            rate = measure_frame_rate(times if _ascend(times) else (), stream.time_base, declared)
            if rate.varies:
                _, times = _read_times(path, container, stream)
                # A file that is cut short holds fewer frames than its index names.
                if len(times) == frame_count:
                    rate = measure_frame_rate(times, stream.time_base, declared)
        else:
            frame_count, times = _read_times(path, container, stream)
            timed = container.format.name not in _SPARSELY_TIMED
            rate = measure_frame_rate(times if timed else (), stream.time_base, declared)
    if frame_count == 0:
        raise ContainerError("its video stream has no frames")
    return ContainerFile(
        frame_count=frame_count if limit_frames is None else min(frame_count, limit_frames),
        rate=rate,
        signature=signature,
    )


def decode_video(video: Video, first: int, last: int, max_pixels: int) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1`, each with its time of presentation.

    A frame that cannot be decoded, or that the file does not hold although it was counted, is yielded with the reason.

    Raises:
        SourceError: The storage is in trouble, which says nothing about the frames.
    """
    shown = 0
    ending = "the file ends"
    try:
        for frame in _decode(video, max_pixels):
            if frame.index >= last:
                return
            shown = frame.index + 1
            if frame.index >= first:
                yield frame
    except (ContainerError, UnreadableFrameError, OSError) as error:
        if isinstance(error, OSError) and is_storage_trouble(error):
            raise blame_storage(error, video.location) from None
        ending = str(error)
    missing = f"{video.frame_count} frames were counted; after frame {shown}: {ending}"
    for index in range(max(first, shown), last):
        yield Frame(index, frame_name(index), timestamp=None, image=None, error=missing)


def frame_name(index: int) -> str:
    """Return the name of a frame that has no file of its own."""
    return f"frame-{index}"


@dataclass(frozen=True, slots=True)
class _Timeline:
    """When each frame is shown, known before decoding, so that a frame the decoder loses leaves a gap in its place.

    `times` (ascending, in units of `time_base` seconds) is empty where the container does not time every frame, as in
    old AVI files; then frames count in the order in which they come.
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

    def seconds(self, index: int) -> float | None:
        """Return the time of a frame in seconds after the first frame."""
        if index < len(self.times):
            return float((self.times[index] - self.times[0]) * self.time_base)
        return index / self.fps if self.fps else None


def _decode(video: Video, max_pixels: int) -> Iterator[Frame]:
    """Yield every frame of the file from the first on, in order and without a gap."""
    timeline = _read_timeline(video)
    reasons: dict[int, str] = {}
    position = 0

    def lost_frames(first: int, last: int) -> Iterator[Frame]:
        for index in range(first, last):
            error = reasons.get(index, "the decoder gave no picture")
            yield Frame(index, frame_name(index), timeline.seconds(index), image=None, error=error)

    for picture in _decoded_pictures(video.location, max_pixels, timeline, reasons):
        index = timeline.index_at(picture.pts, position)
        yield from lost_frames(position, index)
        yield _to_frame(picture, index, timeline.seconds(index), max_pixels, reasons.get(index))
        position = index + 1
    yield from lost_frames(position, len(timeline.times))


def _decoded_pictures(path: str, max_pixels: int, timeline: _Timeline, reasons: dict[int, str]) -> Iterator[Any]:
    """Yield what the decoder gives, and note in `reasons` why it gives no sound picture for a frame."""
    import av

    with open_container(path, max_pixels) as container:
        stream = video_stream(container)
        decoder = stream.codec_context
        check_size(decoder.width, decoder.height, max_pixels)
        # The size may change within a stream; the decoder then refuses before it takes memory for the picture. It
        # counts pixels of whole blocks, hence the room; `_to_frame` is exact.
        decoder.options = {"max_pixels": str(2 * max_pixels)}
        # More threads give other pixels in damaged streams, and a worker has its own frames to decode anyway.
        decoder.thread_count = 1
        for packet in read_packets(container, stream):
            # A second field has a time of its own, between two frames.
            index = timeline.index_before(packet.pts)
            if packet.is_corrupt:
                reasons[index] = "the file is damaged or ends within this frame"
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError as error:
                reasons[index] = f"the decoder failed: {error}"
        # What the decoder still held and cannot give is missing from the timeline's end, and told there.
        with suppress(av.FFmpegError):
            yield from decoder.decode(None)


def _to_frame(picture: Any, index: int, seconds: float | None, max_pixels: int, reason: str | None) -> Frame:
    try:
        check_size(picture.width, picture.height, max_pixels)
    except UnreadableFrameError as error:
        reason = str(error)
    if reason is None and picture.is_corrupt:
        reason = "the picture is damaged"
    image = None if reason else _upright(picture)
    return Frame(index, frame_name(index), seconds, image, reason)


def _upright(picture: Any) -> NDArray[np.uint8]:
    """Return the picture as RGB, turned as the container's display matrix says (by quarters, as all recorders do)."""
    pixels: NDArray[np.uint8] = picture.to_ndarray(format="rgb24", threads=1)
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _read_timeline(video: Video) -> _Timeline:
    with open_container(video.location) as container:
        stream = video_stream(container)
        _, times = _read_times(video.location, container, stream)
        return _Timeline(tuple(times), stream.time_base, video.fps)


def _read_times(path: str, container: Any, stream: Any) -> tuple[int, list[int]]:
    """Return how many frames there are, and when each is shown, ascending; no times unless each frame has its own."""
    packets, fields = [], []
    for packet in read_packets(container, stream):
        if not packet.is_discard:
            packets.append((packet.pts, packet.dts))
            fields.append(is_field(packet, stream))
    if any(fields) and are_fields_split(path):
        packets = list(without_second_fields(packets, fields))
    times = sorted(pts for pts, _ in packets if pts is not None)
    # Files that were put together, as those of a DVD, begin their clock anew; sorted, frames of one part would lie
    # among those of another.
    starts_anew = any(later < earlier for earlier, later in pairwise(dts for _, dts in packets if dts is not None))
    timed = container.format.name not in _UNTIMED
    tells_apart = timed and len(times) == len(packets) and _ascend(times) and not starts_anew
    return len(packets), times if tells_apart else []


def _ascend(times: Sequence[int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(times))


def _sign(path: str) -> str:
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(file.read(SIGNED_BYTES), digest_size=16)
        file.seek(max(0, size - SIGNED_BYTES))
        digest.update(file.read(SIGNED_BYTES))
    return f"container:{size}:{digest.hexdigest()}"
