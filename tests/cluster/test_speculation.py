from __future__ import annotations

from phoenix_ray.cluster.shards import Assignment
from phoenix_ray.cluster.speculation import LEAST_LATE_SECONDS, Pace, choose_copy
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

VIDEO = Video("train", "v", "frame_folder", "/", 1_000, "s")


def assignment(ticket: int, frames: int = 10) -> Assignment:
    return Assignment(ticket, ticket, Shard(VIDEO, ticket * 100, ticket * 100 + frames), since=0.0)


def pace_of(seconds_per_frame: float) -> Pace:
    pace = Pace()
    pace.record(Shard(VIDEO, 0, 100), 100 * seconds_per_frame)
    return pace


def test_a_shard_is_late_by_the_pace_of_the_run_and_its_length() -> None:
    pace = pace_of(1.0)
    assert pace.is_late(Shard(VIDEO, 0, 10), 21.0)
    assert not pace.is_late(Shard(VIDEO, 0, 20), 21.0)


def test_nothing_is_late_before_the_pace_is_known_nor_in_an_instant() -> None:
    assert not Pace().is_late(Shard(VIDEO, 0, 10), 1e6)
    assert not pace_of(1e-6).is_late(Shard(VIDEO, 0, 10), LEAST_LATE_SECONDS / 2)


def test_what_waits_behind_another_comes_before_what_is_late() -> None:
    late, running, queued = assignment(1), assignment(2), assignment(3)
    runs, waits = [(99.0, running), (0.0, late)], [queued]
    assert choose_copy(runs, waits, lambda _: True, pace_of(1.0), now=100.0) == queued
    assert choose_copy(runs, waits, lambda one: one != queued, pace_of(1.0), now=100.0) == late
    assert choose_copy(runs, waits, lambda one: one not in (queued, late), pace_of(1.0), now=100.0) is None
