"""Files in the place of a source that it does not read, by ending and reason: nothing is left out silently.

A source notes them while it lists (`LeftOutFiles`); `phoenix-ray plan` and `run` print `describe`, and a run keeps the
names beside its status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

# Of one ending and reason; a tree may hold millions of files that are not videos.
MOST_NAMES = 10_000
# In the place of an ending, for folders that are left out as they are.
FOLDER = "folder"
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of one ending that are left out for one reason.

    Attributes:
        reason: Why, and how to read them where that is possible.
        ending: `.xyz` in lower case, empty where their names have none, `FOLDER` for folders that are not looked into.
        count: How many.
        names: Their paths relative to the source, the first `MOST_NAMES`; a folder stands for its files.
    """

    reason: str
    ending: str
    count: int
    names: tuple[str, ...]


class LeftOutFiles:
    """Collects what a source leaves out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._names: dict[tuple[str, str], list[str]] = {}

    def add(self, reason: str, name: PurePath | str, ending: str | None = None, count: int = 1) -> None:
        """Note a file, or a folder with `count` files of an ending."""
        key = (reason, ending_of(PurePath(name).name) if ending is None else ending)
        self._counts[key] += count
        names = self._names.setdefault(key, [])
        if len(names) < MOST_NAMES:
            names.append(str(name).encode("utf-8", "backslashreplace").decode())

    def groups(self) -> tuple[LeftOut, ...]:
        """Return what was noted, by reason, the most frequent endings first."""
        order = sorted(self._counts, key=lambda key: (key[0], -self._counts[key], not key[1], key[1]))
        return tuple(LeftOut(*key, self._counts[key], tuple(self._names[key])) for key in order)


def ending_of(name: str) -> str:
    """Return the ending of a file name in lower case, empty where there is none."""
    return PurePath(name).suffix.lower().encode("utf-8", "backslashreplace").decode()


def count_endings(groups: Iterable[LeftOut]) -> str:
    """Return counts by ending: `3 .txt, 1 .eaf, 2 without an ending`."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.ending] += group.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], not item[0], item[0]))
    return ", ".join(f"{count:,} {_name_ending(ending, count)}" for ending, count in ordered)


def _name_ending(ending: str, count: int) -> str:
    return "folders" if ending == FOLDER and count != 1 else ending or "without an ending"


def describe(groups: Sequence[LeftOut]) -> list[str]:
    """Return one line a reason: counts by ending, the reason, a few names."""
    lines = []
    for reason in dict.fromkeys(group.reason for group in groups):
        of_reason = [group for group in groups if group.reason == reason]
        names = [name for group in of_reason for name in group.names[:_NAMES_SHOWN]][:_NAMES_SHOWN]
        more = ", …" if sum(group.count for group in of_reason) > len(names) else ""
        lines.append(f"Left out: {count_endings(of_reason)} ({', '.join(names)}{more}): {reason}.")
    return lines
