"""How files of a source are read: regular files only, with retries, and ahead of the code that uses them.

Storage that fails for a while is kept apart from a file that is damaged: only damage is recorded against a frame.
`folders`, `frames` and `containers` read through this module. An error that outlasts the retries becomes a
`SourceError`: this machine cannot read now, but the frame may be sound, so no row may say that it is unreadable.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, TypeVar

from phoenix_ray.errors import SourceError

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


def open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; links are followed. An unpacked archive may hold pipes and devices named like frames.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device or a socket, from which a read might never return.
    """
    # Without O_NONBLOCK, opening a pipe waits until another process writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def is_storage_error(error: OSError) -> bool:
    """Return whether an error comes from the storage or the machine, and so says nothing about the file."""
    return error.errno in _STORAGE_ERROR_NUMBERS


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
            if not is_storage_error(error):
                raise
        time.sleep(pause)
    return read()


def storage_failure(error: OSError, path: str) -> SourceError:
    """Return what to raise in place of a storage error that outlasted `with_retries`."""
    return SourceError(
        f"{path} cannot be read on this machine now ({error.strerror}): the storage failed; nothing says that the file "
        "is damaged."
    )


class RetryingFile:
    """A file for FFmpeg to read. FFmpeg itself would take a storage error for the end of the file.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """

    def __init__(self, path: str) -> None:
        # FFmpeg takes the name for an address; the prefix makes it a file whatever the path looks like.
        self.name = f"file:{path}"
        self._file = with_retries(lambda: open_regular_file(path))
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
            content = with_retries(lambda: os.pread(self._file.fileno(), size, self._position))
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
            start = os.fstat(self._file.fileno()).st_size
        if not 0 <= start + offset <= _LARGEST_FILE:
            return -errno.EINVAL
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
