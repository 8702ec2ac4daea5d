"""Reads and writes the files of a dataset; only this module and `local_files` touch the output's file system.

All other modules use *names*: paths relative to the dataset's root, with forward slashes. `LocalStorage` is a folder;
`object_storage.ObjectStorage` is a bucket with the same methods. `locations.open_storage` chooses.

All other guarantees rest on this one: **a file under its final name is whole.** Its bytes go to a temporary name in the
same folder, are flushed to the device, and only then get the final name. A crash leaves a temporary file, never half a
file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from phoenix_ray.dataset import local_files
from phoenix_ray.errors import OutputError

TEMPORARY_PREFIX = ".tmp-"
# Folders listed at once, to hide the latency of a network file system.
LISTING_THREADS = 8
# Folders that a thread takes at once where there are many: handing over each takes as long as listing it.
_FOLDERS_PER_BLOCK = 32
# A request each in an object store.
_HASHED_BYTES = 4 << 20
# `read` is for JSON, partitions and `videos.parquet`, which has 100 MB in a dataset of a million videos.
MOST_BYTES_AT_ONCE = 256 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a listing shows it.

    Attributes:
        name: Its name, relative to the dataset's root.
        bytes: Its size.
        modified: Seconds since the epoch, by the clock of the storage.
    """

    name: str
    bytes: int
    modified: float

    @property
    def temporary(self) -> bool:
        """Whether it is an unfinished write, of a process at work or of one that died."""
        return self.name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


class _Temporary(NamedTuple):
    """A file that is being written.

    Attributes:
        name: Its temporary name in the folder.
        last: Its final name there.
        folder: Descriptor of the folder.
        stream: Takes its content.
    """

    name: str
    last: str
    folder: int
    stream: BinaryIO


class ReadableStorage(Protocol):
    """The methods that reading needs. They raise FileNotFoundError for a name that does not exist, else OutputError."""

    @property
    def root(self) -> str:
        """The dataset's place as the user wrote it, for messages."""

    def read(self, name: str) -> bytes:
        """Return the content of a file of at most `MOST_BYTES_AT_ONCE`; OutputError for a larger one."""

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, also temporary ones, in no order; nothing where there is no such folder.

        The empty name is the whole dataset.
        """


class Storage(ReadableStorage, Protocol):
    """The methods that a run needs beside those for reading."""

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step; a file of this name is replaced."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Write a file if it still holds `old`; return whether this call did. `new` is like no other content.

        Where files cannot be compared and written in one step, of two callers at once the later one has done it.
        """

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a stream for a large file; the file gets its name when the block ends without an exception."""

    def delete(self, name: str) -> None:
        """Remove a file and the folders that it leaves empty; a missing file is not an error."""

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, kind) of the links, pipes, sockets and devices below a folder; `list` leaves them out."""

    def move(self, name: str, to: str) -> None:
        """Rename a file, link, pipe or device."""

    def prune(self, folder: str) -> None:
        """Remove the empty folders below a folder, which a crash during `delete` leaves and whose names say something.

        Best effort: a worker may be writing into one of them.
        """


