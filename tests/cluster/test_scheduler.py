from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.cluster.scheduler import MAX_INFRASTRUCTURE_RETRIES, Scheduler
from phoenix_ray.cluster.shards import Assignment, Blame, GivenUp, Trouble
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

CRASH = Trouble("model", "the worker died", fatal=True)
NODE_GONE = Trouble("infrastructure", "node left")


def shards(count: int) -> list[Shard]:
    return [Shard(Video("train", f"v{n}", "frame_folder", "/", 10, "s"), 0, 10) for n in range(count)]


def make(count: int, shards_in_flight: int, max_attempts: int, batch_size: int = 4) -> Scheduler:
    return Scheduler(shards(count), shards_in_flight, Blame(max_attempts, batch_size))


def take(scheduler: Scheduler, worker: int, now: float = 0.0) -> Assignment:
    assignment = scheduler.next_shard(worker, now)
    assert assignment is not None
    return assignment


def test_a_worker_gets_no_more_than_its_share_in_flight() -> None:
    scheduler = make(5, shards_in_flight=2, max_attempts=3)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.next_shard(1, 0.0) is None
    assert scheduler.next_shard(2, 0.0) is not None


def test_each_worker_with_shards_is_at_work_on_the_one_it_was_given_first() -> None:
    scheduler = make(5, shards_in_flight=2, max_attempts=3)
    second, first = take(scheduler, 2), take(scheduler, 1)
    next_of_second = take(scheduler, 2)
    assert list(scheduler.at_work()) == [first, second]
    scheduler.completed(second, 0.0)
    assert list(scheduler.at_work()) == [first, next_of_second]
    scheduler.worker_lost(1, NODE_GONE, 0.0)
    assert list(scheduler.at_work()) == [next_of_second]


def test_shards_of_a_dead_worker_become_suspects_and_each_runs_alone() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, CRASH, 0.0) == []
    first = take(scheduler, 2)
    assert first.alone
    assert scheduler.next_shard(2, 0.0) is None
    scheduler.completed(first, 0.0)
    second = take(scheduler, 2)
    assert second.alone
    scheduler.completed(second, 0.0)
    assert scheduler.finished


def test_a_shard_that_kills_its_worker_alone_is_halved_after_its_attempts() -> None:
    scheduler = make(1, shards_in_flight=2, max_attempts=2)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, CRASH, 0.0) == []
    assert take(scheduler, 2).shard == shards(1)[0]
    assert scheduler.worker_lost(2, CRASH, 0.0) == []
    halves = take(scheduler, 3), take(scheduler, 4)
    assert [(half.shard.first, half.shard.last, half.alone) for half in halves] == [(0, 4, True), (4, 10, True)]


def test_a_condemned_frame_is_assigned_with_its_reason_and_beside_other_work() -> None:
    one_frame = Shard(Video("train", "v", "frame_folder", "/", 10, "s"), 3, 4)
    scheduler = Scheduler([one_frame], 2, Blame(max_attempts=2, batch_size=4))
    for worker in (1, 2):
        take(scheduler, worker)
        assert scheduler.worker_lost(worker, CRASH, 0.0) == []
    flag = take(scheduler, 3)
    assert (flag.shard, flag.condemned, flag.alone) == (one_frame, CRASH, False)
    assert scheduler.worker_lost(3, NODE_GONE, 0.0) == [], "the flag is not written yet"
    again = take(scheduler, 4, now=10.0)
    assert again.condemned == CRASH
    scheduler.completed(again, 0.0)
    assert scheduler.finished


def test_a_searched_range_has_its_share_of_the_time_to_stall() -> None:
    scheduler = Scheduler([Shard(shards(1)[0].video, 0, 8)], 2, Blame(max_attempts=1, batch_size=4))
    take(scheduler, 1)
    scheduler.worker_lost(1, CRASH, 0.0)
    half = take(scheduler, 2)
    assert half.shard.frames == 4
    assert scheduler.overdue(now=49.0, stall_seconds=100.0) == []
    assert scheduler.overdue(now=51.0, stall_seconds=100.0) == [half]


def test_a_suspect_waits_for_a_worker_to_run_empty() -> None:
    scheduler = make(4, shards_in_flight=2, max_attempts=3)
    busy = take(scheduler, 1)
    scheduler.failed(take(scheduler, 2), Trouble("model", "exception"), 0.0)
    assert scheduler.next_shard(1, 0.0) is None, "worker 1 is reserved and drains"
    scheduler.completed(busy, 0.0)
    assert take(scheduler, 1).alone


