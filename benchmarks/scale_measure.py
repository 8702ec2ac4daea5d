"""What the suite `scale` measures, a function each: planning, resuming or driving N videos.

Each runs in a process of its own, so that its memory is its own, and says the CPU seconds beside those of the clock:
on a busy machine the former tell more.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import yaml

from benchmarks.contestants import latest_summary, own_environment, run_command
from benchmarks.scale_dataset import write_compacted
from phoenix_ray.cluster.job import plan_job, run_job
from phoenix_ray.cluster.opening import make_identity
from phoenix_ray.cluster.worker import Receipt, ShardWorker, Timings, peak_memory_mb
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.coverage import CommittedFrames
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.snapshot import tally_splits
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.sources.catalog import open_source
from phoenix_ray.sources.synthetic import make_video

# A look lists all partitions, in the time of the driver that is measured.
SAMPLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measurement took.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of all threads of the process.
        peak_mb: Largest resident size of the process.
        found: What else it found out, by name.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    found: dict[str, float] = field(default_factory=dict)


def measure(action: Callable[..., dict[str, float]], *arguments: object) -> Cost:
    """Return what an action of this module takes in a new process.

    Raises:
        PhoenixRayError: It failed; what it raised is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, action, arguments))
    process.start()
    sender.close()
    try:
        cost: Cost = receiver.recv()
    except EOFError:
        raise PhoenixRayError(f"The measurement {action.__name__} failed, with what is written above.") from None
    finally:
        process.join()
    return cost


def settings_for(videos: int, output: Path) -> Settings:
    """Return the settings of a run over synthetic videos of one frame each."""
    return Settings.model_validate(
        {
            "source": {"kind": "synthetic", "max_videos_per_split": videos, "limit_frames": 1},
            "model": {"name": "synthetic"},
            "output": {"path": str(output)},
        }
    )


def plan_all(settings: Settings) -> dict[str, float]:
    """Plan whole videos of which none is committed."""
    whole = settings.source.model_copy(update={"limit_frames": None})
    plan = plan_job(settings, open_source(whole), CommittedFrames((), ()))
    return {"shards": len(plan.shards), "frames": plan.missing_frames}


def stage(settings: Settings) -> dict[str, float]:
    """Write the dataset of a run in which every video was computed and compacted."""
    storage = LocalStorage(settings.output.path)
    identity = claim_dataset(storage, make_identity(settings, ""))
    videos = [make_video(number, 1) for number in range(settings.source.max_videos_per_split or 0)]
    write_compacted(storage, identity, settings.output, videos)
    return {}


def resume(settings: Settings) -> dict[str, float]:
    """Find out that nothing is missing, as a run does: sweep, load what is committed, plan, count rows."""
    storage = LocalStorage(settings.output.path)
    identity = claim_dataset(storage, make_identity(settings, ""))
    clock = [time.perf_counter()]
    survey = sweep(storage, identity, temporary_seconds=0).survey
    clock.append(time.perf_counter())
    committed = committed_in(survey)
    del survey
    clock.append(time.perf_counter())
    plan = plan_job(settings, open_source(settings.source), committed)
    clock.append(time.perf_counter())
    rows = sum(tally.rows for tally in tally_splits(storage, identity).values())
    clock.append(time.perf_counter())
    if len(plan.shards) or rows != settings.source.max_videos_per_split:
        raise RuntimeError(f"{len(plan.shards)} shards are missing of a dataset of {rows} rows that should be whole")
    steps = zip(("sweep", "committed", "plan", "totals"), clock, clock[1:], strict=False)
    return {name: after - before for name, before, after in steps} | _count_files(Path(settings.output.path))


def rerun(settings: Settings) -> dict[str, float]:
    """Type the command once more for a dataset that is whole: seconds from its start to its exit, without any Ray."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "settings.yaml")
        config.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
        command = [sys.executable, "-m", "phoenix_ray.run", "--config", str(config)]
        seconds = run_command(command, Path(scratch), own_environment())
    if computed := latest_summary(Path(settings.output.path))["frames_computed"]:
        raise RuntimeError(f"{computed} frames were computed of a dataset that should be whole")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def drive_nothing(settings: Settings) -> dict[str, float]:
    """Run shards through Ray on workers that answer at once and commit nothing: what the driver can do at most."""
    import ray

    with (
        mock.patch("phoenix_ray.cluster.actors.ShardActor", ray.remote(_NullWorker)),
        # A run would notice that nothing was committed, and compute it again.
        mock.patch("phoenix_ray.cluster.job.make_up", return_value=0),
    ):
        return _run_watched(settings)


def drive(settings: Settings) -> dict[str, float]:
    """Run shards of one frame through Ray on workers that commit them, compacting beside them."""
    return _run_watched(settings)


class _NullWorker(ShardWorker):
    def process(self, *_: object) -> Receipt:
        return Receipt(None, None, Timings(idle=1e-6), peak_memory_mb())


def _run_watched(settings: Settings) -> dict[str, float]:
    """Run a job, looking at its output and its own open files all the time."""
    output, process = Path(settings.output.path), psutil.Process()
    most: Counter[str] = Counter()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for name, count in _count_files(output).items():
                most[name] = max(most[name], int(count))
            most["descriptors"] = max(most["descriptors"], process.num_fds())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        # Standard output is the report's.
        with redirect_stdout(sys.stderr):
            code = run_job(settings)
    finally:
        ended.set()
        watcher.join()
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")
    return {
        "shards_per_second": latest_summary(output)["frames_per_second"],
        **{f"most_{name}": count for name, count in most.items()},
    }


def _count_files(output: Path) -> dict[str, float]:
    """Return how many partitions and data files lie open, and the entries of the largest folder."""
    storage = LocalStorage(str(output))
    partitions = [file.name for file in storage.list(paths.PARTITIONS)]
    data = [file.name for file in storage.list(paths.DATA)]
    entries: Counter[str] = Counter()
    for folder in {parent for name in (*partitions, *data) for parent in _ancestors(name)}:
        entries[folder.rpartition("/")[0]] += 1
    largest = max(entries.values(), default=0)
    return {"partitions": len(partitions), "data_files": len(data), "largest_folder": largest}


def _ancestors(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _run(sender: Any, action: Callable[..., dict[str, float]], arguments: tuple[object, ...]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    found = action(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send(Cost(time.perf_counter() - began, time.process_time() - cpu, peak, found))
