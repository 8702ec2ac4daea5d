"""How much of its workers' time a run uses: eight workers of a model that sleeps, so that cores do not matter.

`python -m tests.chaos.overhead` runs twice, calm and with half of the workers killed on the way. Efficiency is the time
that the frames must take over the time for which workers were there, from ready to killed or to the last commit: it
holds what the driver, reading, writing, retries and the tail cost, and not how long a worker takes to start.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import ray
from numpy.typing import NDArray

from phoenix_ray.cluster.actors import ShardActor
from phoenix_ray.cluster.job import run_job
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.shards import Assignment
from phoenix_ray.cluster.worker import Receipt, Timings, WorkerInfo
from phoenix_ray.config_files import load
from phoenix_ray.dataset.schema import empty_batch
from phoenix_ray.models.base import LandmarkBatch, PoseModel

WORKERS = 8
SECONDS_PER_FRAME = 0.01


class SleepingModel:
    """Takes the time of a model and finds nobody."""

    def __init__(self, model: PoseModel) -> None:
        self.layout = model.layout
        self.batch_size = model.batch_size

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        time.sleep(SECONDS_PER_FRAME * len(images))
        return empty_batch(self.layout, len(images))

    def close(self) -> None:
        pass


class SleepingWorker(ShardActor.__ray_metadata__.modified_class):  # type: ignore[misc, name-defined]
    """A worker with a sleeping model."""

    def ready(self) -> WorkerInfo:
        info: WorkerInfo = super().ready()
        self._model: Any = SleepingModel(self._model)
        return info


class Stopwatch:
    """Notes when each worker was ready or died, and when the last shard was committed."""

    def __init__(self) -> None:
        self.ready: dict[int, float] = {}
        self.died: dict[int, float] = {}
        self.last = 0.0
        self.frames = 0
        self.timings = Timings()

    def worker_ready(self, record: RunRecord, info: WorkerInfo, ready: int) -> None:
        self.ready[info.process] = time.monotonic()

    def committed(self, record: RunRecord, assignment: Assignment, receipt: Receipt) -> None:
        self.last = time.monotonic()
        self.frames += assignment.shard.frames
        self.timings += receipt.timings

    def kill_half(self) -> None:
        """Wait until all workers are there and at work, then kill every second one."""
        while len(self.ready) < WORKERS:
            time.sleep(0.1)
        time.sleep(5)
        for process in list(self.ready)[::2]:
            os.kill(process, signal.SIGKILL)
            self.died[process] = time.monotonic()

    @property
    def shares(self) -> dict[str, float]:
        """What the workers did, of the time of all shards that were committed."""
        return {name: seconds / self.timings.total for name, seconds in asdict(self.timings).items()}

    @property
    def efficiency(self) -> float:
        spans = (self.died.get(process, self.last) - since for process, since in self.ready.items())
        return self.frames * SECONDS_PER_FRAME / sum(span for span in spans if span > 0)


def run(stopwatch: Stopwatch, videos: int, *, disturbed: bool) -> None:
    """Run the job on synthetic videos, with half of the workers killed when `disturbed`."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="overhead-", dir=memory if memory.is_dir() else None) as folder:
        output = Path(folder, "output")
        words = ("source.kind=synthetic", f"source.max_videos_per_split={videos}", f"output.path={output}")
        settings = load(None, [*words, "model.name=synthetic", f"cluster.num_workers={WORKERS}"])
        if disturbed:
            threading.Thread(target=stopwatch.kill_half, daemon=True).start()
        run_job(settings)


@click.command()
@click.option("--videos", default=400, show_default=True, help="Synthetic videos of 115 frames on average.")
def main(videos: int) -> None:
    """Measure the efficiency of a run of eight workers."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (
        patch("phoenix_ray.cluster.actors.ShardActor", ray.remote(SleepingWorker)),
        patch("phoenix_ray.cluster.run_record.RunRecord.worker_ready", autospec=True) as worker_ready,
        patch("phoenix_ray.cluster.run_record.RunRecord.shard_committed", autospec=True) as committed,
        patch("ray.init", lambda *_, init=ray.init, **options: init(num_cpus=WORKERS, **options)),
    ):
        for disturbed in (False, True):
            stopwatch = Stopwatch()
            worker_ready.side_effect, committed.side_effect = stopwatch.worker_ready, stopwatch.committed
            run(stopwatch, videos, disturbed=disturbed)
            circumstances = f"{len(stopwatch.died)} of {WORKERS} workers killed" if disturbed else "calm"
            shares = ", ".join(f"{name} {share:.1%}" for name, share in stopwatch.shares.items())
            print(f"{circumstances}: {stopwatch.frames:,} frames, efficiency {stopwatch.efficiency:.1%} ({shares})")


if __name__ == "__main__":
    main()
