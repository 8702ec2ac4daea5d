"""Video files: how many frames a container holds, when they are shown, and what shape their pixels have.

The driver counts and signs a file with `examine_container`; workers decode it with `decoding`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from phoenix_ray.sources.files import ContainerError, open_container, video_stream
from phoenix_ray.sources.paths import SourceFile, SourcePath
from phoenix_ray.sources.timing import (
    FrameRate,
    Timeline,
    are_fields_split,
    ascend,
    looks_split,
    measure_frame_rate,
    read_times,
)

SIGNED_BYTES = 64 * 1024
# Program streams time only some frames, and FFmpeg's guesses between them are sometimes off by a frame. The rate that
# the stream declares is the one it was coded with.
_SPARSELY_TIMED_FORMATS = ("mpeg", "mpegvideo")


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """What a listing finds out about a video file.

    Attributes:
        frame_count: Number of frames, or the limit on it.
        rate: Frames per second.
        signature: Changes when the content of the file changes.
        timeline: When each frame is shown, up to a constant.
        pixel_aspect_ratio: Width of a stored pixel over its height; None where the file does not say.
    """

    frame_count: int
    rate: FrameRate
    signature: str
    timeline: Timeline
    pixel_aspect_ratio: float | None = None


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
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        index = stream.index_entries
        if stream.frames and stream.frames == len(index) and not (looks_split(stream) and are_fields_split(file)):
            # These are decoding times: where they are even, presentation times are even at the same interval.
            times = [entry.timestamp for entry in index if not entry.is_discard]
            frame_count = len(times)
            times = times if ascend(times) else []
            rate = measure_frame_rate(times, stream.time_base, declared)
            if rate.varies:
                _, times = read_times(file, container, stream)
                # A truncated file holds fewer frames than its index names.
                if len(times) == frame_count:
                    rate = measure_frame_rate(times, stream.time_base, declared)
        else:
            frame_count, times = read_times(file, container, stream)
            timed = container.format.name not in _SPARSELY_TIMED_FORMATS
            rate = measure_frame_rate(times if timed else (), stream.time_base, declared)
        timeline = Timeline(tuple(times), stream.time_base, rate.fps)
    if frame_count == 0:
        raise ContainerError("its video stream has no frames")
    return ContainerFile(
        frame_count=frame_count if limit_frames is None else min(frame_count, limit_frames),
        rate=rate,
        signature=signature,
        timeline=timeline,
        pixel_aspect_ratio=float(aspect) if aspect else None,
    )


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
