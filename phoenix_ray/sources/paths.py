"""Where the files of a source lie: what listing and reading ask of a disk, of a bucket, or of another file system.

The layouts (`phoenix`, `media_tree`, `table`) and the readers of frames know this interface alone, so each of them
works on every kind of storage. `locations.source_path` makes a path from the text that settings, tables and `Video`s
carry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import BinaryIO, ClassVar, Protocol

# Name of each frame in a folder → its size in bytes: 0 where sizes were not asked for, -1 where there is none.
FrameSizes = Mapping[str, int]


class SourceFile(Protocol):
    """An open file. Its readers say where they read, so several may share it; one of them at a time."""

    @property
    def location(self) -> str:
        """Its absolute path or URI."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    def read_at(self, position: int, most: int) -> bytes:
        """Return 1 to `most` bytes from a position on; none at the end of the file and behind it.

        Raises:
            OSError: The file cannot be read.
        """

    def stream(self) -> BinaryIO:
        """Return the file as a stream, for one reader. Both are closed together."""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> SourceFile: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""


class SourcePath(ABC):
    """The path of a file or a folder, which need not exist.

    A method that finds neither raises FileNotFoundError, and another OSError where it cannot find out;
    `files.is_storage_error` says whether the storage is to blame for that.

    Args:
        location: An absolute path or a URI, without a slash at the end.
    """

    # Files to read at a time where a request takes far longer than the bytes that it brings; 1 elsewhere.
    read_together: ClassVar[int] = 1

    def __init__(self, location: str) -> None:
        self.location = location

    def __str__(self) -> str:
        return self.location

    def __truediv__(self, relative: str | PurePath) -> SourcePath:
        return type(self)(f"{self.location.rstrip('/')}/{relative}")

    @property
    def name(self) -> str:
        """The last part of the location."""
        return self.location.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name in lower case, empty where there is none."""
        return PurePath(self.name).suffix.lower()

    @property
    def parents(self) -> tuple[SourcePath, ...]:
        """The folders around it, the nearest first."""
        # In a URI, the first three parts are the scheme, nothing, and the bucket.
        parts = self.location.split("/")
        fewest = 3 if "://" in self.location else 1
        above = ("/".join(parts[:count]) or "/" for count in range(len(parts) - 1, fewest - 1, -1))
        return tuple(type(self)(location) for location in above if location != self.location)

    @abstractmethod
    def is_file(self) -> bool:
        """Return whether there is a file."""

    @abstractmethod
    def is_folder(self) -> bool:
        """Return whether there is a folder. A bucket has a folder wherever it has something below it."""

    @abstractmethod
    def entries(self) -> dict[str, bool]:
        """Return name → whether it is a folder, for all that lies right in this folder but hidden names."""

    @abstractmethod
    def frames(self, *, sizes: bool) -> FrameSizes | None:
        """Return the frames that lie right in this folder, with sizes if asked for; None if this is a file."""

    @abstractmethod
    def open(self) -> SourceFile:
        """Open this file."""

    def listed_ahead(self, names: Sequence[str]) -> Iterable[SourcePath]:
        """Yield folders that lie in this folder, which are about to be walked to the end, in order."""
        return (self / name for name in names)

    def identity(self) -> Hashable:
        """Return what this folder has in common with no other, whatever links lead to it; None without links."""
        return None
