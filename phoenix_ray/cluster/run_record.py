"""The record of a run: what it shows on the screen, exports as metrics, and writes beside the data while it goes on.

Files below `runs/<run id>/`: `status.json` (the present state, for other programs) and `log` (what happened, with
times); `cluster.summary` writes `summary.json` at the end. It also keeps the dataset's failure list up to date.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from itertools import islice

from phoenix_ray.cluster.metrics import Export, RunMetrics
from phoenix_ray.cluster.progress import Display, Level, Meter
from phoenix_ray.cluster.shards import Assignment, GivenUp, Trouble
from phoenix_ray.cluster.status import MOST_AT_WORK, MOST_LATEST, CommittedShard, ShardAtWork, Status
from phoenix_ray.cluster.worker import Receipt, Timings, WorkerInfo
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import FailureRecord, clear_failures, read_failures, record_failure
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.shards import VersionKey, version_key
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import counted, printable_line


class RunRecord:
    """Progress, log and failures of a run. It only records: the driver and the job decide.

    Args:
        run_id: Names the run.
        storage: The dataset.
        meter: Counts frames.
        display: Shows them.
        interval: Seconds between two writes of `status.json`.
        export: Takes the run's metrics; None hands them to Ray.
        share: The videos that the run computes; None is all of them. It leaves the failures of others on the list.

    Attributes:
        partitions: Shards that were committed so far.
        timings: Seconds of all workers together.
        node_timings: Node → seconds of its workers.
        peak_memory_mb: Largest resident size of a worker.
        failures: Shards and videos that this run put on the failure list, and videos that were missing in the end.
        given_up_videos: Versions of videos of which this run has given up a shard.
    """

    def __init__(
        self,
        run_id: str,
        storage: Storage,
        meter: Meter,
        display: Display,
        interval: float,
        export: Export | None = None,
        share: Share | None = None,
    ) -> None:
        self._run_id = run_id
        self._storage = storage
        self._meter = meter
        self._display = display
        self._interval = interval
        self._share = share
        self._written = time.monotonic()
        self._log: list[str] = []
        self._metrics = RunMetrics(run_id, self._note, export)
        self._workers = 0
        self._latest: deque[CommittedShard] = deque(maxlen=MOST_LATEST)
        self.partitions = 0
        self.timings = Timings()
        self.node_timings: dict[str, Timings] = {}
        self.peak_memory_mb = 0.0
        self.failures = 0
        self.given_up_videos: set[VersionKey] = set()
        self._owed: deque[Callable[[], None]] = deque()
        self._storage_refuses = False
        self.status = meter.status(0, 0, 0)
        self._listed = self._review_failures()
        self._write_status()

    def worker_ready(self, info: WorkerInfo, ready: int) -> None:
        """Called when an actor has loaded the model; with it `ready` actors take shards. The first starts the clock."""
        if not self._workers:
            self._meter.begin()
            self._meter.state = "running"
            self.status = self._meter.status(self.status.shards_waiting, self.status.shards_in_flight, ready)
            self._write_status()
        self._workers = max(self._workers, ready)
        self._note(f"worker {ready} ready on {info.node} (process {info.process}): {info.kernels}")

    def shard_committed(self, assignment: Assignment, receipt: Receipt) -> None:
        """Called when a shard is committed, once for each: not for a copy that was slower."""
        self.partitions += 1
        self.timings += receipt.timings
        self.node_timings[receipt.node] = self.node_timings.get(receipt.node, Timings()) + receipt.timings
        self.peak_memory_mb = max(self.peak_memory_mb, receipt.peak_memory_mb)
        self._meter.add(assignment.shard.frames)
        self._metrics.shard_committed(receipt)
        shard = assignment.shard
        self._latest.appendleft(CommittedShard(shard.video.split, shard.video.video_id, shard.first, shard.last))
        if (shard.video.split, shard.video.video_id) in self._listed:
            clear = partial(clear_failures, self._storage, shard.video.split, shard.video.video_id)
            self._write(partial(clear, shard.first, shard.last))
        for event in receipt.events:
            self._note(f"{shard}: {event}")
        if receipt.partition and receipt.partition.error:
            self._note(f"{shard}: some frames have no landmarks; the first: {receipt.partition.error}")

    def shard_retried(self, assignment: Assignment, trouble: Trouble) -> None:
        """Called when a worker reports that a shard failed, and the shard will be tried again.

        It is only logged; the user sees what was not repaired by trying again.
        """
        self._metrics.shard_retried(trouble.failure_class)
        self._note(f"{assignment.shard} is tried again ({trouble.failure_class}): {trouble.message}")

    def shard_copied(self, assignment: Assignment) -> None:
        """Called when an idle worker is given a speculative copy of a shard."""
        self._note(f"{assignment.shard} is done a second time by an idle worker; the first to commit counts")

    def workers_let_go(self, count: int) -> None:
        """Called when workers with nothing to do are given up because fewer shards than workers are left."""
        self._note(f"{counted(count, 'worker')} with nothing to do let go, so that nodes can go")

    def worker_outgrown(self, info: WorkerInfo, memory_mb: float) -> None:
        """Called when a worker gets no more shards, and will be replaced, because of the memory it holds."""
        self._note(f"the worker on {info.node} (process {info.process}) holds {memory_mb:,.0f} MB and is replaced")

    def shard_given_up(self, given_up: GivenUp) -> None:
        """Called when a shard will not be tried again in this run."""
        shard, trouble = given_up.shard, given_up.trouble
        self.given_up_videos.add(version_key(shard.video))
        self.add_failure(shard.video.split, shard.video.video_id, shard.first, shard.last, trouble, given_up.attempts)
        if rest := given_up.rest:
            message = (
                f"Not tried: in mode tracking these frames follow those before them, and frames {shard.first}-"
                f"{shard.last - 1} failed. The next run goes on there."
            )
            self.add_failure(
                rest.video.split, rest.video.video_id, rest.first, rest.last, replace(trouble, message=message), 0
            )

    def chain_broken(self, assignment: Assignment, reached: int) -> None:
        """Called when a worker found no state to begin a shard with, so that frames from `reached` on come first."""
        shard = assignment.shard
        self._note(f"{shard} waits: the state before it is lost, and frames {reached}-{shard.first - 1} are done again")
        self._meter.expect(shard.first - reached)

    def add_failure(self, split: str, video_id: str, first: int, last: int, trouble: Trouble, attempts: int) -> None:
        """Put frames of a video on the failure list, 0 to 0 for a video that cannot be planned, and say so."""
        self.failures += 1
        self._meter.failures = self.failures
        self._metrics.failed(trouble.failure_class)
        record = FailureRecord(
            split=split,
            video_id=video_id,
            first=first,
            last=last,
            failure_class=trouble.failure_class,
            message=trouble.message,
            node=trouble.node,
            attempts=attempts,
            traceback=trouble.traceback,
            run_id=self._run_id,
            time=time.time(),
        )
        self._write(partial(record_failure, self._storage, record))
        frames = f" frames {first}-{last - 1}" if last else ""
        message = f"failed: {split}/{video_id}{frames} ({trouble.failure_class}): {trouble.message}"
        self.say(message, "error", "failure")

    def file_damaged(self, damaged: DamagedFile) -> None:
        """Called when a committed file proves to be damaged while it is merged."""
        self.say(f"{damaged.name} is damaged ({damaged.reason}); its frames are computed again.", "warning")

    def rows_lost(self, videos: int, frames: int) -> None:
        """Called when committed frames of some videos are gone, and are about to be computed once more."""
        self.say(
            f"{counted(videos, 'video')} of the plan are not whole although they were committed: somebody deleted or "
            f"damaged files in {self._storage.root}. {frames:,} frames are computed again.",
            "warning",
        )
        self._meter.expect(frames)
        self._workers = 0

    def videos_missing(self, videos: int) -> None:
        """Called when videos are not there in the end, so that the run is not complete."""
        self.failures += 1
        self._metrics.failed("missing")
        self.say(f"{counted(videos, 'video')} of the plan are not whole in {self._storage.root}: run again.", "error")

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Show and log a message."""
        self._display.say(message, level, event)
        self._note(message)

    def update(
        self,
        waiting: int,
        in_flight: int,
        workers: int,
        *,
        wanted: int,
        waits_for_nodes: bool,
        draining: bool,
        at_work: Callable[[], Iterable[ShardAtWork]],
    ) -> None:
        """Show progress, and write `status.json` when it is due; the driver's loop calls it about twice a second.

        `at_work` is called for a `status.json`, because it takes time with many workers.
        """
        if draining:
            self._meter.state = "draining"
        self.status = self._meter.status(waiting, in_flight, workers, wanted, waits_for_nodes=waits_for_nodes)
        self._metrics.progress(self.status)
        self._display.show(self.status)
        if time.monotonic() - self._written >= self._interval:
            self.status = replace(self.status, at_work=tuple(islice(at_work(), MOST_AT_WORK)))
            self._write_status()

    def compaction_begins(self) -> None:
        """Called when all shards are done and the reduce step begins."""
        self._meter.state = "compacting"
        self.status = self._meter.status(0, 0, 0)
        self._write_status()

    @property
    def most_workers(self) -> int:
        """The most actors that took shards at once."""
        return self._workers

    @property
    def compute_seconds(self) -> float:
        """From the first worker that was ready to the last frames that were committed."""
        return self._meter.seconds

    def close(self, state: str) -> Status:
        """Write the last status, close the display, and return the status."""
        self._meter.state = state
        self.status = self._meter.status(self.status.shards_waiting, self.status.shards_in_flight, self._workers)
        self._metrics.close()
        self._display.close(self.status)
        self._write_status()
        return self.status

    def _review_failures(self) -> set[tuple[str, str]]:
        """Return the videos on the failure list, and take those off it that an earlier run could not plan."""
        share = self._share
        listed = [
            failure
            for failure in read_failures(self._storage)
            if share is None or share.holds(failure.split, failure.video_id)
        ]
        for failure in listed:
            if failure.first == failure.last:
                clear_failures(self._storage, failure.split, failure.video_id, 0, 0)
        return {(failure.split, failure.video_id) for failure in listed}

    def _note(self, message: str) -> None:
        self._log.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable_line(message)}\n")

    def _write(self, action: Callable[[], None]) -> None:
        """Write something now, or later in the same order where the storage has no room for it now."""
        self._owed.append(action)
        try:
            while self._owed:
                self._owed[0]()
                self._owed.popleft()
            self._storage_refuses = False
        except OutputError as error:
            if not self._storage_refuses:
                self._storage_refuses = True
                later = "The run goes on; what it has to write down is written as soon as that is possible."
                self.say(f"{error} {later}", "warning")

    def _write_status(self) -> None:
        self._written = time.monotonic()
        self._write(self._put_status)
        # Of the statuses that a full disk did not take, only the latest matters.
        while self._put_status in self._owed:
            self._owed.remove(self._put_status)

    def _put_status(self) -> None:
        folder = f"{paths.RUNS}/{self._run_id}"
        status = replace(self.status, latest=tuple(self._latest))
        self._storage.write(f"{folder}/status.json", json.dumps(asdict(status), indent=2).encode())
        self._storage.write(f"{folder}/log", "".join(self._log).encode())
