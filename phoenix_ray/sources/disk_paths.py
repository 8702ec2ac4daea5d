"""Files of a source on a disk or a mounted file system: regular files only, and links are followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from phoenix_ray.sources.formats import is_frame_name
from phoenix_ray.sources.paths import FrameSizes, SourcePath


class DiskPath(SourcePath):
    """The path of a file or a folder on this machine."""

    def __init__(self, location: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(location))

    def is_file(self) -> bool:
        """Return whether there is a file."""
        return Path(self.location).is_file()

    def is_folder(self) -> bool:
        """Return whether there is a folder, or a link to one."""
        return Path(self.location).is_dir()

    def entries(self) -> dict[str, bool]:
        """Return name → whether it is a folder, without hidden names."""
        with os.scandir(self.location) as entries:
            return {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}

    def frames(self, *, sizes: bool) -> FrameSizes | None:
        """Return the frames that lie right in this folder; None if this is a file."""
        try:
            with os.scandir(self.location) as entries:
                # A broken link is not a folder and so counts as a frame: it becomes a flagged row, not a missing one.
                return {
                    entry.name: _size(entry) if sizes else 0
                    for entry in entries
                    if is_frame_name(entry.name) and not _is_folder(entry)
                }
        except NotADirectoryError:
            return None

    def open(self) -> DiskFile:
        """Open this file."""
        return DiskFile(self.location)

    def identity(self) -> Hashable:
        """Return device and inode."""
        status = os.stat(self.location)  # noqa: PTH116 - as the other functions here, on text
        return status.st_dev, status.st_ino


class DiskFile:
    """An open file of this machine.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = os.fspath(location)
        self._file = open_regular_file(location)

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._file.fileno()).st_size

    def read_at(self, position: int, most: int) -> bytes:
        """Return up to `most` bytes from a position on."""
        return os.pread(self._file.fileno(), most, position)

    def stream(self) -> BinaryIO:
        """Return the file as a stream."""
        return self._file

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DiskFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to a folder; False for a link that cannot be followed."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # Most often a broken link. Its frame is flagged, and read again once the file has a size.
        return -1
