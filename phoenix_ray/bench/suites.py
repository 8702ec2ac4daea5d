"""The suites of `phoenix-ray bench`: what each measures, what it is given, and what runs when nothing is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from phoenix_ray.bench.frames import BenchmarkFrames
from phoenix_ray.bench.report import Findings


@dataclass(frozen=True, slots=True)
class Request:
    """What a suite is asked for.

    Attributes:
        frames: What every contestant computes.
        rounds: How often everything is measured.
        passes: How often each frame is computed in a round, so that its ends weigh little.
        workers: Processes of each contestant.
        peers: Whether other programs are measured too.
        output: Folder for reports and pictures; work is done in folders below it, on the caller's disk.
        environments: Folder with an environment for each peer; made where one is missing.
        tell: Takes a line about what is going on.
    """

    frames: BenchmarkFrames
    rounds: int
    passes: int
    workers: int
    peers: bool
    output: Path
    environments: Path
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Suite:
    """A part of the benchmark: the module that has its `run(Request) -> Findings`."""

    name: str
    description: str
    module: str

    def run(self, request: Request) -> Findings:
        """Measure.

        Raises:
            PhoenixRayError: Something cannot be measured.
        """
        run = cast("Callable[[Request], Findings]", import_module(self.module).run)
        return run(request)


_PACKAGE = "phoenix_ray.bench"
SUITES = (
    Suite("engines", "a frame in one process: networks, crops, decoding; the CPU's limit", f"{_PACKAGE}.engines"),
    Suite("job", "the command through Ray: start-up, 1 to N workers, resume", f"{_PACKAGE}.job"),
    Suite("peers", "side by side with MediaPipe in a pool, pose-format and Ray Data", f"{_PACKAGE}.peers"),
    Suite("losses", "results that change with workers; frames lost or twice after a kill", f"{_PACKAGE}.losses"),
    Suite("storage", "size, one video at random, an epoch; beside pickle and .pose", f"{_PACKAGE}.storage"),
)
