"""Opens the source that the settings name, or finds out what a path holds.

Called by `phoenix_ray.cluster` and the command line: `open_source(settings.source)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.containers import VIDEO_SUFFIXES, is_video_name
from phoenix_ray.sources.folders import open_folders
from phoenix_ray.sources.frame_files import FRAME_SUFFIXES, is_frame_name
from phoenix_ray.sources.phoenix import find_dataset, open_phoenix
from phoenix_ray.sources.sample import open_sample
from phoenix_ray.sources.synthetic import open_synthetic
from phoenix_ray.sources.table import TABLE_SUFFIXES, open_table
from phoenix_ray.sources.tree import walk
from phoenix_ray.sources.videos import open_videos

OPENERS: dict[str, Callable[[Path, SourceSettings], Source]] = {
    "phoenix": open_phoenix,
    "folders": open_folders,
    "videos": open_videos,
    "table": open_table,
}


def open_source(settings: SourceSettings) -> Source:
    """Return the source at `settings.path`; its `description` says what was found.

    Raises:
        ConfigError: No path is set.
        SourceError: The path does not exist, cannot be read, or holds nothing that is a source.
        MissingExtraError: The built-in sample is asked for and scikit-image is not installed.
    """
    if settings.kind == "sample":
        return open_sample(settings)
    if settings.kind == "synthetic":
        return open_synthetic(settings)
    if not settings.path:
        raise ConfigError("source.path is not set: give the dataset's folder, or source.kind=sample for the demo.")
    try:
        path = Path(os.path.normpath(Path(settings.path).expanduser().absolute()))
        if not path.exists():
            raise SourceError(_missing(path))
        return OPENERS[_look(path) if settings.kind == "auto" else settings.kind](path, settings)
    except (OSError, RuntimeError) as error:
        # RuntimeError: the home of a user who is not there, `~name`.
        raise SourceError(f"{settings.path} (source.path) cannot be read: {error}") from None


def _look(path: Path) -> str:
    """Return the kind of source that `path` holds; in a folder of videos or pictures the first file found decides."""
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return "table"
    if find_dataset(path):
        return "phoenix"
    if path.is_file() and is_video_name(path.name):
        return "videos"
    for folder in walk(path):
        if any(is_video_name(name) for name in folder.files):
            return "videos"
        if any(is_frame_name(name) for name in folder.files):
            return "folders"
    raise SourceError(
        f"{path} holds no PHOENIX-2014-T tree, no video file ({' '.join(VIDEO_SUFFIXES)}) and no frames "
        f"({' '.join(FRAME_SUFFIXES)}), and is no table ({' '.join(TABLE_SUFFIXES)})."
    )


def _missing(path: Path) -> str:
    there = next(parent for parent in path.parents if parent.exists())
    gone = path.relative_to(there).parts[0]
    try:
        hint = did_you_mean(gone, [path.name for path in there.iterdir()])
    except OSError:
        hint = ""
    return f"There is no {path} (source.path); {there} has no '{gone}'.{hint}"
