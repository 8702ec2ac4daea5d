"""All sources by kind: opens the source that the settings name, or finds out what a path holds.

A run and every command that reads a source call `open_source(settings.source)`.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.object_stores import check_uri, is_object_store
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.folders import is_dataset, walk
from phoenix_ray.sources.formats import is_frame_name, is_video_name
from phoenix_ray.sources.listing import LeftOutFiles
from phoenix_ray.sources.locations import normalise, source_path
from phoenix_ray.sources.media_tree import (
    NEITHER,
    MediaTree,
    describe_content,
    open_folders,
    open_media_tree,
    open_videos,
)
from phoenix_ray.sources.paths import SourcePath
from phoenix_ray.sources.phoenix import PhoenixSource, find_dataset, open_phoenix
from phoenix_ray.sources.sample import open_sample
from phoenix_ray.sources.synthetic import SyntheticSource, open_synthetic
from phoenix_ray.sources.table import TABLE_SUFFIXES, TableSource, open_table

Opener = Callable[[SourcePath, SourceSettings], Source]

OPENERS: dict[str, Opener] = {
    "phoenix": open_phoenix,
    "folders": open_folders,
    "videos": open_videos,
    "table": open_table,
}


def open_source(settings: SourceSettings) -> Source:
    """Return the source at `settings.path`. Its `description` says what was found.

    Raises:
        ConfigError: No path is set, or a URI holds credentials or options, or names no bucket.
        SourceError: The path does not exist, cannot be read, or holds no videos.
    """
    if settings.kind == "sample":
        return open_sample(settings)
    if settings.kind == "synthetic":
        return open_synthetic(settings)
    if not settings.path:
        raise ConfigError("source.path is not set: give the dataset's folder, or source.kind=sample for the demo.")
    try:
        location = normalise(settings.path)
        if is_object_store(location):
            check_uri(location)
        path = source_path(location)
        if not (path.is_folder() or path.is_file()):
            raise SourceError(_missing(path))
        opener = _detect(path) if settings.kind == "auto" else OPENERS[settings.kind]
        return opener(path, settings)
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: `~name`, where there is no such user. ValueError: it holds what no path and no key may hold.
        raise SourceError(f"{settings.path} (source.path) cannot be read: {error}.") from None


def describe_kind(settings: SourceSettings, source: Source) -> str:
    """Return what a source holds in a few words, without its place: they go into what is published."""
    if settings.kind == "sample":
        return "the rendered videos of the built-in sample"
    kinds: dict[type, str] = {
        PhoenixSource: "PHOENIX-2014-T",
        MediaTree: "video files and frame folders",
        TableSource: "videos that a table lists",
        SyntheticSource: "synthetic videos of noise",
    }
    return kinds.get(type(source), "videos")


def _detect(path: SourcePath) -> Opener:
    """Return the function that opens what `path` holds; `source.kind` is 'auto'."""
    if path.suffix in TABLE_SUFFIXES and path.is_file():
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
        raise SourceError(f"{path} is a dataset of phoenix_ray: it holds landmarks, not videos.")
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


def _missing(path: SourcePath) -> str:
    gone = path
    for around in path.parents:
        if around.is_folder():
            break
        gone = around
    else:
        return f"There is no {path} (source.path), and nothing around it."
    try:
        hint = did_you_mean(gone.name, around.entries())
    except OSError:
        hint = ""
    return f"There is no {path} (source.path); {around} has no '{gone.name}'.{hint}"
