"""Refuses to load a video at once that this process has no memory for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from phoenix_ray.dataset.collection import VideoKey
from phoenix_ray.errors import ConfigError, OutputError

VARIABLE = "PHOENIX_RAY_MOST_VIDEO_MB"
# Loading a video takes 2.5 times its arrays: it is refused where they take more than this part of what is free.
_PART_OF_FREE = 3
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Of version 1 and 2: limit, use, and what of the use are cached files, which are given up when memory is wanted.
_OLD_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_FILES = ("memory.max", "memory.current", "inactive_file")


def refuse_large_video(key: VideoKey, size: int) -> None:
    """Raise OutputError where a video of so many bytes is not to be loaded at once.

    Allowed is a third of the memory that this process can still get, or what the variable says in MB.

    Raises:
        OutputError: It is larger.
        ConfigError: The variable is not a number.
    """
    most = _most_bytes()
    if most is not None and size > most:
        raise OutputError(
            f"{key[0]}/{key[1]} takes {size >> 20:,} MB or more when it is loaded at once, and {most >> 20:,} MB are "
            f"allowed: {VARIABLE}, else a third of the memory that is free. Read it in blocks (`Dataset.load_blocks`; "
            f"`phoenix-ray stats` does), take a machine with more memory, or set {VARIABLE}."
        )


def _most_bytes() -> int | None:
    said = os.environ.get(VARIABLE, "")
    if said:
        if not said.isdecimal():
            raise ConfigError(f"{VARIABLE} is {said!r}: give a number of MB.")
        return int(said) << 20
    free = free_memory()
    return None if free is None else free // _PART_OF_FREE


def free_memory() -> int | None:
    """Return the bytes that this process can still get of machine and control groups; None where unknown."""
    bounds = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10)
    for folder, (limit, use, cached) in _control_groups():
        # A group without a limit says "max".
        with suppress(OSError, ValueError, KeyError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / use).read_text()) - int(statistics[cached])
            bounds.append(max(0, int((folder / limit).read_text()) - used))
    return min(bounds, default=None)


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the control groups that may bound this process, with the names of their files."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(",") or not controllers:
                root, files = (_CONTROL_GROUPS / "memory", _OLD_FILES) if controllers else (_CONTROL_GROUPS, _FILES)
                folder = root / path.lstrip("/")
                yield from ((one, files) for one in (folder, *folder.parents) if one.is_relative_to(root))
