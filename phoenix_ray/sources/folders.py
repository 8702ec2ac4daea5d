"""Folders of a source: walking a tree, and which files of a folder are frames, in which order.

The source `media_tree` walks trees. The driver counts and signs a frame folder with `sign_frames`; a worker lists the
same folder again with `frame_names`, so a `Video` need not carry names across the cluster.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from natsort import natsorted

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import DEFAULT_SPLIT
from phoenix_ray.sources.paths import FrameSizes, SourcePath

SPLIT_NAMES = frozenset({"train", "dev", "test", "val", "validation"})
# The files that our datasets begin with. Other files may have these names, so the keys inside are looked for as well.
_DATASET_MARKS = {"dataset.json": (b'"fingerprint"', b'"layout"'), "lease.json": (b'"run_id"',)}
_MARK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a tree.

    Attributes:
        path: Its path.
        relative: Its path relative to the root of the tree.
        files: Sorted names of its files, without hidden ones.
        listed: Whether it could be listed. A folder below the root that could not be listed has no `files`.
        is_dataset: Whether it is a dataset of phoenix_ray. Such a folder is not entered and has no `files`.
    """

    path: SourcePath
    relative: PurePath
    files: tuple[str, ...]
    listed: bool = True
    is_dataset: bool = False


def walk(root: SourcePath) -> Iterator[Folder]:
    """Yield the folders of a tree in sorted order, `root` first. Links are followed, but never in a circle.

    Hidden folders are not entered.

    Raises:
        SourceError: The root cannot be listed.
    """
    try:
        yield from _walk(root, root, PurePath(), above=())
    except OSError as error:
        raise SourceError(f"{root} cannot be listed: {error}") from None


def is_dataset(folder: SourcePath) -> bool:
    """Return whether a folder holds a dataset of phoenix_ray, even if it has just been begun; False if unreadable."""
    for name, mark in _DATASET_MARKS.items():
        try:
            with (folder / name).open() as file:
                content = file.read_at(0, _MARK_BYTES)
        except OSError:
            continue
        if all(key in content for key in mark):
            return True
    return False


def split_and_id(relative: PurePath) -> tuple[str, str]:
    """Return the split and the ID of the video at a path relative to the root.

    If the first folder is named like a split, it is the split. The rest is the ID, with `/` between nested folders.
    """
    first, *rest = relative.parts
    if rest and first.lower() in SPLIT_NAMES:
        return first, "/".join(rest)
    return DEFAULT_SPLIT, "/".join(relative.parts)


@dataclass(frozen=True, slots=True)
class FrameFolder:
    """A folder's number of frames, and the signature of their names and, if asked for, of their sizes."""

    frame_count: int
    signature: str


def sign_frames(
    frames: FrameSizes, signature: Literal["sizes", "names"], limit_frames: int | None = None
) -> FrameFolder:
    """Count and sign the first `limit_frames` frames of a folder (None: all), listed with sizes or without."""
    # Natural order matters only where a limit cuts it; plain order signs 950,000 names several times faster.
    names = _in_natural_order(frames)[:limit_frames] if limit_frames is not None else sorted(frames)
    lines = "".join(f"{name}\0{frames[name]}\n" for name in names)
    digest = hashlib.blake2b(lines.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return FrameFolder(frame_count=len(names), signature=f"{signature}:{digest}")


def frame_names(folder: SourcePath) -> list[str]:
    """Return the names of a folder's frame files in natural order: `image2.png` before `image10.png`.

    Raises:
        OSError: The folder cannot be listed.
    """
    frames = folder.frames(sizes=False)
    if frames is None:
        raise NotADirectoryError(errno.ENOTDIR, "It is not a folder", str(folder))
    return _in_natural_order(frames)


def _walk(root: SourcePath, path: SourcePath, relative: PurePath, above: tuple[Hashable, ...]) -> Iterator[Folder]:
    """Yield a folder and those in it; `above` identifies those around it."""
    place = root / relative if above else root
    try:
        identity = path.identity()
        if identity is not None and identity in above:
            return
        entries = path.entries()
    except OSError:
        if not above:
            raise
        yield Folder(place, relative, files=(), listed=False)
        return
    files = tuple(sorted(name for name, nested in entries.items() if not nested))
    if above and not _DATASET_MARKS.keys().isdisjoint(files) and is_dataset(place):
        yield Folder(place, relative, files=(), is_dataset=True)
        return
    yield Folder(place, relative, files)
    folders = sorted(name for name, nested in entries.items() if nested)
    for name, folder in zip(folders, path.listed_ahead(folders), strict=True):
        yield from _walk(root, folder, relative / name, (*above, identity))


def _in_natural_order(names: Iterable[str]) -> list[str]:
    # natsort takes `1.png` and `01.png` for equal; sorting first makes their order independent of the file system.
    return natsorted(sorted(names))
