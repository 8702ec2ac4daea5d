from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.cluster.plan import Shard
from phoenix_ray.cluster.scheduler import MAX_INFRASTRUCTURE_RETRIES, Assignment, GivenUp, Scheduler, Trouble
from phoenix_ray.sources.base import Video

CRASH = Trouble("model", "the worker died")
NODE_GONE = Trouble("infrastructure", "node left")


def shards(count: int) -> list[Shard]:
    return [Shard(Video("train", f"v{n}", "frame_folder", "/", 10, "s"), 0, 10) for n in range(count)]


def take(scheduler: Scheduler, worker: int, now: float = 0.0) -> Assignment:
    assignment = scheduler.next_shard(worker, now)
    assert assignment is not None
    return assignment


def test_a_worker_gets_no_more_than_its_share_in_flight() -> None:
    scheduler = Scheduler(shards(5), shards_in_flight=2, max_attempts=3)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.next_shard(1, 0.0) is None
    assert scheduler.next_shard(2, 0.0) is not None


def test_shards_of_a_dead_worker_become_suspects_and_each_runs_alone() -> None:
    scheduler = Scheduler(shards(2), shards_in_flight=2, max_attempts=1)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, CRASH, 0.0) == []
    first = take(scheduler, 2)
    assert first.alone
    assert scheduler.next_shard(2, 0.0) is None
    scheduler.completed(first)
    second = take(scheduler, 2)
    assert second.alone
    scheduler.completed(second)
    assert scheduler.finished


def test_a_shard_that_kills_its_worker_alone_is_given_up_after_its_attempts() -> None:
    scheduler = Scheduler(shards(1), shards_in_flight=2, max_attempts=2)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, CRASH, 0.0) == []
    take(scheduler, 2)
    (given_up,) = scheduler.worker_lost(2, CRASH, 0.0)
    assert given_up == GivenUp(shards(1)[0], CRASH, 2)
    assert scheduler.finished


def test_a_suspect_waits_for_a_worker_to_run_empty() -> None:
    scheduler = Scheduler(shards(4), shards_in_flight=2, max_attempts=3)
    busy = take(scheduler, 1)
    scheduler.failed(take(scheduler, 2), Trouble("model", "exception"), 0.0)
    assert scheduler.next_shard(1, 0.0) is None, "worker 1 is reserved and drains"
    scheduler.completed(busy)
    assert take(scheduler, 1).alone


def test_a_lost_node_is_charged_to_nobody_and_its_shards_return_after_a_pause() -> None:
    scheduler = Scheduler(shards(2), shards_in_flight=2, max_attempts=1)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, NODE_GONE, now=100.0) == []
    assert scheduler.next_shard(2, now=100.5) is None
    assert not take(scheduler, 2, now=101.1).alone


def test_storage_that_fails_for_ever_ends_the_run() -> None:
    scheduler = Scheduler(shards(1), shards_in_flight=1, max_attempts=1)
    now, result = 0.0, None
    for _ in range(MAX_INFRASTRUCTURE_RETRIES + 1):
        now += 1_000.0
        result = scheduler.failed(take(scheduler, 1, now), NODE_GONE, now)
    assert isinstance(result, GivenUp)
    assert scheduler.finished


def test_an_assignment_is_overdue_only_after_the_shards_ahead_of_it_had_their_time() -> None:
    scheduler = Scheduler(shards(2), shards_in_flight=2, max_attempts=1)
    first, second = take(scheduler, 1), take(scheduler, 1)
    assert scheduler.overdue(now=15.0, stall_seconds=10.0) == []
    assert scheduler.overdue(now=21.0, stall_seconds=10.0) == [first, second]


def test_abandoning_keeps_what_is_in_flight() -> None:
    scheduler = Scheduler(shards(3), shards_in_flight=1, max_attempts=1)
    assignment = take(scheduler, 1)
    scheduler.abandon_waiting()
    assert not scheduler.finished
    scheduler.completed(assignment)
    assert scheduler.finished


Event = Literal["complete", "node"]


@settings(max_examples=200)
@given(
    count=st.integers(1, 12),
    poison=st.sets(st.integers(0, 11), max_size=3),
    events=st.lists(st.sampled_from(["complete", "node"]), max_size=MAX_INFRASTRUCTURE_RETRIES),
    pick=st.randoms(use_true_random=False),
)
def test_whatever_happens_each_shard_ends_once_and_no_innocent_is_given_up(
    count: int, poison: set[int], events: list[Event], pick: Callable[[], object]
) -> None:
    """Poison shards kill the worker that runs them; every other loss is the infrastructure's."""
    from random import Random

    assert isinstance(pick, Random)
    scheduler = Scheduler(shards(count), shards_in_flight=2, max_attempts=3)
    flying: dict[int, list[Assignment]] = {}
    ended: list[str] = []
    given_up: list[str] = []
    now, next_worker, workers, step = 0.0, 3, [0, 1, 2], 0
    while not scheduler.finished:
        now, step = now + 100.0, step + 1
        assert step < 5_000
        for worker in workers:
            while assignment := scheduler.next_shard(worker, now):
                flying.setdefault(worker, []).append(assignment)
        busy = [worker for worker in workers if flying.get(worker)]
        if not busy:
            continue
        worker = pick.choice(busy)
        head = flying[worker][0]
        is_poison = int(head.shard.video.video_id[1:]) in poison
        event = events.pop() if events else "complete"
        if is_poison or event == "node":
            lost = scheduler.worker_lost(worker, CRASH if is_poison else NODE_GONE, now)
            given_up += [one.shard.video.video_id for one in lost]
            flying.pop(worker)
            workers[workers.index(worker)] = next_worker
            next_worker += 1
        else:
            flying[worker].pop(0)
            scheduler.completed(head)
            ended.append(head.shard.video.video_id)
    names = [f"v{n}" for n in range(count)]
    assert sorted(ended + given_up) == sorted(names)
    assert set(given_up) <= {f"v{n}" for n in poison}


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_an_exception_is_charged_even_with_neighbours_in_flight(max_attempts: int) -> None:
    scheduler = Scheduler(shards(1), shards_in_flight=2, max_attempts=max_attempts)
    trouble = Trouble("model", "exception")
    results = [scheduler.failed(take(scheduler, 1), trouble, 0.0) for _ in range(max_attempts)]
    assert [result is None for result in results] == [True] * (max_attempts - 1) + [False]
