"""Files of a source in other file systems, those that fsspec knows: `hf://`, `https://`, `sftp://`, `memory://`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.files import RemoteError
from phoenix_ray.sources.formats import is_frame_name
from phoenix_ray.sources.paths import FrameSizes, SourcePath
from phoenix_ray.sources.ranged import BLOCK_BYTES, RangedFile
from phoenix_ray.text import without_secrets

FILES_TOGETHER = 8


class FsspecPath(SourcePath):
    """A URI of a file system of fsspec.

    Raises:
        SourceError: No package that is installed knows the scheme of the URI.
    """

    read_together = FILES_TOGETHER

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._files, self._path = _resolve(location)

    def is_file(self) -> bool:
        """Return whether there is a file."""
        with self._os_errors():
            return bool(self._files.isfile(self._path))

    def is_folder(self) -> bool:
        """Return whether there is a folder."""
        with self._os_errors():
            return bool(self._files.isdir(self._path))

    def entries(self) -> dict[str, bool]:
        """Return name → whether it is a folder, without hidden names."""
        found = {name: entry["type"] == "directory" for name, entry in self._listed().items()}
        return {name: nested for name, nested in found.items() if not name.startswith(".")}

    def frames(self, *, sizes: bool) -> FrameSizes | None:
        """Return the frames that lie right in this folder; None if this is a file."""
        if self.is_file():
            return None
        return {
            name: _size(entry) if sizes else 0
            for name, entry in self._listed().items()
            if entry["type"] != "directory" and is_frame_name(name)
        }

    def open(self) -> RangedFile:
        """Open this file."""

        def read_range(start: int, end: int) -> bytes:
            with self._os_errors():
                content: bytes = self._files.cat_file(self._path, start=start, end=end)
                return content

        with self._os_errors():
            size = self._files.size(self._path)
        if size is None:
            raise OSError(errno.EINVAL, "The server does not say how long it is", self.location)
        start = read_range(0, min(size, BLOCK_BYTES)) if size else b""
        return RangedFile(self.location, size, start, read_range)

    def _listed(self) -> dict[str, dict[str, Any]]:
        with self._os_errors():
            entries = self._files.ls(self._path, detail=True)
        # Some file systems list a folder within itself.
        own = self._path.rstrip("/")
        return {
            entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in entries if entry["name"].rstrip("/") != own
        }

    @contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Turn a file system's own exceptions, which say nothing about the file, into storage errors."""
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "No such file or folder", self.location) from None
        except NotADirectoryError:
            raise
        except Exception as error:
            reason = without_secrets(" ".join(str(error).split())) or type(error).__name__
            raise RemoteError(errno.EIO, reason, self.location) from None


def _resolve(location: str) -> tuple[Any, str]:
    scheme = location.partition("://")[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SourceError(
            f"{scheme}:// is read through fsspec, which is not installed on this machine: pip install fsspec, and the "
            f"package of fsspec for {scheme}."
        ) from None
    try:
        files, path = url_to_fs(location)
    except ImportError as error:
        raise SourceError(f"{scheme}:// needs another package on this machine: {error}.") from None
    except ValueError as error:
        raise SourceError(
            f"{scheme}:// is not a file system that is known here ({error}). Buckets are s3://, gs:// and abfs://; "
            "others need their package of fsspec on every node."
        ) from None
    # File systems have exceptions of their own, about options and accounts.
    except Exception as error:
        reason = without_secrets(" ".join(str(error).split()))
        raise SourceError(f"{without_secrets(location)} cannot be opened: {reason}.") from None
    return files, str(path)


def _size(entry: dict[str, Any]) -> int:
    size = entry.get("size")
    return -1 if size is None else int(size)
