from __future__ import annotations

import math
from typing import Literal, cast

import pytest
from ray.exceptions import RayActorError

from phoenix_ray.cluster.actors import LOOK_SECONDS, ActorPool, PoolSize, _cause_of_failed_start, memory_limit
from phoenix_ray.cluster.session import WorkerPlan
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError


@pytest.mark.parametrize(
    ("setting", "warm_mb", "limit_mb"),
    [("auto", 200.0, 1224.0), ("auto", 2000.0, 6000.0), (800, 200.0, 800.0), (0, 200.0, math.inf)],
)
def test_a_worker_may_hold_what_is_set_or_a_multiple_of_what_it_held_at_first(
    setting: int | Literal["auto"], warm_mb: float, limit_mb: float
) -> None:
    assert memory_limit(setting, warm_mb) == limit_mb


class Pool:
    """What `PoolSize` asks of an `ActorPool`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ready: list[int] = []

    def grow(self, count: int) -> int:
        missing = max(0, count - self.count)
        self.count += missing
        return missing


class Office:
    """A `PoolSize` with a made-up pool and cluster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: ClusterSettings, planned: int) -> None:
        self.cpus = float(planned)
        self.pool = Pool(planned)
        self.said: list[str] = []
        for name in ("cluster_resources", "available_resources"):
            monkeypatch.setattr(f"ray.{name}", lambda: {"CPU": self.cpus})
        plan = WorkerPlan(planned, cpus=1.0, gpus=0.0, memory_mb=0)
        self.pool_size = PoolSize(settings, plan, cast("ActorPool", self.pool), self.said.append, now=0.0)

    def watch(self, now: float, ready: int, open_shards: int = 100) -> None:
        self.pool.ready = list(range(ready))
        self.pool_size.update(now, open_shards)


def test_workers_follow_a_cluster_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=2)
    office.watch(1.0, ready=2)
    office.cpus = 6.0
    office.watch(2.0 + LOOK_SECONDS, ready=2)
    assert office.pool.count == 6
    assert office.said == ["4 more workers: the cluster now has 6 CPU, 0 GPU."]


def test_no_more_workers_are_taken_than_there_are_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=2)
    office.watch(1.0, ready=2)
    office.cpus = 6.0
    office.watch(2.0 + LOOK_SECONDS, ready=2, open_shards=3)
    assert office.pool.count == 3


def test_a_number_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(num_workers=2), planned=2)
    office.watch(1.0, ready=2)
    office.cpus = 6.0
    office.watch(2.0 + LOOK_SECONDS, ready=2)
    assert office.pool.count == 2


def test_nodes_that_leave_take_no_workers_off_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=2)
    office.watch(1.0, ready=2)
    office.cpus = 0.0
    office.watch(2.0 + LOOK_SECONDS, ready=1)
    assert office.pool.count == 2
    assert office.said == []


def test_a_shortage_is_reported_once_when_the_wait_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(start_seconds=60), planned=3)
    for now in (1.0, 59.0, 61.0, 62.0):
        office.watch(now, ready=2)
    (said,) = office.said
    assert "2 of them started" in said


def test_a_run_without_workers_ends_after_the_time_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(start_seconds=60), planned=2)
    office.watch(59.0, ready=0)
    with pytest.raises(ClusterError, match="start_seconds"):
        office.watch(61.0, ready=0)


@pytest.mark.parametrize(("start", "stall", "named"), [(60, 300, "stall_seconds"), (300, 5, "start_seconds")])
def test_a_run_that_has_lost_all_workers_waits_for_nodes_as_long_as_for_a_shard_or_a_start(
    monkeypatch: pytest.MonkeyPatch, start: float, stall: float, named: str
) -> None:
    office = Office(monkeypatch, ClusterSettings(start_seconds=start, stall_seconds=stall), planned=2)
    office.watch(1.0, ready=2)
    office.watch(300.0, ready=0)
    with pytest.raises(ClusterError, match=named):
        office.watch(302.0, ready=0)


def test_an_actor_without_a_module_names_node_and_module_and_what_to_install() -> None:
    text = (
        "The actor died because of an error raised in its creation task, ray::ShardActor.__init__() (pid=7, "
        "ip=10.0.0.7, actor_id=0, repr=x)\nray.exceptions.RaySystemError: System error: No module named 'pyarrow.lib'"
    )
    message = _cause_of_failed_start(RayActorError(error_msg=text))
    assert "node 10.0.0.7 has no module 'pyarrow.lib'" in message
    assert "pip install CHECKOUT" in message


def test_an_actor_that_died_otherwise_is_explained_in_rays_words() -> None:
    message = _cause_of_failed_start(RayActorError(error_msg="out of memory"))
    assert "with enough memory for the model?" in message
    assert "out of memory" in message
