"""What the runs of a dataset left behind in `runs/<run id>/`: when they ran, on what, and where their time went.

`summary.json` is there once a run has ended, `status.json` from its start on. Files of earlier versions lack some
fields; a file that makes no sense is named, and the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Annotated

from pydantic import Field, TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import live_holders
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.sealing import RowNumber, Texts, parse_mapping, required, validate
from phoenix_ray.dataset.storage import ReadableStorage

# Runs that are read, the newest first.
RUNS_READ = 20
# What a worker's time is divided into (`cluster.worker.Timings`).
PHASES = ("decode", "inference", "write", "idle")
_BEGINNING = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d-")

_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class PhaseSeconds:
    """Seconds of some workers in each phase; those of `cluster.worker.Timings`."""

    decode: _Seconds = 0.0
    inference: _Seconds = 0.0
    write: _Seconds = 0.0
    idle: _Seconds = 0.0

    def shares(self) -> dict[str, float]:
        """Return phase → share of the whole; nothing where no time was measured."""
        seconds = {phase: float(getattr(self, phase)) for phase in PHASES}
        whole = sum(seconds.values())
        return {phase: value / whole for phase, value in seconds.items()} if whole else {}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as its `summary.json` describes it, or its `status.json` as long as there is no summary.

    Attributes:
        run_id: Names the run.
        state: How it ended; without a summary what it last did.
        frames_computed: Frames that it committed.
        seconds: Wall time of all of it; 0 without a summary, as in all fields below.
        compute_seconds: Wall time from the first worker that was ready to the last commit.
        workers: Workers that were asked for.
        failures: Shards and videos that it put on the failure list.
        peak_memory_mb: Largest resident size of a worker.
        timings: Seconds of all workers together.
        nodes: Node → seconds of its workers; empty in files of earlier versions.
        versions: Versions of Python and of the packages that compute.
        share: The share of the videos that it computed; empty for all.
        videos_missing: Videos of all shares that lacked frames when it ended; None where it had all videos.
        ended: Whether there is a summary.
    """

    run_id: str
    state: str
    frames_computed: RowNumber = 0
    seconds: _Seconds = 0.0
    compute_seconds: _Seconds = 0.0
    workers: RowNumber = 0
    failures: RowNumber = 0
    peak_memory_mb: _Seconds = 0.0
    timings: PhaseSeconds = field(default_factory=PhaseSeconds)
    nodes: Mapping[str, PhaseSeconds] = field(default_factory=dict)
    versions: Texts = field(default_factory=dict)
    share: str = ""
    videos_missing: RowNumber | None = None
    ended: bool = True

    @property
    def began(self) -> str:
        """When it began by the clock of its machine, `2026-11-29 19:35`; empty where its ID does not say."""
        found = _BEGINNING.match(self.run_id)
        return f"{found[1]}-{found[2]}-{found[3]} {found[4]}:{found[5]}" if found else ""


@dataclass(frozen=True, slots=True)
class RunHistory:
    """The runs of a dataset.

    Attributes:
        runs: The newest, the newest first.
        older: How many more there are.
        at_work: Processes that work on the dataset now.
        damaged: A line for each file that makes no sense.
    """

    runs: tuple[RecordedRun, ...]
    older: int
    at_work: tuple[LeaseHolder, ...]
    damaged: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the newest run, or any share of the newest array, found every frame of all its videos computed."""
        newest = tuple(takewhile(lambda run: run.share, self.runs)) or self.runs[:1]
        return any(run.ended and run.state == "finished" and not (run.share and run.videos_missing) for run in newest)


_SUMMARY = TypeAdapter(Annotated[RecordedRun, required("state", "frames_computed", "timings")])
_STATUS = TypeAdapter(Annotated[RecordedRun, required("state")])


def read_history(storage: ReadableStorage) -> RunHistory:
    """Return what the runs of a dataset recorded.

    Raises:
        OutputError: The dataset cannot be read.
    """
    files = {file.name for file in storage.list(paths.RUNS)}
    names = sorted({name.split("/")[1] for name in files if name.endswith(("/summary.json", "/status.json"))})
    newest = names[: -RUNS_READ - 1 : -1]
    damaged: list[str] = []
    runs = tuple(run for run_id in newest for run in _read_run(storage, run_id, files, damaged))
    return RunHistory(runs, len(names) - len(newest), tuple(live_holders(storage)), tuple(damaged))


def _read_run(storage: ReadableStorage, run_id: str, files: set[str], damaged: list[str]) -> Iterator[RecordedRun]:
    for kind, adapter in (("summary", _SUMMARY), ("status", _STATUS)):
        name = f"{paths.RUNS}/{run_id}/{kind}.json"
        if name not in files:
            continue
        try:
            tree = parse_mapping(storage.read(name)) | {"run_id": run_id, "ended": kind == "summary"}
            tree.setdefault("frames_computed", tree.get("frames_done", 0))
            yield validate(adapter, tree)
            return
        except FileNotFoundError:
            continue
        except ValueError as error:
            damaged.append(f"{name} is damaged ({error})")
