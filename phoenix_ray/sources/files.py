"""How files of a source are read: only regular ones, patiently, and ahead of the consumer.

Storage that is away for a while is told apart from a file that is bad: only the latter may be held against a frame.
`frames` and `containers` read through `patiently`. What is still wrong after its pauses says that this machine cannot
read now; the frame may be sound, so it must not become a flagged row.
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


def open_regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file, or what a link to it points to, for reading.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device or a socket, on which reading might never end.
    """
    # Without O_NONBLOCK opening a pipe waits for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds before the second, third and fourth try: longer outages are the driver's to wait for, on whatever node.
PAUSES = (0.05, 0.2, 0.8)
# A device, server or mount that does not answer, and a machine out of descriptors or memory. By name, since not every
# system has them all.
_TROUBLES = (
    *("EIO", "ESTALE", "ETIMEDOUT", "ETIME", "EAGAIN", "EREMOTEIO", "ENOLINK", "ECOMM"),
    *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ESHUTDOWN"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"),
)
_NUMBERS = frozenset(getattr(errno, name) for name in _TROUBLES if hasattr(errno, name))
# What offsets hold on every system, with room for a read behind it.
_LARGEST_FILE = 1 << 62


def is_storage_trouble(error: OSError) -> bool:
    """Tell whether an error is the storage's or the machine's, and says nothing about the file that was read."""
    return error.errno in _NUMBERS


def patiently(read: Callable[[], Result]) -> Result:
    """Return `read()`, tried again after each of `PAUSES` while the storage is in trouble.

    Raises:
        Exception: What `read` raised in the last try, or what is no trouble of the storage.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if not is_storage_trouble(error):
                raise
        time.sleep(pause)
    return read()


def blame_storage(error: OSError, path: str) -> SourceError:
    """Return what to raise in the place of a trouble of the storage that outlasts `patiently`."""
    return SourceError(
        f"{path} cannot be read on this machine now ({error.strerror}): that is the storage, not the file."
    )


class PatientReader:
    """A file for FFmpeg to read, which would take an outage of the storage for the file's end.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """

    def __init__(self, path: str) -> None:
        # What FFmpeg takes for the address: of a file, whatever the path looks like.
        self.name = f"file:{path}"
        self._file = patiently(lambda: open_regular_file(path))
        self._position = 0
        self._trouble: OSError | None = None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end.

        Raises:
            OSError: The file cannot be read; from then on every call says so at once.
        """
        if self._trouble:
            raise self._trouble
        try:
            content = patiently(lambda: os.pread(self._file.fileno(), size, self._position))
        except OSError as error:
            self._trouble = error
            raise
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move by `offset` bytes from the start, the position (`SEEK_CUR`) or the end (`SEEK_END`); return where it is.

        Where there can be no byte the answer is FFmpeg's own error number: damaged files ask for such places.

        Raises:
            OSError: The size cannot be asked for.
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
    """Yield `function(item)` of each item in order, with up to `ahead` results computed before they are asked for.

    `items` is read in the caller's thread. Whatever `function` raises is raised in place of its result. Closing the
    iterator drops what has not begun and waits for what has, so no thread outlives it.
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
