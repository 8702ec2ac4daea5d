from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, repeat
from unittest.mock import Mock

import pytest
import ray

from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.driver import MAX_LOSSES_IN_A_ROW, QUIET_SECONDS, Driver, Watchdog
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.shards import Assignment, Blame, SchedulerState, Trouble
from phoenix_ray.cluster.worker import Receipt, Timings
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import Settings
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import DeviceLostError
from phoenix_ray.sources.base import Video

SHARD = Shard(Video("train", "v", "frame_folder", "/", 10, "s"), 0, 10)


def test_it_is_silent_while_something_happens_and_speaks_ever_more_rarely_when_nothing_does() -> None:
    watchdog = Watchdog(0.0)
    watchdog.reset(50.0)
    spoken = [now for now in range(0, 500, 10) if watchdog.is_due(now)]
    assert spoken == [50 + QUIET_SECONDS, 50 + 2 * QUIET_SECONDS, 50 + 4 * QUIET_SECONDS]
    watchdog.reset(500.0)
    assert not watchdog.is_due(500.0 + QUIET_SECONDS - 1)
    assert watchdog.is_due(500.0 + QUIET_SECONDS)


def test_it_names_the_shard_the_pause_and_the_workers() -> None:
    oldest = Assignment(1, 1, SHARD, since=10.0)
    state = SchedulerState(waiting=5, in_flight=1, oldest=oldest, delayed=2, next_try=84.0)
    assert Watchdog(0.0).message(70.0, state, ready=1, starting=2) == (
        "Nothing was committed for 1 min 10 s. In flight: 1 shard, the longest for 1 min 00 s: train/v frames 0-9. "
        "2 shards wait for storage or nodes, the next try is in 14 s. 3 shards wait for a worker. "
        "Workers: 1 ready, 2 starting or waiting for room in the cluster."
    )


def test_it_says_nothing_of_what_there_is_none_of() -> None:
    state = SchedulerState(waiting=0, in_flight=0, oldest=None, delayed=0, next_try=None)
    assert Watchdog(0.0).message(60.0, state, 1, 0) == "Nothing was committed for 1 min 00 s. Workers: 1 ready."


LOST = Receipt(
    None,
    Trouble("model", "This process cannot use its GPU any more.", node="n1", fatal=True, device_lost=True),
    Timings(),
    0.0,
)


def make_driver(scheduler: Scheduler, pool: Mock, record: Mock) -> Driver:
    nobody, plan = Mock(), WorkerPlan(1, 1.0, 1.0, 0)
    return Driver(
        Settings(), plan, pool, lambda: Cluster({}), scheduler, record, nobody, nobody, nobody, nobody, lambda: 0.0
    )


def lose_all(driver: Driver, scheduler: Scheduler, receipts: Iterator[Receipt]) -> int:
    """Let each shard end with the next receipt until none is left; return how many were tried."""
    tried = 0
    while assignment := scheduler.next_shard(tried, 0.0):
        driver._take_receipt(next(receipts), assignment)
        tried += 1
    return tried


def test_gpus_that_are_lost_again_and_again_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda receipt: receipt)
    shards = [replace(SHARD, video=replace(SHARD.video, video_id=f"{number}")) for number in range(30)]
    scheduler, record = Scheduler(shards, 1, Blame(3, 4)), Mock()
    with pytest.raises(DeviceLostError, match=rf"{MAX_LOSSES_IN_A_ROW} times .* on n1: This process cannot"):
        lose_all(make_driver(scheduler, Mock(), record), scheduler, repeat(LOST))
    record.shard_committed.assert_not_called()


def test_gpus_that_are_lost_now_and_then_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda receipt: receipt)
    shards = [replace(SHARD, video=replace(SHARD.video, video_id=f"{number}")) for number in range(30)]
    scheduler, record, pool = Scheduler(shards, 1, Blame(3, 4)), Mock(), Mock()
    pool.has_outgrown.return_value = False
    computed = replace(LOST, trouble=None)
    tried = lose_all(make_driver(scheduler, pool, record), scheduler, cycle([LOST, LOST, computed]))
    assert tried == 90
    assert record.shard_committed.call_count == 30
    record.shard_given_up.assert_not_called()


def test_a_worker_that_lost_its_gpu_is_replaced_and_its_shard_tried_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda reference: LOST)
    scheduler = Scheduler([SHARD], 1, Blame(3, 4))
    pool, record = Mock(), Mock()
    driver = make_driver(scheduler, pool, record)
    assignment = scheduler.next_shard(1, 0.0)
    assert assignment is not None
    driver._take_receipt("reference", assignment)
    pool.replace.assert_called_once_with(1)
    assert "cannot use its GPU any more" in record.say.call_args.args[0]
    again = scheduler.next_shard(2, 0.0)
    assert again is not None
    assert again.shard == SHARD
