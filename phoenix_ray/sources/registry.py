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
from phoenix_ray.sources.folders import is_dataset, is_frame_name, walk
from phoenix_ray.sources.listing import LeftOutFiles
from phoenix_ray.sources.media_tree import NEITHER, describe_content, open_folders, open_media_tree, open_videos
from phoenix_ray.sources.phoenix import find_dataset, open_phoenix
from phoenix_ray.sources.sample import open_sample
from phoenix_ray.sources.streams import is_video_name
from phoenix_ray.sources.synthetic import open_synthetic
from phoenix_ray.sources.table import TABLE_SUFFIXES, open_table

Opener = Callable[[Path, SourceSettings], Source]

OPENERS: dict[str, Opener] = {
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
        opener = _look(path) if settings.kind == "auto" else OPENERS[settings.kind]
        return opener(path, settings)
    except (OSError, RuntimeError) as error:
        # RuntimeError: the home of a user who is not there, `~name`.
        raise SourceError(f"{settings.path} (source.path) cannot be read: {error}") from None


def _look(path: Path) -> Opener:
    """Return what opens the source that `path` holds."""
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return open_table
    if find_dataset(path):
        return open_phoenix
    if path.is_file():
        if is_video_name(path.name):
            return open_videos
        raise SourceError(
            f"{path} is neither a video file of a format that is read (docs/sources.md) nor a table "
            f"({' '.join(TABLE_SUFFIXES)}). If it is a video under another name, give it the ending of its format."
        )
    if is_dataset(path):
        raise SourceError(f"{path} is a dataset of phoenix_ray: it holds landmarks, and no videos to find them in.")
    others = LeftOutFiles()
    for folder in walk(path):
        for name in folder.files:
            if is_video_name(name) or is_frame_name(name):
                return open_media_tree
            others.add(NEITHER, folder.relative / name)
    tables = [name for group in others.groups() if group.ending in TABLE_SUFFIXES for name in group.names]
    hint = f" To read a table of videos, give the file: source.path={path / tables[0]}." if tables else ""
    raise SourceError(
        f"{path} holds no PHOENIX-2014-T tree, no video file and no frames. {describe_content(others)}{hint}"
    )


def _missing(path: Path) -> str:
    there = next(parent for parent in path.parents if parent.exists())
    gone = path.relative_to(there).parts[0]
    try:
        hint = did_you_mean(gone, [path.name for path in there.iterdir()])
    except OSError:
        hint = ""
    return f"There is no {path} (source.path); {there} has no '{gone}'.{hint}"
