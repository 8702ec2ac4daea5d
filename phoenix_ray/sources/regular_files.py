"""Opens files of a source, and only files: an unpacked archive may hold pipes and devices that look like frames."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


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
