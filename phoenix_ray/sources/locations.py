"""Paths from text: what settings, tables and `Video`s call a location is a path of this machine or a URI."""

from __future__ import annotations

import os
import re
from pathlib import Path

from phoenix_ray.errors import ConfigError
from phoenix_ray.object_stores import is_object_store
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.fsspec_paths import FsspecPath
from phoenix_ray.sources.object_paths import ObjectPath
from phoenix_ray.sources.paths import SourcePath

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PASSWORD = re.compile(r"[^/@]*:[^/@]*@")


def is_uri(location: str) -> bool:
    """Return whether a location is a URI."""
    return bool(_URI.fullmatch(location))


def normalise(location: str) -> str:
    """Return a location that a user gave as an absolute path, or as a URI without a slash at the end.

    Raises:
        RuntimeError: A path begins with `~name`, and there is no such user.
    """
    uri = _URI.fullmatch(location)
    if uri and uri[1].lower() != "file":
        return f"{uri[1].lower()}://{uri[2].rstrip('/')}"
    return os.path.normpath(Path(uri[2] if uri else location).expanduser().absolute())


def source_path(location: str) -> SourcePath:
    """Return the path at a location.

    Raises:
        ConfigError: The URI holds a password, or the bucket cannot be opened.
        SourceError: No installed package opens the file system.
    """
    uri = _URI.fullmatch(location)
    if uri is None:
        return DiskPath(location)
    if is_object_store(location):
        return ObjectPath(location)
    if _PASSWORD.match(uri[2]):
        raise ConfigError(
            f"'{uri[1]}://…@…' holds a password, which `ps` and logs would show. Take it out: fsspec reads passwords "
            "from the environment or its configuration file."
        )
    return FsspecPath(location)
