"""Walks a folder tree of videos, and reads split and video ID from where a video lies in it.

Called by the sources `folders` and `videos`, and by `catalog` to see what a path holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from phoenix_ray.errors import SourceError

SPLIT_NAMES = frozenset({"train", "dev", "test", "val", "validation"})
DEFAULT_SPLIT = "all"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the tree.

    Attributes:
        path: Its path.
        relative: The same, relative to the root of the tree.
        files: Names of its files, sorted; hidden files and folders are left out of the tree.
    """

    path: Path
    relative: PurePath
    files: tuple[str, ...]


def walk(root: Path) -> Iterator[Folder]:
    """Yield the folders of a tree in sorted order, `root` first. Links are followed, but never into a loop.

    Raises:
        SourceError: A folder cannot be listed.
    """
    yield from _walk(root, PurePath(), above=frozenset())


def _walk(path: Path, relative: PurePath, above: frozenset[tuple[int, int]]) -> Iterator[Folder]:
    try:
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        with os.scandir(path) as entries:
            shown = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise SourceError(f"{path} cannot be listed: {error}") from None
    yield Folder(path, relative, tuple(name for name, is_folder in shown if not is_folder))
    for name, is_folder in shown:
        if is_folder:
            yield from _walk(path / name, relative / name, above | {identity})


def split_and_id(relative: PurePath) -> tuple[str, str]:
    """Return the split and the ID of the video at a path relative to the root.

    A first folder named as a split is the split; the rest is the ID, with `/` between nested folders.
    """
    first, *rest = relative.parts
    if rest and first.lower() in SPLIT_NAMES:
        return first, "/".join(rest)
    return DEFAULT_SPLIT, "/".join(relative.parts)
