"""The suites of `python -m benchmarks`: what each measures, what it is given, and where it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from benchmarks.frames import BenchmarkFrames, choose_source, list_frames
from benchmarks.report import Findings
from phoenix_ray.config import ModelSettings
from phoenix_ray.models import registry


# Without slots, so that it can keep its frames.
@dataclass(frozen=True)
class Request:
    """What a suite is asked for.

    Attributes:
        source: Folders of frames; None is the sample videos.
        rounds: How often everything is measured.
        passes: How often each frame is computed in a round, so that its ends weigh little.
        workers: Processes of each contestant.
        peers: Whether other programs are measured too.
        videos: Size of the largest dataset whose growth is measured.
        output: Folder for reports and pictures; work is done in folders below it, on the caller's disk.
        environments: Folder with an environment for each peer; made where one is missing.
        tell: Takes a line about what is going on.
    """

    source: Path | None
    rounds: int
    passes: int
    workers: int
    peers: bool
    videos: int
    output: Path
    environments: Path
    tell: Callable[[str], None]

    @cached_property
    def frames(self) -> BenchmarkFrames:
        """What every contestant computes; listed, and weights to compute them installed, when first asked for.

        Raises:
            PhoenixRayError: The source cannot be read, or weights are missing and cannot be installed.
        """
        registry.ensure_ready(ModelSettings(engine="litert"), self.tell)
        return list_frames(choose_source(self.source))


@dataclass(frozen=True, slots=True)
class Suite:
    """A part of the benchmark.

    Its module has `run(Request) -> Findings` and, when not every machine has what it measures, `check_machine()`.
    """

    name: str
    description: str
    module: str

    def check_machine(self) -> None:
        """Return when the suite can run on this machine.

        Raises:
            PhoenixRayError: It cannot, for the reason of the message.
        """
        check: Callable[[], None] | None = getattr(import_module(self.module), "check_machine", None)
        if check is not None:
            check()

    def run(self, request: Request) -> Findings:
        """Measure.

        Raises:
            PhoenixRayError: Something cannot be measured.
        """
        run: Callable[[Request], Findings] = import_module(self.module).run
        return run(request)


_PACKAGE = "benchmarks"
SUITES = (
    Suite("engines", "a frame in one process: networks, crops, decoding; the CPU's limit", f"{_PACKAGE}.engines"),
    Suite("job", "the command through Ray: start-up, 1 to N workers, resume", f"{_PACKAGE}.job"),
    Suite("peers", "side by side with MediaPipe in a pool, pose-format and Ray Data", f"{_PACKAGE}.peers"),
    Suite("losses", "results that change with workers; frames lost or twice after a kill", f"{_PACKAGE}.losses"),
    Suite("storage", "size, one video at random, an epoch; beside pickle and .pose", f"{_PACKAGE}.storage"),
    Suite("scale", "plan, resume and driver by number of videos, up to a million", f"{_PACKAGE}.scale"),
    Suite("gpu", "a GPU: rates by batch size and precision, beside its limits and the CPU", f"{_PACKAGE}.gpu_suite"),
)
