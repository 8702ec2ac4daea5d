"""An export from start to end: `phoenix-ray export` calls `export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.output import atomic_output
from phoenix_ray.exports.progress import export_progress
from phoenix_ray.exports.registry import IN_PLACE, find_writer
from phoenix_ray.exports.selection import select


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        path: Where it lies.
        videos: Number of videos.
        frames: Number of frames.
        bytes: Size of all files.
    """

    path: Path
    videos: int
    frames: int
    bytes: int


def export(
    source: str,
    output: Path,
    format_name: str,
    splits: Sequence[str] | None = None,
    videos: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write some videos of a dataset, or of anything that `open_collection` opens, in another format.

    Raises:
        ConfigError: The format, a split or a video does not exist, or the format cannot hold these landmarks.
        MissingExtraError: The format needs a package that is not installed.
        OutputError: The source cannot be read, the output exists or cannot be written.
    """
    if format_name == IN_PLACE:
        raise ConfigError(f"The format '{IN_PLACE}' has no output: it is written into the dataset.")
    writer = find_writer(format_name)
    selection = select(open_collection(source), splits, videos)
    with atomic_output(output, overwrite) as temporary, export_progress(format_name, len(selection.keys)) as progress:
        writer(replace(selection, finished=progress.advance), temporary)
    return Exported(output, len(selection.keys), progress.frames, _size(output))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
