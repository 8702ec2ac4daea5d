"""Which files of a folder are frames, in which order, and how a changed folder is noticed.

The driver counts and signs a folder with `examine`; a worker lists the same folder again with `frame_names`, so that a
`Video` need not carry names across the cluster.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from natsort import natsorted

from phoenix_ray.sources.tree import is_folder

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SUFFIXES = frozenset(FRAME_SUFFIXES)


@dataclass(frozen=True, slots=True)
class FrameFolder:
    """A folder's number of frames and the signature of their names, and of their sizes where those were asked for."""

    frame_count: int
    signature: str


def examine(folder: str, signature: Literal["sizes", "names"], limit_frames: int | None = None) -> FrameFolder:
    """Count and sign the first `limit_frames` frames of a folder (None: all).

    Raises:
        OSError: The folder cannot be listed.
    """
    sizes = {entry.name: _size(entry) if signature == "sizes" else 0 for entry in _frame_entries(folder)}
    # Natural order matters only where a limit cuts it; plain order signs 950,000 names several times faster.
    names = _in_natural_order(sizes)[:limit_frames] if limit_frames is not None else sorted(sizes)
    lines = "".join(f"{name}\0{sizes[name]}\n" for name in names)
    digest = hashlib.blake2b(lines.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return FrameFolder(frame_count=len(names), signature=f"{signature}:{digest}")


def frame_names(folder: str) -> list[str]:
    """Return the names of a folder's frame files in natural order: `image2.png` before `image10.png`.

    Raises:
        OSError: The folder cannot be listed.
    """
    return _in_natural_order(entry.name for entry in _frame_entries(folder))


def is_frame_name(name: str) -> bool:
    """Tell whether a file of this name is a frame. Hidden files are not: macOS leaves `._name.png` beside pictures."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in _SUFFIXES


def _frame_entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        # A broken link is no directory and so counts as a frame: it becomes a flagged row, not a missing one.
        yield from (entry for entry in entries if is_frame_name(entry.name) and not is_folder(entry))


def _in_natural_order(names: Iterable[str]) -> list[str]:
    # `1.png` and `01.png` are equal to natsort; sorted first, they do not keep the order of the file system.
    return natsorted(sorted(names))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        # A broken link, most often. Its frame is flagged, and read again once it has a size.
        return -1
