"""Marks of processes: whether the process that took a lease still runs on this machine.

A process number is not enough: the kernel reuses numbers, and each container counts its own. On Linux a mark is made of
the kernel's boot, the namespace of process numbers and the time when the process began; elsewhere it is empty and says
nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
# Fields of `/proc/<pid>/stat` after the name in parentheses: the state, and the start in ticks since the boot.
_STATE, _START = 0, 19
_DEAD = {"Z", "X"}


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process: its machine (boot and namespace), and when it began there."""

    machine: str = ""
    began: str = ""


@lru_cache(1)
def own_mark() -> ProcessMark:
    """Return the mark of this process, an empty one where the system does not say."""
    began = _began(os.getpid())
    return ProcessMark(_machine(), began) if began and _machine() else ProcessMark()


def is_running(pid: int, mark: ProcessMark) -> bool | None:
    """Whether a process of this machine still runs; None if unknown or not of this machine."""
    if not mark.machine or not mark.began or mark.machine != own_mark().machine:
        return None
    return _began(pid) == mark.began


def _began(pid: int) -> str:
    """Return when a process began, empty where there is no process of that number or only a zombie."""
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
