"""A mark that no other process has, so that a lease shows whether its holder still runs.

A process number alone does not: numbers are given again, and each container counts its own. The kernel's boot, the
namespace of process numbers and the moment at which a process began do, on Linux; elsewhere marks are empty, and say
nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
# Fields of `/proc/<pid>/stat` behind the name in parentheses: the state, and the start in ticks since the boot.
_STATE, _START = 0, 19
_DEAD = {"Z", "X"}


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process: on which machine (boot and namespace), and when it began there."""

    machine: str = ""
    began: str = ""


@lru_cache(1)
def own_mark() -> ProcessMark:
    """Return the mark of this process, an empty one where the system does not say."""
    began = _began(os.getpid())
    return ProcessMark(_machine(), began) if began and _machine() else ProcessMark()


def is_running(pid: int, mark: ProcessMark) -> bool | None:
    """Whether a process of this machine still runs; None where it belongs to another, or that cannot be known."""
    if not mark.machine or not mark.began or mark.machine != own_mark().machine:
        return None
    return _began(pid) == mark.began


def _began(pid: int) -> str:
    """Return when a process began, empty when there is none of that number, or only what is left of one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[_STATE] in _DEAD else fields[_START]
    except (OSError, IndexError):
        return ""


def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_NUMBERS.readlink()}"
    except OSError:
        return ""
