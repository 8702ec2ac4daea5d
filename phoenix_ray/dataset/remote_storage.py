"""Reads a dataset in any file system of Arrow or fsspec; `phoenix_ray.open` uses it.

Runs write to folders (`storage.LocalStorage`) and to object stores (`object_storage.ObjectStorage`) only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from phoenix_ray.dataset.storage import StoredFile
from phoenix_ray.errors import OutputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# File systems that are part of Arrow; fsspec opens all others.
_ARROW_SCHEMES = {"s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"}
_HIDDEN = "***"


class RemoteStorage:
    """A folder of an Arrow file system.

    It can be pickled. It does not work in a forked process, since clients of object stores run threads: spawn workers.

    Args:
        filesystem: The file system.
        folder: The dataset's folder in it.
        root: The folder's name in messages, without secrets.
        secrets: Texts to hide in the file system's own messages.
    """

    def __init__(self, filesystem: fs.FileSystem, folder: str, root: str, secrets: tuple[str, ...] = ()) -> None:
        self._files = fs.SubTreeFileSystem(folder, filesystem)
        self._root = root.rstrip("/")
        self._secrets = secrets

    @property
    def root(self) -> str:
        """The folder's name in messages."""
        return self._root

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self._explained("read", name), self._files.open_input_file(name) as file:
            content: bytes = file.read()
            return content

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        with self._explained("read", name):
            return self._files.open_input_file(name)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, also temporary ones, in no order; nothing where there is no such folder."""
        with self._explained("list", folder):
            selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
            found = [info for info in self._files.get_file_info(selector) if info.type == fs.FileType.File]
        for info in found:
            yield StoredFile(info.path, info.size, (info.mtime_ns or 0) / 1e9)

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        # Clients behind fsspec have exceptions of their own.
        except Exception as error:
            reason = _hide(str(error), self._secrets)
            raise OutputError(f"Cannot {verb} {self._root}/{name}: {reason}. Try again when it can be read.") from None


def open_remote(path: str, filesystem: fs.FileSystem | AbstractFileSystem | None = None) -> RemoteStorage:
    """Return the storage at a URI: `s3://`, `gs://`, `abfs://`, `hdfs://` through Arrow, others through fsspec.

    User, password and the options after `?` are used but never shown.

    Args:
        path: The URI, or a folder of `filesystem`.
        filesystem: A file system of Arrow or fsspec; None derives it from the path.

    Raises:
        OutputError: There is no such file system, or its package is not installed.
    """
    if filesystem is not None:
        return RemoteStorage(_of_arrow(filesystem), path, without_credentials(path))
    root, secrets = without_credentials(path), _find_secrets(path)
    try:
        found, folder = _resolve(path.partition("://")[0], path)
    # File systems have exceptions of their own, about packages, options and accounts.
    except Exception as error:
        raise OutputError(f"Cannot open {root}: {_hide(str(error), secrets)}.") from None
    return RemoteStorage(found, folder, root, secrets)


def without_credentials(uri: str) -> str:
    """Return a URI without user, password and options.

    A secret key may hold slashes, so everything before an `@` is removed where it holds a colon.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    rest = rest.partition("?")[0].partition("#")[0]
    before, at, place = rest.rpartition("@")
    if at and (":" in before or "/" not in before):
        rest = f"{_HIDDEN}@{place}"
    return f"{scheme}://{rest}"


def _find_secrets(uri: str) -> tuple[str, ...]:
    address, _, options = uri.partition("?")
    credentials = address.partition("://")[2].rpartition("@")[0]
    values = (option.partition("=")[2] for option in options.split("&"))
    found = {uri, options, credentials, *credentials.split(":"), *values}
    found |= {unquote(text) for text in found}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _hide(message: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        message = message.replace(secret, _HIDDEN)
    return message.rstrip(".")


def _resolve(scheme: str, uri: str) -> tuple[fs.FileSystem, str]:
    if scheme in _ARROW_SCHEMES:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(uri)
        return found
    from fsspec.core import url_to_fs

    filesystem, folder = url_to_fs(uri)
    return _of_arrow(filesystem), folder


def _of_arrow(filesystem: fs.FileSystem | AbstractFileSystem) -> fs.FileSystem:
    if isinstance(filesystem, fs.FileSystem):
        return filesystem
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem))
