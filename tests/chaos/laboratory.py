"""Where faults are tried: a small dataset, a cluster of three nodes, runs as processes, and the judge.

The cluster outlives the runs, so that hundreds of them fit into half an hour; a run is a process of its own, forked
from a server that has imported the package.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import read_failures
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.verify.verification import VideoFilter, against_recomputation
from tests.chaos.disturbed import run_disturbed
from tests.chaos.faults import Fault, faults_file, write_faults
from tests.chaos.outputs import SCRATCH, Output

VIDEOS = {("train", "1"): 48, ("train", "2"): 30, ("train", "3"): 9, ("dev", "4"): 21, ("test", "5"): 36}
FRAMES = sum(VIDEOS.values())
SHARD_FRAMES, BATCH_SIZE = 16, 4
# Runs here take some ten seconds on a busy machine; one that takes this long has lost its way.
RUN_SECONDS = 120.0
# The same of runs that last longer than a lease counts without a heartbeat.
LONG_RUN_SECONDS = 300.0
REPOSITORY = Path(__file__).parents[2]

FrameKey = tuple[str, str, int]


@dataclass
class Run:
    """A `phoenix-ray run` in a process."""

    process: ForkServerProcess
    log: Path
    began: float = field(default_factory=time.monotonic)

    def wait(self, seconds: float = RUN_SECONDS) -> int:
        """Return the exit code; minus the signal that killed it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"the run did not end within {seconds:g} s; it said:\n{self.said()}")
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)


class Laboratory:
    """Give it up with `close`.

    Args:
        cluster: Three nodes, one of them a head without CPUs: has an `address` and a `shutdown`.
        runs_on: Network namespace of the drivers, if not the machine's own.
        mode: The setting `model.mode` of all runs.
    """

    def __init__(self, cluster: Any, runs_on: str = "", mode: str = "static") -> None:
        self.cluster = cluster
        self.mode = mode
        self._runs_on = runs_on
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=SCRATCH))
        self.pictures = write_pictures(self.folder / "pictures")
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["tests.chaos.disturbed", "phoenix_ray.cluster.job"])
        self._runs: list[Run] = []
        self._number = 0

    def run_undisturbed(self) -> None:
        """Compute what every disturbed run is compared with."""
        began = time.monotonic()
        self.clean = self.new_output("clean")
        run = self.start(self.clean)
        assert run.wait() == 0, f"the undisturbed run failed; it said:\n{run.said()}"
        self.clean_seconds = time.monotonic() - began
        self.digest = dataset_of(self.clean).digest()
        self.rows = rows_of(self.clean)

    def close(self) -> None:
        for run in self._runs:
            if run.process.is_alive():
                run.process.kill()
        self.cluster.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_output(self, name: str) -> Output:
        self._number += 1
        return self.output_named(f"{name}-{self._number}")

    def output_named(self, name: str) -> Output:
        path = str(self.folder / name)
        return Output(path, LocalStorage(path))

    def start(self, output: Output, *words: str, faults: Sequence[Fault] = (), address: str = "") -> Run:
        """Start a run that meets faults."""
        write_faults(output.path, faults)
        return self.start_again(output, *words, address=address)

    def start_again(self, output: Output, *words: str, address: str = "") -> Run:
        """Start a run that meets what is left of the faults of the one before, which may still be at work."""
        words = (
            f"source.path={self.pictures}",
            f"output.path={output.path}",
            "model.name=synthetic",
            f"model.mode={self.mode}",
            f"model.batch_size={BATCH_SIZE}",
            f"cluster.shard_frames={SHARD_FRAMES}",
            f"cluster.address={address or self.cluster.address}",
            "cluster.max_attempts=2",
            *words,
        )
        arguments = (words, str(output.log), self._runs_on, dict(os.environ))
        process = self._forks.Process(target=run_disturbed, args=arguments)
        process.start()
        self._runs.append(Run(process, output.log))
        return self._runs[-1]

    def dispose(self, output: Output) -> None:
        """Remove what a trial left; keep the laboratory small."""
        output.remove()
        for path in (faults_file(output.path), output.log):
            path.unlink(missing_ok=True)
        shutil.rmtree(faults_file(output.path).with_suffix(".tokens"), ignore_errors=True)

    def renew_nodes(self) -> None:
        """Bring the cluster back to two nodes beside the head."""
        alive = [node for node in self.cluster.list_all_nodes() if node is not self.cluster.head_node]
        for node in alive[2:]:
            self.cluster.remove_node(node, allow_graceful=False)
        for _ in range(2 - len(alive)):
            self.cluster.add_node(num_cpus=1)
        self.cluster.wait_for_nodes()


