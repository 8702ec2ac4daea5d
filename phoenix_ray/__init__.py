"""phoenix_ray: sign-language videos to landmarks, on a Ray cluster.

`phoenix_ray.open(path)` opens a dataset that a run has written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from fsspec import AbstractFileSystem
    from pyarrow.fs import FileSystem

    from phoenix_ray.dataset.reader import Dataset

__version__ = "0.1.0"
__all__ = ["open"]


def open(  # noqa: A001
    path: str | os.PathLike[str], filesystem: FileSystem | AbstractFileSystem | None = None
) -> Dataset:
    """Open a dataset, even while a run is writing it.

    Args:
        path: Its folder, which may begin with `~`, or its URI. Arrow opens `s3://`, `gs://`, `abfs://` and `hdfs://`;
            fsspec opens others (`hf://`, `memory://`). User, password, and options after `?` are used but never shown.
        filesystem: The file system of Arrow or fsspec in which `path` lies; None chooses it by the path.

    Raises:
        phoenix_ray.errors.OutputError: There is no dataset, or this version cannot read it.
    """
    from phoenix_ray.dataset.reader import Dataset

    return Dataset.open(path, filesystem)
