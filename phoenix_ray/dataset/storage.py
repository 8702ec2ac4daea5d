"""Where a dataset lies: the one module that touches the output's file system.

Everything else in `dataset` speaks of *names*: relative paths with forward slashes below the dataset's root. Workers
write partitions through it, the driver lists, compacts and sweeps. Another kind of storage (an object store) is one
more class with these verbs.

The guarantee that all others stand on: **a file under its final name is whole.** Bytes go to a temporary name in the
same folder, are flushed to the device, and only then renamed; a crash leaves a temporary file, never half a file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from phoenix_ray.errors import OutputError

TEMPORARY_PREFIX = ".tmp-"
# Folders listed at once: hides the latency of a network file system, harmless on a local disk.
LISTING_THREADS = 8
# Folders a thread takes at once, where there are many: to hand over each by itself takes as long as to list it.
_FOLDERS_PER_BLOCK = 32
# What `os.link` answers on file systems without hard links (FAT, some FUSE and SMB mounts).
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# Of `renameat2(2)`: relative to the working directory, and its flag; what it answers where the file system lacks it.
_HERE, _RENAME_NOREPLACE = -100, 1
_NO_SUCH_RENAME = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


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


class ReadableStorage(Protocol):
    """The verbs that reading needs. A name that does not exist raises FileNotFoundError, other trouble OutputError."""

    @property
    def root(self) -> str:
        """Where the dataset lies, as the user wrote it; for messages."""
        ...

    def read(self, name: str) -> bytes:
        """Return a small file's content."""
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
        """Remove a file, and the folders that it leaves empty; a name that is already gone is no error."""
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
        with self._explained("read", name):
            return self._locate(name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        with self._explained("read", name):
            return pa.OSFile(str(self._locate(name)))

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step, replacing what was there."""
        with self.writing(name) as stream:
            stream.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""
        with self._explained("write", name):
            final = self._locate(name)
            if final.exists():
                return False
            with self._temporary(final) as (temporary, stream):
                stream.write(content)
                _flush(stream)
                if not self._claim(temporary, final):
                    return False
            _flush_folder(final.parent)
            return True

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Give a stream for a large file, which appears under its name when the block ends without an exception."""
        with self._explained("write", name):
            final = self._locate(name)
            with self._temporary(final) as (temporary, stream):
                yield stream
                _flush(stream)
                temporary.replace(final)
            _flush_folder(final.parent)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, temporary ones too, in no order; nothing when there is no such folder."""
        with self._explained("list", folder), ThreadPoolExecutor(LISTING_THREADS) as pool:
            level = [folder]
            while level:
                below: list[str] = []
                size = max(1, min(_FOLDERS_PER_BLOCK, len(level) // LISTING_THREADS))
                blocks = [level[start : start + size] for start in range(0, len(level), size)]
                for folders, files in pool.map(partial(_scan_all, self._root), blocks):
                    below += folders
                    yield from files
                level = below

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty; a name that is already gone is no error."""
        with self._explained("delete", name):
            file = self._locate(name)
            file.unlink(missing_ok=True)
            # Best effort, the rest is only tidiness: a folder may be refilled by a worker at this very moment.
            with suppress(OSError):
                for folder in file.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()

    def _claim(self, temporary: Path, final: Path) -> bool:
        """Give a temporary file its final name unless that is taken; return whether it has it."""
        try:
            os.link(temporary, final)
        except FileExistsError:
            # NFS repeats a request whose answer was lost, and then finds what the first one made.
            return temporary.samefile(final)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _rename_new(temporary, final)
        return True

    def _locate(self, name: str) -> Path:
        """Return the path of a name; a name that would leave the dataset is a mistake of ours and stops the run."""
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is no name of a file in a dataset")
        return self._root / name

    @contextmanager
    def _temporary(self, final: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """Give a stream to a temporary file beside `final`, and see to it that nothing is left of it afterwards."""
        temporary = final.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            with _open_new(temporary) as stream:
                yield temporary, stream
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

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


def _scan_all(root: Path, folders: list[str]) -> tuple[list[str], list[StoredFile]]:
    """Return the folders and the files right below some folders."""
    below: list[str] = []
    files: list[StoredFile] = []
    for folder in folders:
        _scan(root, folder, below, files)
    return below, files


def _scan(root: Path, folder: str, folders: list[str], files: list[StoredFile]) -> None:
    """Add the folders and the files right below a folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root / folder) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            # A file may vanish between listing and asking: another process finished or swept it.
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode):
                    files.append(StoredFile(name, status.st_size, status.st_mtime))


def _open_new(path: Path) -> BinaryIO:
    """Open a new file, making its folder; tries again when a sweep removes the empty folder in between."""
    for _ in range(3):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("xb")
        time.sleep(0.01)
    return path.open("xb")


def _rename_new(temporary: Path, final: Path) -> bool:
    """Rename a file unless the name is taken; return whether it was renamed. For file systems without hard links."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(final), _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            return False
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number))
    # Neither links nor such a rename: a name that another driver takes in this very instant is replaced.
    if final.exists():
        return False
    temporary.replace(final)
    return True


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename durable, where the file system lets a folder be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
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
