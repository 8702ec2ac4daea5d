"""The machine that a benchmark ran on, without which its figures mean nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures depend on, apart from the code.

    Attributes:
        processor: The CPU's name.
        cores: Logical cores that this process may use.
        system: Operating system.
        load: Mean number of processes that wanted a core in the last minute; near 0 on a quiet machine.
    """

    processor: str
    cores: int
    system: str
    load: float


def this_machine() -> Machine:
    """Return the machine as it is now."""
    return Machine(_processor(), _cores(), platform.platform(terse=True), round(os.getloadavg()[0], 2))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _cores() -> int:
    # Linux only; elsewhere a process may use all cores.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
