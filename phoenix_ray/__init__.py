"""phoenix_ray: sign-language videos to landmarks, on a Ray cluster.

`phoenix_ray.open(path)` opens a dataset that a run has written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phoenix_ray.dataset.reader import Dataset

__version__ = "0.1.0"
__all__ = ["open"]


def open(path: str) -> Dataset:  # noqa: A001
    """Open the dataset in a folder, also while a run still writes it.

    Raises:
        phoenix_ray.errors.OutputError: There is no dataset, or this version cannot read it.
    """
    from phoenix_ray.dataset.reader import Dataset

    return Dataset.open(path)
