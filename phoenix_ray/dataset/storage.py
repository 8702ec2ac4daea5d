"""Where a dataset lies: the one module that touches the output's file system.

Everything else in `dataset` speaks of *names*: relative paths with forward slashes below the dataset's root. Workers
write partitions through it, the driver lists, compacts and sweeps. Another kind of storage (an object store) is one
more class with these verbs.

The guarantee that all others stand on: **a file under its final name is whole.** Bytes go to a temporary name in the
same folder, are flushed to the device, and only then renamed; a crash leaves a temporary file, never half a file.
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
# Folders listed at once: hides the latency of a network file system, harmless on a local disk.
LISTING_THREADS = 8
# Folders a thread takes at once, where there are many: to hand over each by itself takes as long as to list it.
_FOLDERS_PER_BLOCK = 32
_HASHED_BYTES = 1 << 20
# What is read whole is JSON, a partition or `videos.parquet`, which has 100 MB in a dataset of a million videos.
MOST_BYTES_AT_ONCE = 256 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a listing shows it.

    Attributes:
        name: Relative to the dataset's root, with forward slashes.
        bytes: Its size.
        modified: Seconds since the epoch, by the clock of the storage.
    """

    name: str
    bytes: int
    modified: float

    @property
    def temporary(self) -> bool:
        """Whether it is an unfinished write: of somebody at work, or of a process that died."""
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
    """The verbs that reading needs. A name that does not exist raises FileNotFoundError, other trouble OutputError."""

    @property
    def root(self) -> str:
        """Where the dataset lies, as the user wrote it; for messages."""
        ...

    def read(self, name: str) -> bytes:
        """Return a small file's content; OutputError for one of more than `MOST_BYTES_AT_ONCE`."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        ...

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, temporary ones too, in no order; nothing when there is no such folder.

        The empty name is the whole dataset.
        """
        ...


class Storage(ReadableStorage, Protocol):
    """The verbs that a run needs beside reading."""

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step, replacing what was there."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""
        ...

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a stream for a large file, which appears under its name when the block ends without an exception."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty; a name that is already gone is not an error."""
        ...

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, what it is) of links, pipes, sockets and devices below a folder: no listing shows them."""
        ...

    def move(self, name: str, to: str) -> None:
        """Rename whatever has a name: a file, a link, a pipe, a device."""
        ...


class LocalStorage:
    """A folder on a local or network file system.

    Args:
        root: The dataset's folder; made on the first write.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    @property
    def root(self) -> str:
        """The folder."""
        return str(self._root)

    def read(self, name: str) -> bytes:
        """Return a small file's content."""
        with self._explained("read", name), os.fdopen(local_files.open_file(self._root, _checked(name)), "rb") as file:
            _refuse_huge(f"{self._root}/{name}", os.fstat(file.fileno()).st_size)
            return file.read(MOST_BYTES_AT_ONCE)

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        with self._explained("read", name):
            return local_files.open_for_arrow(self._root, _checked(name))

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step, replacing what was there."""
        with self.writing(name) as stream:
            stream.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""
        with self._explained("write", name):
            if local_files.is_file(self._root, _checked(name)):
                return False
            with self._temporary(name) as temporary:
                temporary.stream.write(content)
                _flush(temporary.stream)
                if not local_files.name_new(
                    self._root, name, temporary.folder, temporary.name, temporary.stream.fileno()
                ):
                    return False
                _flush_folder(temporary.folder)
                return True

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Give a stream for a large file, which appears under its name when the block ends without an exception."""
        with self._explained("write", name), self._temporary(name) as temporary:
            yield temporary.stream
            _flush(temporary.stream)
            os.replace(temporary.name, temporary.last, src_dir_fd=temporary.folder, dst_dir_fd=temporary.folder)
            _flush_folder(temporary.folder)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, temporary ones too, in no order; nothing when there is no such folder."""
        for entries in self._walk(folder):
            for name, status in entries.files:
                yield StoredFile(name, status.st_size, status.st_mtime)

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (name, what it is) of links, pipes, sockets and devices below a folder: no listing shows them."""
        for entries in self._walk(folder):
            yield from entries.irregular

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty; a name that is already gone is not an error."""
        with self._explained("delete", name):
            local_files.remove(self._root, _checked(name))

    def move(self, name: str, to: str) -> None:
        """Rename whatever has a name: a file, a link, a pipe, a device."""
        with self._explained("rename", name):
            local_files.move(self._root, _checked(name), _checked(to))

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

    @contextmanager
    def _temporary(self, name: str) -> Iterator[_Temporary]:
        """Give a temporary file in the folder of a name, and see to it that nothing is left of it afterwards."""
        above, _, last = _checked(name).rpartition("/")
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
                    f"Cannot write {self._root / name}: its folder was removed while it was written."
                ) from None
            raise
        except OSError as error:
            if error.errno is None:
                raise
            raise OutputError(f"Cannot {verb} {self._root / name}: {error.strerror}. {_way_out(error)}") from error


def open_storage(path: str) -> Storage:
    """Return the storage of a dataset's path.

    Raises:
        OutputError: The path is empty, or a URI of a kind that is not supported.
    """
    if not path:
        raise OutputError("No output folder is set: give output.path=FOLDER.")
    scheme, separator, _ = path.partition("://")
    if separator and scheme != "file":
        raise OutputError(f"'{scheme}://' is no supported output: give a folder that every node sees under one path.")
    return LocalStorage(str(Path(path.removeprefix("file://")).expanduser().absolute()))


def hash_file(storage: ReadableStorage, name: str) -> tuple[int, str]:
    """Return the size of a file and its sha256 in hexadecimal digits."""
    content = hashlib.sha256()
    with storage.open(name) as stream:
        while block := stream.read(_HASHED_BYTES):
            content.update(block)
        return stream.tell(), content.hexdigest()


def _checked(name: str) -> str:
    """Return a name; one that would leave the dataset is a mistake of ours and stops the run."""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name!r} is not the name of a file in a dataset")
    return name


def _refuse_huge(where: str, size: int) -> None:
    if size > MOST_BYTES_AT_ONCE:
        raise OutputError(
            f"{where} has {size:,} bytes, and no such file has more than {MOST_BYTES_AT_ONCE:,}: move it away."
        )


def _scan_all(root: Path, folders: list[str]) -> list[local_files.Entries]:
    """Return what lies right in each of some folders."""
    return [local_files.scan_folder(root, folder) for folder in folders]


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: int) -> None:
    """Make a rename durable, where the file system lets a folder be flushed."""
    with suppress(OSError):
        descriptor = os.open(".", os.O_RDONLY, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _way_out(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Free space or raise the quota, then start the same command again: what is committed is kept."
        case errno.EROFS:
            return "The file system is mounted read-only; give another output.path or remount it."
        case errno.EACCES | errno.EPERM:
            return "Give the user of the run the right to it, on every node, or another output.path."
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            return "Something else has this name; give another output.path or move it away."
        case _:
            return "If the storage was only away for a while, start the same command again: what is committed is kept."