class LocalStorage:
    """A dataset in a folder on a local or network file system.

    Args:
        root: The folder; the first write makes it.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    @property
    def root(self) -> str:
        """The folder."""
        return str(self._root)

    def read(self, name: str) -> bytes:
        """Return the content of a file of at most `MOST_BYTES_AT_ONCE`."""
        with (
            self._explained("read", name),
            os.fdopen(local_files.open_file(self._root, checked_name(name)), "rb") as file,
        ):
            refuse_huge(f"{self._root}/{name}", os.fstat(file.fileno()).st_size)
            return file.read(MOST_BYTES_AT_ONCE)

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        with self._explained("read", name):
            return local_files.open_for_arrow(self._root, checked_name(name))

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step; a file of this name is replaced."""
        with self.writing(name) as stream:
            stream.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""
        with self._explained("write", name):
            if local_files.is_file(self._root, checked_name(name)):
                return False
            with self._temporary(name) as temporary:
                temporary.stream.write(content)
                _flush(temporary.stream)
                if not self._name_new(name, temporary):
                    return False
                _flush_folder(temporary.folder)
                return True

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Write a file if it still holds `old`; return whether this call did. `new` is like no other content."""
        with suppress(FileNotFoundError):
            if self.read(name) == old:
                self.write(name, new)
                return self.read(name) == new
        return False

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Give a stream for a large file; the file gets its name when the block ends without an exception."""
        with self._explained("write", name), self._temporary(name) as temporary:
            yield temporary.stream
            _flush(temporary.stream)
            os.replace(temporary.name, temporary.last, src_dir_fd=temporary.folder, dst_dir_fd=temporary.folder)
            _flush_folder(temporary.folder)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, also temporary ones, in no order; nothing where there is no such folder."""
        for entries in self._walk(folder):
            for name, status in entries.files:
                yield StoredFile(name, status.st_size, status.st_mtime)

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, kind) of the links, pipes, sockets and devices below a folder; `list` leaves them out."""
        for entries in self._walk(folder):
            yield from entries.irregular

    def delete(self, name: str) -> None:
        """Remove a file and the folders that it leaves empty; a missing file is not an error."""
        with self._explained("delete", name):
            local_files.remove(self._root, checked_name(name))

    def move(self, name: str, to: str) -> None:
        """Rename a file, link, pipe or device."""
        with self._explained("rename", name):
            local_files.move(self._root, checked_name(name), checked_name(to))

    def prune(self, folder: str) -> None:
        """Remove the empty folders below a folder."""
        folders: list[str] = []
        names: list[str] = []
        for entries in self._walk(folder):
            folders += entries.folders
            names += [name for name, _ in (*entries.files, *entries.irregular)]
        occupied = {name.rpartition("/")[0] for name in (*names, *folders)}
        for name in folders:
            if name not in occupied:
                # To remove a file that is not there removes the folders that are empty.
                self.delete(f"{name}/{TEMPORARY_PREFIX}")

    def _walk(self, folder: str) -> Iterator[local_files.Entries]:
        with self._explained("list", folder), ThreadPoolExecutor(LISTING_THREADS) as pool:
            level = [folder]
            while level:
                below: list[str] = []
                size = max(1, min(_FOLDERS_PER_BLOCK, len(level) // LISTING_THREADS))
                blocks = [level[start : start + size] for start in range(0, len(level), size)]
                for found in pool.map(partial(_scan_all, self._root), blocks):
                    for entries in found:
                        below += entries.folders
                        yield entries
                level = below

    def _name_new(self, name: str, temporary: _Temporary) -> bool:
        """Give a temporary file its final name unless that is taken; return whether the file has it."""
        return local_files.name_new(self._root, name, temporary.folder, temporary.name, temporary.stream.fileno())

    @contextmanager
    def _temporary(self, name: str) -> Iterator[_Temporary]:
        """Give a temporary file in the folder of a name, and remove it afterwards unless it was renamed."""
        above, _, last = checked_name(name).rpartition("/")
        temporary = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        folder, file = local_files.open_new(self._root, above, temporary)
        try:
            with os.fdopen(file, "wb") as stream:
                yield _Temporary(temporary, last, folder, stream)
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            os.close(folder)

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if verb == "write":
                raise OutputError(
                    f"Cannot write {self._root / name}: its folder was removed during the write."
                ) from None
            raise
        except OSError as error:
            if error.errno is None:
                raise
            raise OutputError(f"Cannot {verb} {self._root / name}: {error.strerror}. {_way_out(error)}") from error


def hash_file(storage: ReadableStorage, name: str) -> tuple[int, str]:
    """Return the size of a file and its sha256 in hexadecimal digits."""
    content = hashlib.sha256()
    with storage.open(name) as stream:
        while block := stream.read(_HASHED_BYTES):
            content.update(block)
        return stream.tell(), content.hexdigest()


def checked_name(name: str) -> str:
    """Return a name; ValueError for a name outside the dataset, which is a bug."""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name!r} is not the name of a file in a dataset")
    return name


def refuse_huge(where: str, size: int) -> None:
    """Raise OutputError for a file of more than `MOST_BYTES_AT_ONCE`, named `where`."""
    if size > MOST_BYTES_AT_ONCE:
        raise OutputError(
            f"{where} has {size:,} bytes, more than any such file of a dataset ({MOST_BYTES_AT_ONCE:,}): move it away."
        )


def _scan_all(root: Path, folders: list[str]) -> list[local_files.Entries]:
    """Return the entries of each of some folders."""
    return [local_files.scan_folder(root, folder) for folder in folders]


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: int) -> None:
    """Make a rename durable where the file system can flush a folder."""
    with suppress(OSError):
        descriptor = os.open(".", os.O_RDONLY, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _way_out(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Free space or raise the quota, then start the run again: what is committed is kept."
        case errno.EROFS:
            return "The file system is mounted read-only; give another output.path or remount it."
        case errno.EACCES | errno.EPERM:
            return "Give the run's user access to it on every node, or give another output.path."
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            return "Something else has this name; give another output.path or move it away."
        case _:
            return "If the storage was unavailable for a while, start the run again: what is committed is kept."