def test_a_worker_is_idle_when_it_has_no_shard_any_more() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=3)
    assert scheduler.is_idle(1)
    first, second = take(scheduler, 1), take(scheduler, 1)
    scheduler.completed(first, 0.0)
    assert not scheduler.is_idle(1)
    scheduler.completed(second, 0.0)
    assert scheduler.is_idle(1)


def test_a_lost_node_is_charged_to_nobody_and_its_shards_return_after_a_pause() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    take(scheduler, 1)
    take(scheduler, 1)
    assert scheduler.worker_lost(1, NODE_GONE, now=100.0) == []
    assert scheduler.next_shard(2, now=100.5) is None
    assert not take(scheduler, 2, now=101.1).alone


def test_storage_that_fails_for_ever_ends_the_run() -> None:
    scheduler = make(1, shards_in_flight=1, max_attempts=1)
    now, result = 0.0, None
    for _ in range(MAX_INFRASTRUCTURE_RETRIES + 1):
        now += 1_000.0
        result = scheduler.failed(take(scheduler, 1, now), NODE_GONE, now)
    assert isinstance(result, GivenUp)
    assert scheduler.finished


def test_an_assignment_is_overdue_only_after_the_shards_ahead_of_it_had_their_time() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    first, second = take(scheduler, 1), take(scheduler, 1)
    assert scheduler.overdue(now=15.0, stall_seconds=10.0) == []
    assert scheduler.overdue(now=21.0, stall_seconds=10.0) == [first, second]


def test_abandoning_keeps_what_is_in_flight() -> None:
    scheduler = make(3, shards_in_flight=1, max_attempts=1)
    assignment = take(scheduler, 1)
    scheduler.abandon_waiting()
    assert not scheduler.finished
    scheduler.completed(assignment, 0.0)
    assert scheduler.finished


Event = Literal["complete", "node"]
Frame = tuple[str, int]


@settings(max_examples=200)
@given(
    count=st.integers(1, 8),
    poison=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 9)), max_size=5),
    events=st.lists(st.sampled_from(["complete", "node"]), max_size=MAX_INFRASTRUCTURE_RETRIES),
    pick=st.randoms(use_true_random=False),
    batch_size=st.integers(1, 12),
    max_attempts=st.integers(1, 3),
)
def test_whatever_happens_exactly_the_frames_that_kill_are_flagged_and_all_others_committed_once(
    count: int,
    poison: set[tuple[int, int]],
    events: list[Event],
    pick: Callable[[], object],
    batch_size: int,
    max_attempts: int,
) -> None:
    """Poison frames kill the worker that computes them; every other loss is the infrastructure's."""
    from random import Random

    assert isinstance(pick, Random)
    killers = {(f"v{video}", frame) for video, frame in poison if video < count}
    scheduler = make(count, 2, max_attempts, batch_size)
    flying: dict[int, list[Assignment]] = {}
    committed: list[Frame] = []
    flagged: list[Frame] = []
    now, next_worker, workers, deaths, step = 0.0, 3, [0, 1, 2], 0, 0
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
        frames = frames_of(head.shard)
        kills = head.condemned is None and not killers.isdisjoint(frames)
        event = events.pop() if events else "complete"
        if kills or event == "node":
            assert scheduler.worker_lost(worker, CRASH if kills else NODE_GONE, now) == []
            deaths += kills
            flying.pop(worker)
            workers[workers.index(worker)] = next_worker
            next_worker += 1
        else:
            flying[worker].pop(0)
            if scheduler.completed(head, now):
                (flagged if head.condemned else committed).extend(frames)
    everything = {(f"v{video}", frame) for video in range(count) for frame in range(10)}
    assert sorted(flagged) == sorted(killers)
    assert sorted(committed) == sorted(everything - killers)
    # Beside neighbours once, done twice once; whole, alone; then one death a cut (at most five levels for ten frames)
    # and the last confirmation.
    assert deaths <= len(killers) * (2 + max_attempts + 5 + 1)


def frames_of(shard: Shard) -> list[Frame]:
    return [(shard.video.video_id, frame) for frame in range(shard.first, shard.last)]


