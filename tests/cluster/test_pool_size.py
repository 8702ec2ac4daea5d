from __future__ import annotations

from typing import cast

import pytest

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.autoscaler import START_SECONDS, START_SECONDS_OF_NEW_NODES, Cluster
from phoenix_ray.cluster.pool_size import LOOK_SECONDS, SPARE_WORKERS, PoolSize
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError


class Pool:
    """What `PoolSize` asks of an `ActorPool`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ready: list[int] = []

    def __len__(self) -> int:
        return self.count

    def grow(self, count: int) -> int:
        missing = max(0, count - self.count)
        self.count += missing
        return missing


class Office:
    """A `PoolSize` with a made-up pool and cluster."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        settings: ClusterSettings,
        planned: int,
        cpus: float | None = None,
        autoscales: bool = False,
    ) -> None:
        self.cpus = float(planned) if cpus is None else cpus
        self.autoscales = autoscales
        self.pool = Pool(planned)
        self.said: list[str] = []
        for name in ("cluster_resources", "available_resources"):
            monkeypatch.setattr(f"ray.{name}", lambda: {"CPU": self.cpus})
        plan = WorkerPlan(planned, cpus=1.0, gpus=0.0, memory_mb=0)
        pool = cast("ActorPool", self.pool)
        self.pool_size = PoolSize(settings, plan, pool, self.look, self.said.append, now=0.0)

    def look(self) -> Cluster:
        return Cluster({"CPU": self.cpus}, self.autoscales)

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


def test_a_head_without_cpus_is_waited_for_longer_and_its_nodes_are_used_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=1, cpus=0.0)
    assert office.pool_size.waits_for_nodes
    assert office.said == [
        "Waiting for nodes: the cluster has 0 CPU, 0 GPU, too little for a worker. The run waits up to 20 min 00 s "
        "(cluster.start_seconds)."
    ]
    office.watch(START_SECONDS + 1, ready=0)
    office.cpus = 4.0
    office.watch(START_SECONDS_OF_NEW_NODES - 1, ready=0)
    assert office.pool.count == 4
    assert not office.pool_size.waits_for_nodes
    with pytest.raises(ClusterError, match=r"No worker for 1201 s \(cluster\.start_seconds\)"):
        office.watch(START_SECONDS_OF_NEW_NODES + 1, ready=0)


def test_time_that_passes_without_a_node_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(start_seconds=30.0), planned=4, cpus=0.0, autoscales=True)
    with pytest.raises(ClusterError, match="No node that could hold one has come: `ray status` on the head says why"):
        office.watch(31.0, ready=0)


def test_more_workers_wait_for_an_autoscaler_as_long_as_there_is_work_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=8, cpus=2.0, autoscales=True)
    office.watch(1.0, ready=2, open_shards=120)
    office.watch(2.0 + LOOK_SECONDS, ready=2, open_shards=1600)
    assert office.pool.count == 100
    office.watch(3.0 + 2 * LOOK_SECONDS, ready=2, open_shards=16)
    assert office.pool.count == 100
    assert office.said == ["92 more workers: the cluster now has 2 CPU, 0 GPU."], "a guess that fails is no shortage"


def test_a_number_that_an_autoscaler_does_not_bring_is_reported_when_the_wait_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ClusterSettings(num_workers=4, start_seconds=60.0)
    office = Office(monkeypatch, settings, planned=4, cpus=2.0, autoscales=True)
    office.watch(59.0, ready=2)
    assert office.said == []
    office.watch(61.0, ready=2)
    (said,) = office.said
    assert "2 of them started" in said
    assert "Its autoscaler brought no more nodes" in said


@pytest.mark.parametrize(("autoscales", "surplus"), [(True, 5 - SPARE_WORKERS), (False, 0)])
def test_an_autoscaler_gets_back_what_no_shard_is_left_for(
    monkeypatch: pytest.MonkeyPatch, autoscales: bool, surplus: int
) -> None:
    office = Office(monkeypatch, ClusterSettings(), planned=8, autoscales=autoscales)
    assert office.pool_size.surplus(open_shards=8) == 0
    assert office.pool_size.surplus(open_shards=3) == surplus


def test_a_worker_that_was_let_go_too_early_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, ClusterSettings(num_workers=4), planned=4, autoscales=True)
    office.watch(1.0, ready=4)
    office.pool.count = 2
    office.watch(2.0 + LOOK_SECONDS, ready=2, open_shards=3)
    assert office.pool.count == 3


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
