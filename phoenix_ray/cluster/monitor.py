"""Listens to a driver: shows progress, keeps the failure list and the run's record, sees to it that the lease is held.

Files below `runs/<run id>/`: `status.json` (the present state, for other programs), `log` (what was told to the user),
`summary.json` (at the end, by `cluster.summary`).
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from phoenix_ray.cluster.assignment import Assignment
from phoenix_ray.cluster.blame import GivenUp, Trouble
from phoenix_ray.cluster.progress import Display, Meter, Status
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.stop import StopRequest
from phoenix_ray.cluster.worker import Receipt, Timings, WorkerInfo
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.coverage import VersionKey, version_key
from phoenix_ray.dataset.failures import FailureRecord, clear_failures, read_failures, record_failure
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import printable_line


class RunMonitor:
    """The driver's `Listener` of a run.

    Args:
        run_id: Names the run.
        storage: Of the dataset.
        lease: The run stops when another driver has taken it.
        meter: Counts frames.
        display: Shows them.
        stop: Whether the run was asked to stop.
        interval: Seconds between two `status.json`.

    Attributes:
        housekeeping: Called at each tick with the number of partitions committed so far (compaction during the run).
        timings: Seconds of all workers together.
        peak_memory_mb: Largest resident size of a worker.
        failures: Shards and videos that this run put on the failure list, and videos that were missing in the end.
        given_up_videos: Versions of videos of which this run has given up a shard.
    """

    def __init__(
        self,
        run_id: str,
        storage: Storage,
        lease: Lease,
        meter: Meter,
        display: Display,
        stop: StopRequest,
        interval: float,
    ) -> None:
        self._run_id = run_id
        self._storage = storage
        self._lease = lease
        self._meter = meter
        self._display = display
        self._stop = stop
        self._interval = interval
        self._written = time.monotonic()
        self._log: list[str] = []
        self._partitions = 0
        self._workers = 0
        self.housekeeping: Callable[[int], None] = lambda _: None
        self.timings = Timings()
        self.peak_memory_mb = 0.0
        self.failures = 0
        self.given_up_videos: set[VersionKey] = set()
        self._owed: deque[Callable[[], None]] = deque()
        self._refused = False
        self.status = meter.status(0, 0, 0)
        self._listed = self._review_failures()
        self._write_status()

    def worker_ready(self, info: WorkerInfo, ready: int) -> None:
        """Begin to count time with the first worker, and say that the run has started."""
        if not self._workers:
            self._meter.begin()
            self._meter.state = "running"
            self.status = self._meter.status(self.status.shards_waiting, self.status.shards_in_flight, ready)
            self._write_status()
        self._workers = max(self._workers, ready)
        self._note(f"worker {ready} ready on {info.node} (process {info.process})")

    def committed(self, assignment: Assignment, receipt: Receipt) -> None:
        """Count the frames, and strike the shard off the failure list if an earlier run left it there."""
        self._partitions += 1
        self.timings += receipt.timings
        self.peak_memory_mb = max(self.peak_memory_mb, receipt.peak_memory_mb)
        self._meter.add(assignment.shard.frames)
        shard = assignment.shard
        if (shard.video.split, shard.video.video_id) in self._listed:
            clear = partial(clear_failures, self._storage, shard.video.split, shard.video.video_id)
            self._write(partial(clear, shard.first, shard.last))
        for event in receipt.events:
            self._note(f"{shard}: {event}")
        if receipt.partition and receipt.partition.error:
            self._note(f"{shard}: some frames have no landmarks; the first: {receipt.partition.error}")

    def retried(self, assignment: Assignment, trouble: Trouble) -> None:
        """Log it; the user sees only what was not mended by trying again."""
        self._note(f"{assignment.shard} is tried again ({trouble.failure_class}): {trouble.message}")

    def doubled(self, assignment: Assignment) -> None:
        """Log it."""
        self._note(f"{assignment.shard} is done a second time by an idle worker; the first to commit counts")

    def outgrown(self, info: WorkerInfo, memory_mb: float) -> None:
        """Log it."""
        self._note(f"the worker on {info.node} (process {info.process}) holds {memory_mb:,.0f} MB and is replaced")

    def given_up(self, given_up: GivenUp) -> None:
        """Put the shard on the failure list."""
        shard, trouble = given_up.shard, given_up.trouble
        self.given_up_videos.add(version_key(shard.video))
        self.fail(shard.video.split, shard.video.video_id, shard.first, shard.last, trouble, given_up.attempts)

    def fail(self, split: str, video_id: str, first: int, last: int, trouble: Trouble, attempts: int) -> None:
        """Put frames of a video on the failure list and tell the user."""
        self.failures += 1
        self._meter.failures = self.failures
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
        self.tell(f"failed: {split}/{video_id}{frames} ({trouble.failure_class}): {trouble.message}")

    def spoiled(self, damaged: DamagedFile) -> None:
        """Report that a committed file proved to be damaged when it was merged."""
        self.tell(f"{damaged.name} is damaged ({damaged.reason}); its frames are computed again.")

    def lost(self, videos: int, frames: int) -> None:
        """Report that committed frames are gone, and count them once more."""
        self.tell(
            f"{videos:,} video{'s' * (videos != 1)} of the plan are not whole although they were committed: somebody "
            f"deleted or damaged files in {self._storage.root}. {frames:,} frames are computed again."
        )
        self._meter.expect(frames)
        self._workers = 0

    def missing(self, videos: int) -> None:
        """Count videos that are not there in the end: the run is not complete."""
        self.failures += 1
        self.tell(
            f"{videos:,} video{'s' * (videos != 1)} of the plan are not whole in {self._storage.root}: run again."
        )

    def tell(self, message: str) -> None:
        """Show and log a message."""
        self._display.say(message)
        self._note(message)

    def tick(self, scheduler: Scheduler, workers: int) -> None:
        """Show progress, look whether the lease is still held, and write `status.json` when it is due."""
        if self._stop:
            self._meter.state = "draining"
        self.status = self._meter.status(scheduler.waiting, scheduler.in_flight, workers)
        self._display.show(self.status)
        self._lease.confirm()
        self.housekeeping(self._partitions)
        if time.monotonic() - self._written >= self._interval:
            self._write_status()

    def compacting(self) -> None:
        """Say that shards are done and the reduce step runs."""
        self._meter.state = "compacting"
        self.status = self._meter.status(0, 0, 0)
        self._write_status()

    @property
    def compute_seconds(self) -> float:
        """From the first worker that was ready to the last frames that were committed."""
        return self._meter.seconds

    def close(self, state: str) -> Status:
        """Write the last status and leave the display."""
        self._meter.state = state
        self.status = self._meter.status(self.status.shards_waiting, self.status.shards_in_flight, self._workers)
        self._display.close(self.status)
        self._write_status()
        return self.status

    def _review_failures(self) -> set[tuple[str, str]]:
        """Return the videos on the failure list, after striking off those that an earlier run could not plan."""
        listed = read_failures(self._storage)
        for failure in listed:
            if failure.first == failure.last:
                clear_failures(self._storage, failure.split, failure.video_id, 0, 0)
        return {(failure.split, failure.video_id) for failure in listed}

    def _note(self, message: str) -> None:
        self._log.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable_line(message)}\n")

    def _write(self, action: Callable[[], None]) -> None:
        """Change something on the disk; where there is no room for it now, later, in the same order."""
        self._owed.append(action)
        try:
            while self._owed:
                self._owed[0]()
                self._owed.popleft()
            self._refused = False
        except OutputError as error:
            if not self._refused:
                self._refused = True
                self.tell(f"{error} The run goes on; what it has to write down is written as soon as that is possible.")

    def _write_status(self) -> None:
        self._written = time.monotonic()
        self._write(self._put_status)
        # What is owed to a full disk is one status, the latest.
        while self._put_status in self._owed:
            self._owed.remove(self._put_status)

    def _put_status(self) -> None:
        folder = f"{paths.RUNS}/{self._run_id}"
        self._storage.write(f"{folder}/status.json", json.dumps(asdict(self.status), indent=2).encode())
        self._storage.write(f"{folder}/log", "".join(self._log).encode())
