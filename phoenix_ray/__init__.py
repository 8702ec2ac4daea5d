"""phoenix_ray: sign-language videos to landmarks, on a Ray cluster.

`phoenix_ray.open(path)` opens a dataset that a run has written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from pyarrow.fs import FileSystem

    from phoenix_ray.dataset.reader import Dataset

__version__ = "0.1.0"
__all__ = ["open"]


def open(path: str, filesystem: FileSystem | AbstractFileSystem | None = None) -> Dataset:  # noqa: A001
    """Open a dataset, also while a run still writes it.

    Args:
        path: Its folder, or a URI: `s3://`, `gs://`, `abfs://`, `hdfs://` through Arrow, others (`hf://`, `memory://`)
            through fsspec. User and password, and options after `?`, are used but never shown.
        filesystem: Where `path` lies, of Arrow or of fsspec; None goes by the path.

    Raises:
        phoenix_ray.errors.OutputError: There is no dataset, or this version cannot read it.
    """
    from phoenix_ray.dataset.reader import Dataset

    return Dataset.open(path, filesystem)