def on_this_machine(mode: str = "static") -> Laboratory:
    """Return a laboratory whose nodes are all at this machine's address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=head_arguments())
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    return Laboratory(cluster, mode=mode)


def head_arguments() -> dict[str, Any]:
    # Workers started ahead for every run would take longer than the run.
    no_prestart = {"enable_worker_prestart": False, "prestart_worker_first_driver": False}
    return {"num_cpus": 0, "include_dashboard": False, "_system_config": no_prestart}


def write_pictures(root: Path) -> Path:
    """Write the videos. The first pixel of a frame names it: video, frame."""
    random = np.random.default_rng(3)
    for (split, video_id), count in VIDEOS.items():
        folder = root / split / video_id
        folder.mkdir(parents=True)
        for index in range(count):
            picture = random.integers(0, 256, (26, 21, 3), dtype=np.uint8)
            picture[0, 0] = (0, index, int(video_id))
            cv2.imwrite(str(folder / f"{index}.png"), picture)
    return root


def wait_until(condition: Callable[[], bool], run: Run, seconds: float = 60.0) -> bool:
    """Wait for a condition; return false when the run ended before it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if not run.process.is_alive():
            return False
        assert time.monotonic() < deadline, f"what was waited for did not happen; the run said:\n{run.said()}"
        time.sleep(0.01)
    return True


def partitions(output: Output) -> list[str]:
    return output.names("partitions", ".parquet")


def data_files(output: Output) -> list[str]:
    return output.names("data", ".parquet")


def dataset_of(output: Output) -> Dataset:
    return Dataset(output.storage, read_identity(output.storage))


def actor_processes() -> list[psutil.Process]:
    """Return the living workers of disturbed runs on this machine: Ray shows their class in the command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("ray::DisturbedWorker" in word for word in process.info["cmdline"] or [])
    ]


def rows_of(output: Output) -> dict[FrameKey, dict[str, Any]]:
    """Return the rows below `data` by frame, as plain Parquet shows them."""
    return {(row["split"], row["video_id"], row["frame_index"]): row for row in _table(output).to_pylist()}


def _table(output: Output) -> pa.Table:
    contents = [pa.BufferReader(output.storage.read(name)) for name in data_files(output)]
    return pa.concat_tables([pq.read_table(content) for content in contents]) if contents else pa.table({})


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a dataset after a fault and a rerun."""

    lost: int
    twice: int
    complaints: tuple[str, ...]


def judge(laboratory: Laboratory, output: Output, flagged: frozenset[FrameKey]) -> Judgement:
    """Compare a finished dataset with the undisturbed one.

    Args:
        laboratory: Has the undisturbed one.
        output: The dataset.
        flagged: Frames that must have status `failed`; all others must have their landmarks, bit for bit. In mode
            tracking those after them must have what a recomputation finds.
    """
    complaints = []
    rows = rows_of(output)
    counts = (
        Counter(zip(*(_table(output).column(name).to_pylist() for name in _KEY), strict=True)) if rows else Counter()
    )
    lost = laboratory.rows.keys() - rows.keys()
    twice = [key for key, count in counts.items() if count > 1]
    failed = {key for key, row in rows.items() if row["status"] == "failed"}
    if failed != flagged:
        complaints.append(f"flagged are {sorted(failed)}, not {sorted(flagged)}")
    tracked = laboratory.mode == "tracking"
    excused = {key for key in laboratory.rows if key in flagged or (tracked and follows_any(key, flagged))}
    if moved := [key for key, row in laboratory.rows.items() if key not in excused and rows.get(key) != row]:
        complaints.append(f"{len(moved)} rows differ, {moved[0]} is the first")
    if excused != flagged:
        compared = against_recomputation(output.path, VideoFilter(), None, "", ()).compare()
        complaints += [f"{found.video_id} is recomputed as other landmarks" for found in compared if found.differences]
    dataset, storage = dataset_of(output), output.storage
    if not flagged and dataset.digest() != laboratory.digest:
        complaints.append("the digest differs")
    manifest = read_manifest(storage, dataset.identity)
    if manifest.tally.rows != FRAMES:
        complaints.append(f"the manifest counts {manifest.tally.rows} rows")
    if listed := read_failures(storage):
        complaints.append(f"still on the failure list: {listed[0]}")
    known = {paths.IDENTITY, paths.VIDEOS, paths.CARD, *manifest.names}
    left = {file.name for file in storage.list("") if paths.manifest_generation(file.name) is None} - known
    if orphans := sorted(name for name in left if not name.startswith(f"{paths.RUNS}/") or "/.tmp-" in name):
        complaints.append(f"orphans: {orphans}")
    deadline = time.monotonic() + 10
    while actor_processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    if actor_processes():
        complaints.append("workers outlived their run")
    return Judgement(len(lost), len(twice), tuple(complaints))


def follows_any(key: FrameKey, frames: frozenset[FrameKey]) -> bool:
    """Whether a frame comes after one of some frames, in the same video."""
    return any(key[:2] == earlier[:2] and key[2] > earlier[2] for earlier in frames)


_KEY = ("split", "video_id", "frame_index")


@contextmanager
def open_laboratory(make: Callable[[], Laboratory]) -> Iterator[Laboratory]:
    # Nodes and their workers find this package below the repository, wherever the tests were started.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    laboratory = make()
    try:
        laboratory.run_undisturbed()
        yield laboratory
    finally:
        laboratory.close()
