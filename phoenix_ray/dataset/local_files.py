"""Opens, lists, renames and removes regular files below a folder, and follows no link.

In a dataset from elsewhere a folder may be a link, through which writes and deletions would leave the dataset, and a
file may be a pipe or a device, on which reading never ends. So each folder of a path is opened relative to its parent,
and links are refused. The folder at the top is the user's choice and may be a link.

Beside OSError, these functions raise an OutputError that names the link, pipe or device and the way out.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from phoenix_ray.errors import OutputError

# With O_PATH, opening a folder costs no request to a network file system.
_PASSAGE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe waits for a writer.
_OLD_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
# How often a folder is made again when a sweep removes it, still empty, before the file is in it.
_ATTEMPTS = 4
# What `os.link` answers on file systems without hard links (FAT, some FUSE and SMB mounts).
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# The flag of `renameat2(2)`, and what that answers where the file system lacks it.
_RENAME_NOREPLACE = 1
_NO_SUCH_RENAME = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Entries(NamedTuple):
    """The entries of a folder: names of folders, (name, status) of regular files, (name, kind) of everything else."""

    folders: list[str]
    files: list[tuple[str, os.stat_result]]
    irregular: list[tuple[str, str]]


@contextmanager
def open_folder(root: Path, folder: str, make: bool = False) -> Iterator[int]:
    """Give a descriptor of a folder below `root`, for use as `dir_fd`; `make` creates missing folders."""
    with ExitStack() as opened:
        yield _walk(root, folder, make, opened)[-1]


def open_new(root: Path, folder: str, name: str) -> tuple[int, int]:
    """Create a file and its missing folders; return the descriptors of the folder and of the file."""
    for attempt in range(1, _ATTEMPTS + 1):
        with ExitStack() as opened:
            above = _walk(root, folder, True, opened)[-1]
            try:
                file = os.open(name, _NEW_FILE, 0o666, dir_fd=above)
            except FileNotFoundError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            opened.callback(os.close, file)
            folder_again, file_again = os.dup(above), os.dup(file)
            return folder_again, file_again
    raise AssertionError


def name_new(root: Path, name: str, folder: int, temporary: str, file: int) -> bool:
    """Give a temporary file its final name unless that is taken; return whether the file has it.

    Args:
        root: The folder at the top.
        name: The final name, relative to `root`.
        folder: Descriptor of the folder that holds the file.
        temporary: The file's name in that folder.
        file: Descriptor of the file.
    """
    last = name.rpartition("/")[2]
    try:
        os.link(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        # NFS repeats a request whose answer was lost, and then finds the link that the first request made.
        return os.path.samestat(os.fstat(file), os.stat(last, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _rename_new(root, name, folder, temporary)
    return True


def _rename_new(root: Path, name: str, folder: int, temporary: str) -> bool:
    """As `name_new`, for file systems without hard links."""
    last = name.rpartition("/")[2]
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(folder, os.fsencode(temporary), folder, os.fsencode(last), _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            return False
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number))
    # Without both, a file that another driver gives the name in this very instant is replaced.
    if is_file(root, name):
        return False
    os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def is_file(root: Path, name: str) -> bool:
    """Whether there is a regular file of this name; raises as `refuse_irregular` for anything else."""
    folder, _, last = name.rpartition("/")
    try:
        with open_folder(root, folder) as above:
            refuse_irregular(root, name, os.stat(last, dir_fd=above, follow_symlinks=False))
    except FileNotFoundError:
        return False
    return True


def open_file(root: Path, name: str) -> int:
    """Open a regular file for reading and return its descriptor."""
    folder, _, last = name.rpartition("/")
    with open_folder(root, folder) as above:
        refuse_irregular(root, name, os.stat(last, dir_fd=above, follow_symlinks=False))
        descriptor = os.open(last, _OLD_FILE, dir_fd=above)
        try:
            refuse_irregular(root, name, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def open_for_arrow(root: Path, name: str) -> pa.NativeFile:
    """As `open_file`, for random access by Arrow."""
    descriptor = open_file(root, name)
    same = f"/dev/fd/{descriptor}"
    if not Path(same).exists():
        return pa.PythonFile(os.fdopen(descriptor, "rb"), mode="r")
    try:
        # Arrow only opens paths, and this path leads to the file that was examined.
        return pa.OSFile(same)
    finally:
        os.close(descriptor)


def scan_folder(root: Path, folder: str) -> Entries:
    """Return the entries of a folder, none where it does not exist; the names are relative to `root`."""
    found = Entries([], [], [])
    with suppress(FileNotFoundError, NotADirectoryError), open_folder(root, folder) as passage:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=passage)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    # Another process may rename or remove the file meanwhile.
                    with suppress(FileNotFoundError):
                        _sort_in(f"{folder}/{entry.name}" if folder else entry.name, entry, found)
        finally:
            os.close(descriptor)
    return found


def remove(root: Path, name: str) -> None:
    """Remove a file and the folders that it leaves empty; a missing file is not an error."""
    *folders, last = name.split("/")
    with ExitStack() as opened, suppress(FileNotFoundError):
        way = _walk(root, "/".join(folders), False, opened)
        with suppress(FileNotFoundError):
            os.unlink(last, dir_fd=way[-1])
        # Best effort: a worker may be writing into the folder at this moment.
        with suppress(OSError):
            for folder, above in zip(reversed(folders), reversed(way[:-1]), strict=True):
                os.rmdir(folder, dir_fd=above)


def move(root: Path, name: str, to: str) -> None:
    """Rename anything without opening or following it; a file of the new name is replaced."""
    folder, _, last = name.rpartition("/")
    new_folder, _, new_last = to.rpartition("/")
    with open_folder(root, folder) as source, open_folder(root, new_folder, make=True) as target:
        os.rename(last, new_last, src_dir_fd=source, dst_dir_fd=target)


def refuse_irregular(root: Path, name: str, status: os.stat_result) -> None:
    """Raise unless the status of a name below `root` is that of a regular file.

    Raises:
        IsADirectoryError: It is a folder.
        OutputError: It is a link, a pipe, a socket or a device.
    """
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(_refusal(root, name, status))


def _walk(root: Path, folder: str, make: bool, opened: ExitStack) -> list[int]:
    """Return descriptors of `root` and of each folder down to `folder`; `opened` closes them."""
    if make:
        root.mkdir(parents=True, exist_ok=True)
    way = [os.open(root, _PASSAGE)]
    opened.callback(os.close, way[0])
    parts = folder.split("/") if folder else []
    for depth, part in enumerate(parts, start=1):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                step = os.open(part, _PASSAGE | os.O_NOFOLLOW, dir_fd=way[-1])
                break
            except FileNotFoundError:
                if not make or attempt == _ATTEMPTS:
                    raise
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=way[-1])
            except OSError as error:
                # Systems differ in the error for a link.
                if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
                    status = os.stat(part, dir_fd=way[-1], follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        raise OutputError(_refusal(root, "/".join(parts[:depth]), status)) from None
                raise
        opened.callback(os.close, step)
        way.append(step)
    return way


def _sort_in(name: str, entry: os.DirEntry[str], found: Entries) -> None:
    if entry.is_dir(follow_symlinks=False):
        found.folders.append(name)
        return
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        found.files.append((name, status))
    else:
        found.irregular.append((name, _kind(status)))


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")


def _refusal(root: Path, name: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return (
            f"{root / name} is a symbolic link, and phoenix_ray follows no link inside a dataset. Remove it; or if "
            f"you trust what it points to, use a copy with files instead of links (`cp -RL`)."
        )
    return f"{root / name} is {_kind(status)} where a file or folder belongs: remove it."
