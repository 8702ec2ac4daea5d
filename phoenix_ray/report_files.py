"""Files that commands write for the user beside what they print: reports, pictures, plots, training inputs."""

from __future__ import annotations

from pathlib import Path

from phoenix_ray.errors import OutputError


def check_report_path(path: Path) -> None:
    """Refuse to write a file or folder inside a dataset, where it could replace a file of the dataset.

    Raises:
        OutputError: The path is a dataset, or lies in one.
    """
    from phoenix_ray.dataset.paths import enclosing_dataset

    if dataset := enclosing_dataset(path):
        raise OutputError(f"{path} lies in the dataset {dataset}: give a name outside of it.")


def write_report(file: Path, text: str) -> None:
    """Write a report as UTF-8, with the folders that it needs.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error}") from None
