"""Walks a folder tree of videos, and reads split and video ID from where a video lies in it.

Called by the sources `folders` and `videos`, and by `catalog` to see what a path holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.regular_files import open_regular_file

SPLIT_NAMES = frozenset({"train", "dev", "test", "val", "validation"})
DEFAULT_SPLIT = "all"
# Files that a dataset of ours begins with, and keys of them; others may have files of these names.
_DATASET_MARKS = {"dataset.json": (b'"fingerprint"', b'"layout"'), "lease.json": (b'"run_id"',)}
_MARK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the tree.

    Attributes:
        path: Its path.
        relative: The same, relative to the root of the tree.
        files: Names of its files, sorted; hidden files and folders are left out of the tree.
        listed: Whether it could be listed; a folder below the root that could not has no `files`.
        is_dataset: Whether a dataset of ours lies there, which is not walked: it has no `files`.
    """

    path: Path
    relative: PurePath
    files: tuple[str, ...]
    listed: bool = True
    is_dataset: bool = False


def walk(root: Path) -> Iterator[Folder]:
    """Yield the folders of a tree in sorted order, `root` first. Links are followed, but never into a loop.

    Raises:
        SourceError: The root cannot be listed.
    """
    try:
        yield from _walk(root, PurePath(), above=frozenset())
    except OSError as error:
        raise SourceError(f"{root} cannot be listed: {error}") from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; what cannot be told, as of a link to itself, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_dataset(folder: Path) -> bool:
    """Return whether a folder holds a dataset, finished or just begun; one that cannot be read does not."""
    for name, mark in _DATASET_MARKS.items():
        try:
            with open_regular_file(folder / name) as file:
                content = file.read(_MARK_BYTES)
        except OSError:
            continue
        if all(key in content for key in mark):
            return True
    return False


def _walk(path: Path, relative: PurePath, above: frozenset[tuple[int, int]]) -> Iterator[Folder]:
    try:
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        with os.scandir(path) as entries:
            shown = sorted((entry.name, is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    except OSError:
        if not above:
            raise
        yield Folder(path, relative, files=(), listed=False)
        return
    files = tuple(name for name, nested in shown if not nested)
    if above and not _DATASET_MARKS.keys().isdisjoint(files) and is_dataset(path):
        yield Folder(path, relative, files=(), is_dataset=True)
        return
    yield Folder(path, relative, files)
    for name, nested in shown:
        if nested:
            yield from _walk(path / name, relative / name, above | {identity})


def split_and_id(relative: PurePath) -> tuple[str, str]:
    """Return the split and the ID of the video at a path relative to the root.

    A first folder named as a split is the split; the rest is the ID, with `/` between nested folders.
    """
    first, *rest = relative.parts
    if rest and first.lower() in SPLIT_NAMES:
        return first, "/".join(rest)
    return DEFAULT_SPLIT, "/".join(relative.parts)