def test_a_frame_that_kills_among_500_costs_a_dozen_workers_and_that_frame_alone() -> None:
    video = Video("train", "v", "frame_folder", "/", 500, "s")
    scheduler = Scheduler([Shard(video, 0, 500)], 2, Blame(max_attempts=3, batch_size=16))
    committed: list[Frame] = []
    deaths, worker = 0, 0
    while not scheduler.finished:
        assignment = take(scheduler, worker)
        if assignment.shard.first <= 123 < assignment.shard.last and not assignment.condemned:
            assert scheduler.worker_lost(worker, CRASH, 0.0) == []
            deaths, worker = deaths + 1, worker + 1
        else:
            scheduler.completed(assignment, 0.0)
            committed += frames_of(assignment.shard)
            assert bool(assignment.condemned) == (assignment.shard.first == 123 and assignment.shard.frames == 1)
    assert sorted(committed) == [("v", frame) for frame in range(500)]
    assert deaths <= 3 + 9 + 1


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_an_exception_is_charged_even_with_neighbours_in_flight(max_attempts: int) -> None:
    scheduler = make(1, shards_in_flight=2, max_attempts=max_attempts)
    trouble = Trouble("model", "exception")
    results = [scheduler.failed(take(scheduler, 1), trouble, 0.0) for _ in range(max_attempts)]
    assert [result is None for result in results] == [True] * (max_attempts - 1) + [False]


def test_an_idle_worker_does_what_waits_behind_another_and_the_first_to_commit_counts() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    running, queued = take(scheduler, 1), take(scheduler, 1)
    copy = take(scheduler, 2)
    assert (copy.shard, copy.speculative) == (queued.shard, True)
    assert scheduler.next_shard(3, 0.0) is None, "nothing is late, and no shard is done three times"
    assert scheduler.completed(copy, 5.0)
    assert not scheduler.finished
    assert scheduler.completed(running, 6.0)
    assert scheduler.finished, "nobody waits for the worker that is slower"
    assert not scheduler.completed(queued, 7.0)


def test_a_straggler_is_done_a_second_time_once_it_is_late() -> None:
    scheduler = make(3, shards_in_flight=1, max_attempts=1)
    slow, quick, other = take(scheduler, 1), take(scheduler, 2), take(scheduler, 3)
    scheduler.completed(quick, 10.0)
    scheduler.completed(other, 10.0)
    assert scheduler.next_shard(2, 19.0) is None
    assert take(scheduler, 2, now=21.0).shard == slow.shard


def test_a_shard_done_twice_is_charged_only_when_both_have_failed() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    first, queued = take(scheduler, 1), take(scheduler, 1)
    copy = take(scheduler, 2)
    trouble = Trouble("model", "exception")
    assert scheduler.failed(copy, trouble, 1.0) is None
    scheduler.completed(first, 1.0)
    assert scheduler.in_flight == 1
    assert isinstance(scheduler.failed(queued, trouble, 2.0), GivenUp)
    assert scheduler.finished


def test_the_loss_of_one_of_two_workers_leaves_the_shard_to_the_other() -> None:
    scheduler = make(2, shards_in_flight=2, max_attempts=1)
    first, queued = take(scheduler, 1), take(scheduler, 1)
    copy = take(scheduler, 2)
    assert scheduler.worker_lost(1, NODE_GONE, 0.0) == []
    assert (scheduler.waiting, scheduler.in_flight) == (1, 1), "only the one that is not done twice waits"
    assert scheduler.completed(copy, 1.0)
    assert queued.shard == copy.shard
    assert take(scheduler, 2, now=10.0).shard == first.shard


def test_a_worker_retires_when_its_queue_is_empty() -> None:
    scheduler = make(2, shards_in_flight=1, max_attempts=1)
    assignment = take(scheduler, 1)
    assert not scheduler.retire(1)
    scheduler.completed(assignment, 0.0)
    assert scheduler.retire(1)
    assert take(scheduler, 2).shard != assignment.shard


def test_the_state_says_what_a_run_waits_for() -> None:
    scheduler = make(3, shards_in_flight=1, max_attempts=1)
    take(scheduler, 1, now=1.0)
    oldest = take(scheduler, 2, now=2.0)
    scheduler.worker_lost(1, NODE_GONE, 3.0)
    state = scheduler.state()
    assert (state.waiting, state.in_flight, state.oldest, state.delayed) == (2, 1, oldest, 1)
    assert state.next_try == 4.0
