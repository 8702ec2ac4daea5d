"""Faults that a run is subjected to: at which point of which process, to what, and what happens there.

A run's faults lie in a JSON file beside its output, where driver, workers and compaction tasks of the run find them
(`tests.chaos.disturbed` puts the points into their code). The package itself knows nothing of this.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NoReturn

from phoenix_ray.dataset.locations import open_storage
from tests.chaos.outputs import beside

Process = Literal["driver", "worker", "compaction"]
Point = Literal["ready", "decode", "inference", "create", "created", "write", "rename", "written", "delete", "deleted"]
Action = Literal[
    "kill",
    "segfault",
    "hang",
    "pause",
    "doze",
    "sleep",
    "leak",
    "raise",
    "memory",
    "no space",
    "input/output",
    "kill the driver",
    "jump",
]

ALWAYS = 0
LEAKED_MB = 300
PAUSE_SECONDS = 1.0
# Long enough for another driver to come, sweep, compact and publish; longer than a lease counts without a heartbeat.
DOZE_SECONDS, SLEEP_SECONDS = 15.0, 75.0
DAY = 86_400.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        process: In which kind of process.
        point: Where: `rename` lies between the bytes of a file and its final name, `written` and `created` after it.
        target: Regular expression for what passes there: `<video>/<frame>` or the name of a file.
        action: What happens.
        times: How often in the whole run; `ALWAYS` is without end.
        skip: How many matches each process lets pass before.
    """

    process: Process
    point: Point
    target: str
    action: Action
    times: int = 1
    skip: int = 0


class Faults:
    """The faults of a run, as one of its processes meets them.

    Args:
        output: The run's output.
        process: The kind of this process.
    """

    def __init__(self, output: str, process: Process) -> None:
        self._output = output
        self._tokens = faults_file(output).with_suffix(".tokens")
        content = faults_file(output)
        listed = json.loads(content.read_text()) if content.exists() else []
        self._faults = [(number, Fault(**fields)) for number, fields in enumerate(listed)]
        self._faults = [(number, fault) for number, fault in self._faults if fault.process == process]
        self._seen: Counter[int] = Counter()
        self._leaked: list[bytearray] = []

    def meet(self, point: Point, subject: str) -> None:
        """Pass a point with a subject; does not return if the fault there is fatal."""
        for number, fault in self._faults:
            if fault.point == point and re.search(fault.target, subject):
                self._seen[number] += 1
                if self._seen[number] > fault.skip and self._is_left(number, fault.times):
                    self._strike(fault.action)

    def _is_left(self, number: int, times: int) -> bool:
        """Take one of the fault's strikes, which all processes of the run share."""
        self._tokens.mkdir(exist_ok=True)
        for strike in range(times or 1_000_000):
            try:
                (self._tokens / f"{number}-{strike}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    def _strike(self, action: Action) -> None:
        match action:
            case "leak":
                self._leaked.append(bytearray(os.urandom(1024) * 1024 * LEAKED_MB))
            case "hang":
                time.sleep(1e6)
            case "pause":
                time.sleep(PAUSE_SECONDS)
            case "doze":
                time.sleep(DOZE_SECONDS)
            case "sleep":
                time.sleep(SLEEP_SECONDS)
            case "raise":
                raise RuntimeError("this frame cannot be computed")
            case "memory":
                raise MemoryError
            case "no space":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "input/output":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case "kill the driver":
                os.kill(json.loads(open_storage(self._output).read("lease.json"))["pid"], signal.SIGKILL)
            case "jump":
                _shift_clock(DAY)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                _segfault()


def faults_file(output: str) -> Path:
    """Return where the faults of a run with this output lie."""
    return beside(output, ".faults.json")


def write_faults(output: str, faults: Sequence[Fault]) -> None:
    """Subject the runs of this output to faults; to none, when there are none."""
    faults_file(output).write_text(json.dumps([asdict(fault) for fault in faults]))


def strikes(output: str) -> int:
    """Return how often a fault struck in the runs of this output."""
    return len(list(faults_file(output).with_suffix(".tokens").glob("*")))


def _segfault() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError("reading address 0 went well")


def _shift_clock(seconds: float) -> None:
    true_time: Callable[[], float] = time.time
    time.time = lambda: true_time() + seconds
