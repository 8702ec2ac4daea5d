"""The measurements of suite `scale`, each a function: planning, resuming or driving N videos.

Each runs in its own process, so that its memory can be measured, and reports CPU seconds as well as wall time, because
CPU seconds depend less on how busy the machine is.
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
from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.job import run_job
from phoenix_ray.cluster.plan import plan_run
from phoenix_ray.cluster.worker import Receipt, ShardWorker, Timings, peak_memory_mb
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.shards import CommittedFrames
from phoenix_ray.dataset.snapshot import tally_splits
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.sources.registry import open_source
from phoenix_ray.sources.synthetic import make_video

# Counting lists all partitions and takes time from the driver that is measured, so it is rare.
SAMPLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an action.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of all threads of the process.
        peak_mb: Largest resident size of the process.
        found: Further results, by name.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    found: dict[str, float] = field(default_factory=dict)


def measure(action: Callable[..., dict[str, float]], *arguments: object) -> Cost:
    """Return the cost of an action of this module in a new process.

    Raises:
        PhoenixRayError: It failed; its traceback is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, action, arguments))
    process.start()
    sender.close()
    try:
        cost: Cost = receiver.recv()
    except EOFError:
        raise PhoenixRayError(f"The measurement {action.__name__} failed; its error is above.") from None
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
    """Plan videos of full length, none of which is committed."""
    whole = settings.source.model_copy(update={"limit_frames": None})
    plan = plan_run(settings, open_source(whole), CommittedFrames((), ()).missing_ranges)
    return {"shards": len(plan.shards), "frames": plan.missing_frames}


def stage(settings: Settings) -> dict[str, float]:
    """Write the dataset that a run leaves when every video is computed and compacted."""
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
    plan = plan_run(settings, open_source(settings.source), committed.missing_ranges)
    clock.append(time.perf_counter())
    rows = sum(tally.rows for tally in tally_splits(storage, identity).values())
    clock.append(time.perf_counter())
    if len(plan.shards) or rows != settings.source.max_videos_per_split:
        raise RuntimeError(f"{len(plan.shards)} shards are missing in a dataset of {rows} rows that should be complete")
    steps = zip(("sweep", "committed", "plan", "totals"), clock, clock[1:], strict=False)
    return {name: after - before for name, before, after in steps} | _count_files(Path(settings.output.path))


def rerun(settings: Settings) -> dict[str, float]:
    """Run the command on a complete dataset, where it does not start Ray, from its start to its exit."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "settings.yaml")
        config.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
        command = [sys.executable, "-m", "phoenix_ray.run", "--config", str(config)]
        seconds = run_command(command, Path(scratch), own_environment())
    if computed := latest_summary(Path(settings.output.path))["frames_computed"]:
        raise RuntimeError(f"{computed} frames were computed in a dataset that should be complete")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def drive_nothing(settings: Settings) -> dict[str, float]:
    """Run shards through Ray on workers that answer at once and commit nothing, to find the limit of the driver."""
    import ray

    with (
        mock.patch("phoenix_ray.cluster.actors.ShardActor", ray.remote(_NullWorker)),
        # Otherwise the run would notice that nothing was committed, and compute it again.
        mock.patch("phoenix_ray.cluster.completion.recompute_lost", return_value=0),
    ):
        return _run_watched(settings)


def drive(settings: Settings) -> dict[str, float]:
    """Run shards of one frame through Ray on workers that commit them, while the driver compacts."""
    return _run_watched(settings)


class _NullWorker(ShardWorker):
    def process(self, *_: object) -> Receipt:
        return Receipt(None, None, Timings(idle=1e-6), peak_memory_mb())


def _run_watched(settings: Settings) -> dict[str, float]:
    """Run a job while a thread counts the files in its output and its open files."""
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
        # Standard output is for the report.
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
    """Return the number of partitions, of data files, and of entries in the largest folder."""
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
