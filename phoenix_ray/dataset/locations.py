"""Opens the storage of a dataset by its path or URI: a folder, an object store, or another remote file system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.remote_storage import open_remote, without_credentials
from phoenix_ray.dataset.storage import LocalStorage, ReadableStorage, Storage
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.object_stores import SCHEMES, is_object_store, open_bucket

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from pyarrow import fs

# What would be a folder of this machine, and is meant to be a bucket.
_ALMOST_URI = re.compile(rf"({'|'.join(SCHEMES)}):/?(?!/)", re.IGNORECASE)


def open_storage(path: str) -> Storage:
    """Return the storage of a dataset that is to be written.

    Args:
        path: A folder, or a URI of an object store (`object_stores.SCHEMES`).

    Raises:
        ConfigError: The URI names no bucket, holds credentials, or lacks slashes after its scheme.
        OutputError: The path is empty, or a URI that is not supported.
    """
    if not path:
        raise OutputError("No output folder is set: give output.path=FOLDER.")
    if is_object_store(path):
        return ObjectStorage(open_bucket(path))
    if match := _ALMOST_URI.match(path):
        raise ConfigError(
            f"'{path}' is not a URI: two slashes follow the scheme, {match[1]}://BUCKET/FOLDER, in a string, as "
            f"pathlib.Path drops one. A folder of this name is './{path}'."
        )
    scheme, separator, _ = path.partition("://")
    if separator and scheme != "file":
        raise OutputError(
            f"'{scheme}://' is not supported as an output: give a folder that every node sees under the same path, or "
            f"a bucket ({', '.join(f'{known}://' for known in SCHEMES)})."
        )
    try:
        return LocalStorage(str(Path(path.removeprefix("file://")).expanduser().absolute()))
    except RuntimeError:
        raise OutputError(
            f"'{path}' begins with a user who does not exist. A folder of this name is './{path}'."
        ) from None


def open_for_reading(path: str, filesystem: fs.FileSystem | AbstractFileSystem | None = None) -> ReadableStorage:
    """Return the storage of a dataset that is to be read.

    Args:
        path: A folder, a URI of an object store, or another URI that Arrow or fsspec opens (`hdfs://`, `hf://`). A URI
            with a user, a password, or options after `?` goes to Arrow, which understands them.
        filesystem: The file system of Arrow or fsspec that holds `path`; None derives it from the path.

    Raises:
        ConfigError: The URI names no bucket.
        OutputError: There is no such file system, or its package is not installed.
    """
    scheme, separator, _ = path.partition("://")
    if filesystem is None and (not separator or scheme == "file"):
        return open_storage(path)
    bare = without_credentials(path) == path or scheme.startswith("abfs")
    if filesystem is None and is_object_store(path) and bare:
        return ObjectStorage(open_bucket(path))
    return open_remote(path, filesystem)
