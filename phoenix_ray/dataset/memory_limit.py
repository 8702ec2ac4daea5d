"""Refuses to load a video for which this process has too little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError, OutputError

VARIABLE = "PHOENIX_RAY_MOST_VIDEO_MB"
_DIGITS = 12
# Loading a video takes 2.5 times its arrays, so they may take 1 / this of the free memory.
_PART_OF_FREE = 3
# The arrays of real landmarks take 3 times their compressed bytes; those of frames without a person 350 times, more in
# large row groups. Above this ratio up to 256 MiB are loaded: 25 minutes without a person.
_USUAL_TIMES_COMPRESSED, _UNUSUAL_BYTES = 400, 256 << 20
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Files of control groups of version 1 and 2: limit, use, and the field of cached files, which the kernel can drop.
_OLD_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_FILES = ("memory.max", "memory.current", "inactive_file")


def refuse_large_video(key: VideoKey, size: int, compressed: int) -> None:
    """Raise OutputError if a video is too large to be loaded at once.

    It may take a third of the memory that this process can still get, and less where its files are so small that they
    may be a decompression bomb. PHOENIX_RAY_MOST_VIDEO_MB, in MiB, replaces both bounds.

    Args:
        key: Split and ID of the video.
        size: Bytes of its arrays.
        compressed: Bytes of its rows in their files.

    Raises:
        OutputError: It is larger.
        ConfigError: The variable is not a number.
    """
    most = _most_bytes(compressed)
    if size > most:
        by = VARIABLE if os.environ.get(VARIABLE) else "the free memory and the size of its files"
        raise OutputError(
            f"{key[0]}/{key[1]} takes at least {size >> 20:,} MiB when it is loaded at once, and {most >> 20:,} MiB "
            f"are allowed by {by}. Allow more with {VARIABLE}={(size >> 20) + 1}, or read it in blocks "
            "(`Dataset.load_blocks` in Python)."
        )


def _most_bytes(compressed: int) -> int:
    allowed = os.environ.get(VARIABLE, "")
    if allowed:
        if not allowed.isdecimal() or len(allowed) > _DIGITS:
            raise ConfigError(f"{VARIABLE} is {allowed[:40]!r}: give a whole number of MiB, 0 or more.")
        return int(allowed) << 20
    usual = max(_UNUSUAL_BYTES, _USUAL_TIMES_COMPRESSED * compressed)
    free = free_memory()
    return usual if free is None else min(usual, free // _PART_OF_FREE)


def free_memory() -> int | None:
    """Return how many bytes this process can still get from machine and control groups; None where unknown."""
    bounds = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10)
    for folder, (limit, use, cached) in _control_groups():
        # A group without a limit says "max".
        with suppress(OSError, ValueError):
            used = int((folder / use).read_text()) - _cached_bytes(folder / "memory.stat", cached)
            bounds.append(max(0, int((folder / limit).read_text()) - used))
    return min(bounds, default=None)


def _cached_bytes(file: Path, name: str) -> int:
    """Return a number from a control group's statistics, 0 where it is missing."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folder of each control group that may limit this process, with the names of its files."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(",") or not controllers:
                root, files = (_CONTROL_GROUPS / "memory", _OLD_FILES) if controllers else (_CONTROL_GROUPS, _FILES)
                folder = root / path.lstrip("/")
                parents = (folder, *folder.parents)
                yield from ((parent, files) for parent in parents if parent.is_relative_to(root))
