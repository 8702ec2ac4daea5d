"""How files of a source are read: with retries, ahead of the code that uses them, and by FFmpeg.

Storage that fails for a while is kept apart from a file that is damaged: only damage is recorded against a frame.
`folders`, `frames` and `containers` read through this module. An error that outlasts the retries becomes a
`SourceError`: this machine cannot read now, but the frame may be sound, so no row may say that it is unreadable.

FFmpeg would open far more than video files: playlists, devices, network addresses. `open_container` gives it only plain
containers and streams, and only as files.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.paths import SourceFile

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds before the second, third and fourth try. The driver waits out longer outages, and may do so on another node.
PAUSES = (0.05, 0.2, 0.8)
# A device, server or mount does not answer, or the machine has run out of descriptors or memory. They are listed by
# name because no system defines all of them.
_STORAGE_ERRORS = (
    *("EIO", "ESTALE", "ETIMEDOUT", "ETIME", "EAGAIN", "EREMOTEIO", "ENOLINK", "ECOMM"),
    *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ESHUTDOWN"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"),
)
_STORAGE_ERROR_NUMBERS = frozenset(getattr(errno, name) for name in _STORAGE_ERRORS if hasattr(errno, name))
# Every system's offsets hold this number, with room for a read that starts there.
_LARGEST_FILE = 1 << 62


class RemoteError(OSError):
    """A storage error behind a network. Its text is a reason alone; an errno says nothing there."""

    def __str__(self) -> str:
        return str(self.strerror)


class UnavailableError(RemoteError):
    """One on which more tries in this process are wasted: the client has made enough, or has no credentials."""


def is_storage_error(error: OSError) -> bool:
    """Return whether an error comes from the storage or the machine, and so says nothing about the file."""
    return isinstance(error, RemoteError) or error.errno in _STORAGE_ERROR_NUMBERS


def with_retries(read: Callable[[], Result]) -> Result:
    """Return `read()`, repeated after each of `PAUSES` as long as the storage fails.

    Raises:
        Exception: What `read` raised: any error that the storage did not cause, at once; a storage error, after the
            last retry.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if not is_storage_error(error) or isinstance(error, UnavailableError):
                raise
        time.sleep(pause)
    return read()


def storage_failure(error: OSError, path: str) -> SourceError:
    """Return what to raise in place of a storage error that outlasted `with_retries`."""
    return SourceError(
        f"{path} cannot be read on this machine now ({error.strerror}): the storage failed; nothing says that the file "
        "is damaged."
    )


def not_seen(error: OSError, location: str) -> SourceError:
    """Return what to raise where a video that was planned is not there."""
    return SourceError(
        f"{location} cannot be read on this machine ({error.strerror}): every node must see the source under the same "
        "path."
    )


class RetryingFile:
    """A reader of a file for FFmpeg, which itself would take a storage error for the end of the file.

    Args:
        file: The file, which its owner closes.
    """

    def __init__(self, file: SourceFile) -> None:
        # FFmpeg takes the name for an address; the prefix makes it a file whatever the location looks like.
        self.name = f"file:{file.location}"
        self._file = file
        self._position = 0
        self._failure: OSError | None = None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the file.

        Raises:
            OSError: The file cannot be read. Every later call raises the same error at once.
        """
        if self._failure:
            raise self._failure
        try:
            content = with_retries(lambda: self._file.read_at(self._position, size))
        except OSError as error:
            self._failure = error
            raise
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the position (`SEEK_CUR`) or the end (`SEEK_END`).

        Returns:
            The new position, or FFmpeg's own error number where no byte can lie: damaged files ask for such places.

        Raises:
            OSError: The size of the file cannot be read.
        """
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = self._file.size
        if not 0 <= start + offset <= _LARGEST_FILE:
            return -errno.EINVAL
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position


def lookahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item in order, computing up to `ahead` results in threads before they are needed.

    Threads suffice because reading files and decoding pictures release the GIL. `items` is read in the caller's thread.
    An exception of `function` is raised in place of its result. Closing the iterator cancels calls that have not begun
    and waits for those that have, so no thread outlives it.
    """
    pending: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="lookahead")
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


# FFmpeg's names of the formats behind the suffixes. Others are not tried: a playlist names further files, so a file
# called .mp4 could make this process read what the file's author could not.
_FORMATS = (
    "mov,mp4,matroska,webm,ogg,avi,asf,flv,rm,gif,mpegts,mpeg,mxf,dv,h264,hevc,m4v,mpegvideo,mjpeg,ivf,yuv4mpegpipe"
)
# The default of `decode.max_pixels`: a source is listed without decode settings.
LISTED_MAX_PIXELS = 50_000_000


class ContainerError(Exception):
    """Why a file is not a video; it becomes the message of a `SourceProblem`."""


@contextmanager
def open_container(file: SourceFile, max_pixels: int = LISTED_MAX_PIXELS) -> Iterator[Any]:
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
    try:
        container = av.open(RetryingFile(file), options=options, **any_title)
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
