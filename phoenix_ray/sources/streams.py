"""Opening video files with FFmpeg: which formats are read, and the compressed frames of a file's video stream.

FFmpeg would open far more than video files: playlists, devices, network addresses. This module gives it only plain
containers and streams, and only as files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from phoenix_ray.sources.files import RetryingFile

VIDEO_SUFFIXES = (
    # MP4 and its relatives, Matroska, and what Windows and the web used.
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".ogv", ".ogm", ".avi", ".divx"),
    *(".wmv", ".asf", ".flv", ".rm", ".rmvb", ".gif"),
    # Broadcast, discs and camcorders: transport and program streams, MXF, DV.
    *(".mts", ".m2ts", ".m2t", ".ts", ".tod", ".mpg", ".mpeg", ".mpe", ".vob", ".mod", ".mxf", ".dv"),
    # Streams without a container.
    *(".h264", ".264", ".h265", ".265", ".hevc", ".m1v", ".m2v", ".mjpeg", ".mjpg", ".ivf", ".y4m"),
)
_SUFFIXES = frozenset(VIDEO_SUFFIXES)
# FFmpeg's names of the formats behind the suffixes. Others are not tried: a playlist names further files, so a file
# called .mp4 could make this process read what the file's author could not.
_FORMATS = (
    "mov,mp4,matroska,webm,ogg,avi,asf,flv,rm,gif,mpegts,mpeg,mxf,dv,h264,hevc,m4v,mpegvideo,mjpeg,ivf,yuv4mpegpipe"
)
# The default of `decode.max_pixels`: a source is listed without decode settings.
LISTED_MAX_PIXELS = 50_000_000


class ContainerError(Exception):
    """Why a file is not a video; it becomes the message of a `SourceProblem`."""


def is_video_name(name: str) -> bool:
    """Return whether a file of this name is a video. Hidden files are not: macOS leaves `._name.mp4` beside videos."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in _SUFFIXES


@contextmanager
def open_container(path: str, max_pixels: int = LISTED_MAX_PIXELS) -> Iterator[Any]:
    """Open a container, always as a file: a name with a colon or a playlist never reaches the network.

    FFmpeg decodes the first frames to learn what is in the file, but no frame of far more than `max_pixels` pixels.

    Raises:
        ContainerError: The file is not a container.
        OSError: The file cannot be read. Raised here, and by any later call of PyAV that reads.
    """
    import av

    most_pixels = max(max_pixels, LISTED_MAX_PIXELS)
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "max_pixels": str(most_pixels)}
    # Titles are not used, so they need not be UTF-8. PyAV 19 accepts any bytes and no longer takes the argument.
    any_title = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
    with closing(RetryingFile(path)) as file:
        try:
            container = av.open(file, options=options, **any_title)
        except av.FFmpegError as error:
            raise ContainerError(f"it cannot be opened as a video: {error.strerror}") from None
        with container:
            yield container


def video_stream(container: Any) -> Any:
    """Return the video stream of a container.

    Raises:
        ContainerError: It has none that can be decoded.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise ContainerError("it has no video stream")
    if stream.codec_context is None:
        raise ContainerError("its video stream is of a codec that cannot be decoded")
    return stream


def read_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the compressed frames of a stream up to its end, or up to where the container breaks off."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        except IndexError:
            # A stream that begins later, as in MPEG-TS, ends PyAV's iterator but not the file.
            packets = container.demux(stream)
            continue
        # The last packet is empty: it marks the end.
        if packet.size:
            yield packet
