"""The suites of `python -m benchmarks`: what each measures, what it receives, and where it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from benchmarks.frames import BenchmarkFrames, choose_source, list_frames
from benchmarks.report import Findings
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry


# Without slots, because `cached_property` needs a __dict__.
@dataclass(frozen=True)
class Request:
    """What a suite is to measure.

    Attributes:
        source: Dataset of frame folders; None for the sample videos.
        rounds: How often each measurement is repeated.
        passes: How often each frame is computed in a round.
        workers: Processes that each contestant runs.
        peers: Whether other programs are measured too.
        videos: Videos in the largest dataset of suite `scale`.
        output: Folder for reports and pictures. Datasets are written to folders below it.
        environments: Folder with an environment for each peer; missing ones are installed.
        announce: Receives a line about what is going on.
    """

    source: Path | None
    rounds: int
    passes: int
    workers: int
    peers: bool
    videos: int
    output: Path
    environments: Path
    announce: Callable[[str], None]

    @cached_property
    def frames(self) -> BenchmarkFrames:
        """The frames that every contestant computes. First use lists them, and installs the weights to compute them.

        Raises:
            PhoenixRayError: The source cannot be read, or weights are missing and cannot be installed.
        """
        registry.ensure_ready(ModelSettings(engine="litert"), self.announce)
        return list_frames(choose_source(self.source))


@dataclass(frozen=True, slots=True)
class Suite:
    """A part of the benchmark.

    Its module has `run(Request) -> Findings` and, if not every machine can run it, `check_machine()`.
    """

    name: str
    description: str
    module: str

    def check_machine(self) -> None:
        """Do nothing if the suite can run on this machine.

        Raises:
            PhoenixRayError: It cannot; the message says why.
        """
        check: Callable[[], None] | None = getattr(import_module(self.module), "check_machine", None)
        if check is not None:
            check()

    def run(self, request: Request) -> Findings:
        """Return what the suite measures.

        Raises:
            PhoenixRayError: A measurement failed.
        """
        run: Callable[[Request], Findings] = import_module(self.module).run
        return run(request)


SUITES = (
    Suite(
        "engines", "time of a frame in one process: networks, crops, decoding; the CPU's limit", "benchmarks.engines"
    ),
    Suite("job", "the command through Ray: start-up, 1 and N workers, resume", "benchmarks.job"),
    Suite("peers", "side by side with MediaPipe in a pool, pose-format and Ray Data", "benchmarks.peers"),
    Suite(
        "losses",
        "results that change with the number of workers; frames lost or doubled by a kill",
        "benchmarks.losses",
    ),
    Suite("storage", "size and reading speed, beside npz, .pose and pickle", "benchmarks.storage"),
    Suite("bucket", "the same run with its output in a bucket and in a folder", "benchmarks.bucket"),
    Suite("scale", "plan, resume and driver as the number of videos grows to a million", "benchmarks.scale"),
    Suite(
        "viewer", "the viewer's page in Chromium: list, first frame, playing; the server's memory", "benchmarks.viewer"
    ),
    Suite("accuracy", "landmarks against the true joints of rendered figures, in pixels", "benchmarks.accuracy.suite"),
    Suite("zoo", "networks in ONNX files through Ray, beside Ultralytics' predictor and rtmlib", "benchmarks.zoo"),
    Suite(
        "models-parity",
        "networks in ONNX files beside the programs of those who trained them, in pixels",
        "benchmarks.models_parity",
    ),
    Suite("gpu", "rates of a GPU by batch size and precision, beside its limits and the CPU", "benchmarks.gpu_suite"),
)
