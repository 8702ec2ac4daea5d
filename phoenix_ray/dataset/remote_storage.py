"""A dataset that lies in a bucket or behind any other file system of Arrow or fsspec, for reading.

`phoenix_ray.open` comes here. A run writes to folders only (`storage.LocalStorage`); what it wrote may be copied to a
bucket as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from phoenix_ray.dataset.storage import ReadableStorage, StoredFile, open_storage
from phoenix_ray.errors import OutputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# File systems that Arrow brings along; all others are fsspec's.
_ARROW_SCHEMES = {"s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"}
_HIDDEN = "***"


class RemoteStorage:
    """A folder of an Arrow file system.

    It can be pickled. Clients of object stores run threads of their own, so it is no good in a forked process: let
    workers be spawned.

    Args:
        filesystem: The file system.
        folder: The dataset's folder in it.
        root: The folder as it is called in messages: without secrets.
        secrets: Texts that must not show in messages of the file system.
    """

    def __init__(self, filesystem: fs.FileSystem, folder: str, root: str, secrets: tuple[str, ...] = ()) -> None:
        self._files = fs.SubTreeFileSystem(folder, filesystem)
        self._root = root.rstrip("/")
        self._secrets = secrets

    @property
    def root(self) -> str:
        """The folder as it is called in messages."""
        return self._root

    def read(self, name: str) -> bytes:
        """Return a small file's content."""
        with self._explained("read", name), self._files.open_input_file(name) as file:
            content: bytes = file.read()
            return content

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        with self._explained("read", name):
            return self._files.open_input_file(name)

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, temporary ones too, in no order; nothing when there is no such folder."""
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
        # Clients behind fsspec raise types of their own.
        except Exception as error:
            reason = _hide(str(error), self._secrets)
            raise OutputError(f"Cannot {verb} {self._root}/{name}: {reason}. Try again when it can be read.") from None


def open_for_reading(path: str, filesystem: fs.FileSystem | AbstractFileSystem | None = None) -> ReadableStorage:
    """Return the storage of a dataset that is to be read.

    Args:
        path: A folder, or a URI: `s3://`, `gs://`, `abfs://`, `hdfs://` through Arrow, others (`hf://`, `memory://`)
            through fsspec. User and password, and options after `?`, are used but never shown.
        filesystem: Where `path` lies, of Arrow or of fsspec; None goes by the path.

    Raises:
        OutputError: There is no such file system, or its package is not installed.
    """
    if filesystem is not None:
        return RemoteStorage(_of_arrow(filesystem), path, without_credentials(path))
    scheme, separator, _ = path.partition("://")
    if not separator or scheme == "file":
        return open_storage(path)
    root, secrets = without_credentials(path), _find_secrets(path)
    try:
        found, folder = _resolve(scheme, path)
    # Each file system has errors of its own, about packages, options, accounts.
    except Exception as error:
        raise OutputError(f"Cannot open {root}: {_hide(str(error), secrets)}.") from None
    return RemoteStorage(found, folder, root, secrets)


def without_credentials(uri: str) -> str:
    """Return a URI without user, password and options.

    A secret key that was pasted as it is may hold slashes, so whatever stands before an `@` and holds a colon goes.
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
