"""Video files: how many frames a container holds, and its frames in order of presentation.

The driver counts and signs a file with `examine_container`; a worker decodes a range of it with `decode_video`.
Decoding always runs from the file's first frame, in one thread, because only some codecs can seek exactly: so a frame
has the same pixels whatever range it is requested in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import UnreadableFrameError, check_size
from phoenix_ray.sources.files import (
    ContainerError,
    is_storage_error,
    not_seen,
    open_container,
    read_packets,
    storage_failure,
    video_stream,
    with_retries,
)
from phoenix_ray.sources.paths import SourceFile, SourcePath
from phoenix_ray.sources.timing import (
    FrameRate,
    Timeline,
    are_fields_split,
    ascend,
    looks_split,
    measure_frame_rate,
    read_timeline,
    read_times,
)
from phoenix_ray.text import counted

SIGNED_BYTES = 64 * 1024
# Program streams time only some frames, and FFmpeg's guesses between them are sometimes off by a frame. The rate that
# the stream declares is the one it was coded with.
_SPARSELY_TIMED_FORMATS = ("mpeg", "mpegvideo")


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A video file's number of frames, frame rate, and signature."""

    frame_count: int
    rate: FrameRate
    signature: str


def examine_container(path: SourcePath, limit_frames: int | None = None) -> ContainerFile:
    """Count and sign the first `limit_frames` frames of a video file (None: all).

    The signature covers the size and the first and last 64 KiB, so that planning does not read whole videos.

    Raises:
        ContainerError: The file is not a container that can be opened, or has no video stream or no frames.
        OSError: The file cannot be read.
    """
    with path.open() as file, open_container(file) as container:
        signature = _sign(file)
        stream = video_stream(container)
        declared = stream.average_rate or stream.guessed_rate
        index = stream.index_entries
        if stream.frames and stream.frames == len(index) and not (looks_split(stream) and are_fields_split(file)):
            # These are decoding times: where they are even, presentation times are even at the same interval.
            times = [entry.timestamp for entry in index if not entry.is_discard]
            frame_count = len(times)
            rate = measure_frame_rate(times if ascend(times) else (), stream.time_base, declared)
            if rate.varies:
                _, times = read_times(file, container, stream)
                # A truncated file holds fewer frames than its index names.
                if len(times) == frame_count:
                    rate = measure_frame_rate(times, stream.time_base, declared)
        else:
            frame_count, times = read_times(file, container, stream)
            timed = container.format.name not in _SPARSELY_TIMED_FORMATS
            rate = measure_frame_rate(times if timed else (), stream.time_base, declared)
    if frame_count == 0:
        raise ContainerError("its video stream has no frames")
    return ContainerFile(
        frame_count=frame_count if limit_frames is None else min(frame_count, limit_frames),
        rate=rate,
        signature=signature,
    )


def decode_video(
    video: Video, path: SourcePath, first: int, last: int, max_pixels: int
) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1`, each with its presentation time.

    A frame that cannot be decoded, or that was counted but is missing from the file, is yielded with the reason.

    Raises:
        SourceError: The storage fails, or this machine does not see the file, which says nothing about the frames.
    """
    shown = 0
    ending = "the file ends"
    try:
        with with_retries(path.open) as file:
            for frame in _decode(file, video.fps, max_pixels):
                if frame.index >= last:
                    return
                shown = frame.index + 1
                if frame.index >= first:
                    yield frame
    except FileNotFoundError as error:
        raise not_seen(error, video.location) from None
    except (ContainerError, UnreadableFrameError, OSError) as error:
        if isinstance(error, OSError) and is_storage_error(error):
            raise storage_failure(error, video.location) from None
        ending = str(error)
    missing = f"the video was planned with {counted(video.frame_count, 'frame')}; after frame {shown}: {ending}"
    for index in range(max(first, shown), last):
        yield Frame(index, frame_name(index), timestamp=None, image=None, error=missing)


def frame_name(index: int) -> str:
    """Return the name of a frame that has no file of its own."""
    return f"frame-{index}"


def _decode(file: SourceFile, fps: float | None, max_pixels: int) -> Iterator[Frame]:
    """Yield every frame of the file from the first on, in order and without a gap."""
    timeline = read_timeline(file, fps)
    reasons: dict[int, str] = {}
    position = 0

    def lost_frames(first: int, last: int) -> Iterator[Frame]:
        for index in range(first, last):
            error = reasons.get(index, "the decoder gave no picture")
            yield Frame(index, frame_name(index), timeline.seconds(index), image=None, error=error)

    for picture in _decoded_pictures(file, max_pixels, timeline, reasons):
        index = timeline.index_at(picture.pts, position)
        yield from lost_frames(position, index)
        yield _to_frame(picture, index, timeline.seconds(index), max_pixels, reasons.get(index))
        position = index + 1
    yield from lost_frames(position, len(timeline.times))


def _decoded_pictures(file: SourceFile, max_pixels: int, timeline: Timeline, reasons: dict[int, str]) -> Iterator[Any]:
    """Yield what the decoder gives, and record in `reasons` why a frame has no sound picture."""
    import av

    with open_container(file, max_pixels) as container:
        stream = video_stream(container)
        decoder = stream.codec_context
        check_size(decoder.width, decoder.height, max_pixels)
        # The size may change within a stream; the decoder then refuses before it allocates the picture. It counts the
        # pixels of whole blocks, hence the factor of two; `_to_frame` checks the exact size.
        decoder.options = {"max_pixels": str(2 * max_pixels)}
        # More threads give other pixels in damaged streams, and a worker has its own frames to decode anyway.
        decoder.thread_count = 1
        for packet in read_packets(container, stream):
            # The second field of a frame has a time of its own, between two frames.
            index = timeline.index_before(packet.pts)
            if packet.is_corrupt:
                reasons[index] = "the file is damaged or ends within this frame"
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError as error:
                reasons[index] = f"the decoder failed: {error}"
        # Pictures that the decoder still held and cannot give are reported as lost at the end of the timeline.
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
    """Return the picture as RGB, turned as the display matrix says: by quarter turns, which is all recorders write."""
    pixels: NDArray[np.uint8] = picture.to_ndarray(format="rgb24", threads=1)
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _sign(file: SourceFile) -> str:
    digest = hashlib.blake2b(_read(file, 0, SIGNED_BYTES), digest_size=16)
    digest.update(_read(file, max(0, file.size - SIGNED_BYTES), SIGNED_BYTES))
    return f"container:{file.size}:{digest.hexdigest()}"


def _read(file: SourceFile, position: int, count: int) -> bytes:
    """Return `count` bytes from a position on, fewer where the file ends."""
    content = b""
    while part := file.read_at(position + len(content), count - len(content)):
        content += part
    return content
