"""What a run says of itself at one moment: `runs/<run id>/status.json`, for people and other programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from phoenix_ray.setting_types import ShareText
from phoenix_ray.text import counted

# `status.json` is written every few seconds: what it says of workers and shards is bounded.
MOST_AT_WORK = 64
MOST_LATEST = 6
# States after which a run does nothing more.
ENDED = ("finished", "incomplete", "stopped", "failed")


@dataclass(frozen=True, slots=True)
class ShardAtWork:
    """What a worker computes at one moment.

    Attributes:
        node: Name of its machine.
        process: Its process ID there.
        split: The split of the video that it works on.
        video_id: The video.
        first: First frame of the shard.
        last: End of the shard, exclusive.
        since: Unix time at which the worker was given the shard.
    """

    node: str
    process: int
    split: str
    video_id: str
    first: int
    last: int
    since: float


@dataclass(frozen=True, slots=True)
class CommittedShard:
    """A shard whose rows are in the dataset."""

    split: str
    video_id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run at one moment: the content of `runs/<run id>/status.json`.

    Attributes:
        run_id: Names the run within its dataset.
        state: `starting`, `waiting` (for nodes), `running`, `draining`, `compacting`, `finished`, `incomplete`,
            `stopped` or `failed`.
        frames_planned: Frames this run has to compute.
        frames_done: Frames committed by this run.
        frames_committed_before: Frames that earlier runs had committed.
        shards_waiting: Shards that no worker has yet.
        shards_in_flight: Shards at a worker.
        failures: Shards on this run's failure list.
        workers: Actors that take shards.
        frames_per_second: Rate over about the last minute.
        seconds_left: Estimate, None before there is a rate.
        elapsed_seconds: Time since the first worker was ready.
        updated: Unix time of this moment.
        workers_wanted: Actors that there are to be; 0 where the run has none now.
        share: The share of the videos that the run computes (`run.share`); empty for all.
        at_work: The shards at workers, of each worker the one that it was given first; at most `MOST_AT_WORK`.
        latest: The shards that were committed last, the newest first; at most `MOST_LATEST`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    run_id: str
    state: str
    frames_planned: int
    frames_done: int
    frames_committed_before: int
    shards_waiting: int
    shards_in_flight: int
    failures: int
    workers: int
    frames_per_second: float
    seconds_left: float | None
    elapsed_seconds: float
    updated: float
    workers_wanted: int = 0
    share: ShareText = ""
    at_work: tuple[ShardAtWork, ...] = ()
    latest: tuple[CommittedShard, ...] = ()

    def line(self) -> str:
        """Return the status as one plain line."""
        share = self.frames_done / self.frames_planned if self.frames_planned else 1.0
        failed = f", {self.failures} failed" if self.failures else ""
        done = f"{share:6.1%}  {self.frames_done:,}/{self.frames_planned:,} frames"
        if self.state in ENDED:
            return f"{done}{failed}"
        if self.state == "waiting":
            return f"{done}, {self.wait()}{failed}"
        left = f", {format_seconds(self.seconds_left)} left" if self.seconds_left is not None else ""
        return f"{done}, {self.frames_per_second:,.1f} frames/s{left}, {counted(self.workers, 'worker')}{failed}"

    def wait(self) -> str:
        """Return what a run waits for that is in state `waiting`."""
        return f"waiting for nodes: {self.workers} of {counted(self.workers_wanted, 'worker')}"


def read_status(content: bytes) -> Status:
    """Return the status that a `status.json` holds.

    Raises:
        ValueError: It is damaged; the message names what is wrong, in a line.
    """
    try:
        return _STATUS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


_STATUS = TypeAdapter(Status)


def format_seconds(seconds: float) -> str:
    """Return a duration for people: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
