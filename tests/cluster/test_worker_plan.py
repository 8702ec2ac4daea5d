from __future__ import annotations

import pytest

from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.worker_plan import (
    MOST_WAITING_WORKERS,
    SHARDS_FOR_A_NEW_WORKER,
    WorkerPlan,
    plan_workers,
    require_spare_cpu,
    shortage,
    workers_wanted,
)
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError

EIGHT_GPUS = {"CPU": 64.0, "GPU": 8.0}


def test_a_cpu_engine_gets_one_actor_a_cpu() -> None:
    assert plan_workers(ClusterSettings(), {"CPU": 4.0}, engine_uses_gpu=False) == WorkerPlan(4, 1.0, 0.0, 0)


def test_a_gpu_engine_gets_one_actor_a_gpu() -> None:
    assert plan_workers(ClusterSettings(), EIGHT_GPUS, engine_uses_gpu=True) == WorkerPlan(8, 1.0, 1.0, 0)


def test_workers_per_gpu_shares_each_gpu() -> None:
    plan = plan_workers(ClusterSettings(workers_per_gpu=4), EIGHT_GPUS, engine_uses_gpu=True)
    assert (plan.count, plan.gpus) == (32, 0.25)


def test_a_gpu_engine_without_gpus_runs_on_cpus() -> None:
    assert plan_workers(ClusterSettings(), {"CPU": 3.0}, engine_uses_gpu=True).gpus == 0


def test_gpus_asked_for_are_reserved_whatever_the_engine() -> None:
    assert plan_workers(ClusterSettings(num_gpus=2), EIGHT_GPUS, engine_uses_gpu=False) == WorkerPlan(2, 1.0, 1.0, 0)


def test_a_cpu_engine_leaves_gpus_alone() -> None:
    assert plan_workers(ClusterSettings(), EIGHT_GPUS, engine_uses_gpu=False).gpus == 0


def test_a_number_of_workers_is_taken_as_asked() -> None:
    assert plan_workers(ClusterSettings(num_workers=3), EIGHT_GPUS, engine_uses_gpu=True).count == 3


@pytest.mark.parametrize(
    ("settings", "cluster"),
    [
        (ClusterSettings(num_gpus=1), {"CPU": 4.0}),
        (ClusterSettings(cpus_per_worker=8), {"CPU": 4.0}),
        (ClusterSettings(), {}),
    ],
)
def test_a_cluster_that_can_never_hold_a_worker_is_refused_with_both_sides(
    settings: ClusterSettings, cluster: dict[str, float]
) -> None:
    with pytest.raises(ClusterError, match=r"each needs .* the cluster has"):
        plan_workers(settings, cluster, engine_uses_gpu=False)


def test_memory_is_reserved_only_when_asked() -> None:
    assert "memory" not in WorkerPlan(1, 1.0, 0.0, 0).actor_options()
    assert WorkerPlan(1, 1.0, 0.0, 2).actor_options()["memory"] == 2 * 1024 * 1024


def test_a_shortage_names_what_was_asked_and_what_is_there() -> None:
    message = shortage(WorkerPlan(8, 2.0, 0.5, 0), 6, Cluster({"CPU": 12.0, "GPU": 3.0}))
    assert "8 workers with 2 CPU, 0.5 GPU each; 6 of them" in message
    assert "12 CPU and 3 GPU" in message


@pytest.mark.parametrize(
    ("plan", "cluster", "capacity"),
    [
        (WorkerPlan(8, 2.0, 0.0, 0), {"CPU": 12.0}, 6),
        (WorkerPlan(8, 2.0, 0.5, 0), {"CPU": 12.0, "GPU": 2.0}, 4),
        (WorkerPlan(3, 1.0, 0.0, 0), {"CPU": 12.0}, 3),
        (WorkerPlan(3, 0.0, 0.0, 0), {"CPU": 1.0}, 3),
        (WorkerPlan(3, 1.0, 1.0, 0), {"CPU": 12.0}, 0),
    ],
)
def test_a_cluster_holds_as_many_workers_as_its_scarcest_resource(
    plan: WorkerPlan, cluster: dict[str, float], capacity: int
) -> None:
    assert plan.capacity(cluster) == capacity


def test_decoding_apart_needs_a_cpu_that_no_worker_reserves() -> None:
    require_spare_cpu(WorkerPlan(8, 1.0, 1.0, 0), ClusterSettings(), Cluster(EIGHT_GPUS))
    with pytest.raises(ClusterError, match=r"8 of the cluster's 8 CPU.*decode\.on=workers"):
        require_spare_cpu(WorkerPlan(8, 1.0, 0.0, 0), ClusterSettings(), Cluster({"CPU": 8.0}))


def test_nodes_may_come_for_decoding_apart_but_not_beside_workers_that_take_them_all() -> None:
    some, every = ClusterSettings(num_workers=2), ClusterSettings()
    require_spare_cpu(WorkerPlan(2, 1.0, 0.0, 0), some, Cluster({}, autoscales=True))
    require_spare_cpu(WorkerPlan(2, 1.0, 1.0, 0), every, Cluster({}, autoscales=True))
    with pytest.raises(ClusterError, match=r"decode\.on=cpu_nodes needs a CPU"):
        require_spare_cpu(WorkerPlan(2, 1.0, 0.0, 0), every, Cluster({}, autoscales=True))
    with pytest.raises(ClusterError, match="4 of the cluster's 4 CPU"):
        require_spare_cpu(WorkerPlan(4, 1.0, 0.0, 0), some, Cluster({}, autoscales=True, maximum={"CPU": 4.0}))


def wanted(settings: ClusterSettings, cluster: Cluster, shards: int, *, gpu: bool = False) -> tuple[int, float]:
    plan = workers_wanted(settings, cluster, shards, engine_uses_gpu=gpu)
    return plan.count, plan.gpus


@pytest.mark.parametrize("cluster", [Cluster({}), Cluster({}, autoscales=True)], ids=["a bare head", "an autoscaler"])
def test_a_number_of_workers_is_asked_for_where_there_is_no_node_yet(cluster: Cluster) -> None:
    assert wanted(ClusterSettings(num_workers=4), cluster, 1000) == (4, 0.0)
    assert wanted(ClusterSettings(num_workers=4), cluster, 3) == (3, 0.0)
    assert wanted(ClusterSettings(num_workers=4, num_gpus=2), cluster, 1000) == (4, 1.0)


def test_auto_asks_for_one_worker_beside_a_bare_head_and_for_all_gpus_that_are_named() -> None:
    assert wanted(ClusterSettings(), Cluster({}), 1000) == (1, 0.0)
    assert wanted(ClusterSettings(cpus_per_worker=4), Cluster({}), 1000) == (1, 0.0)
    assert wanted(ClusterSettings(num_gpus=8, workers_per_gpu=2), Cluster({}), 1000) == (16, 0.5)
    assert wanted(ClusterSettings(), Cluster({}), 1000, gpu=True) == (1, 1.0)


def test_auto_asks_an_autoscaler_for_workers_for_which_there_is_work() -> None:
    here = Cluster({"CPU": 4.0}, autoscales=True)
    assert wanted(ClusterSettings(), here, 3)[0] == 3
    assert wanted(ClusterSettings(), here, 4 * SHARDS_FOR_A_NEW_WORKER)[0] == 4
    assert wanted(ClusterSettings(), here, 20 * SHARDS_FOR_A_NEW_WORKER)[0] == 20
    assert wanted(ClusterSettings(), here, 10**6)[0] == 4 + MOST_WAITING_WORKERS


def test_auto_asks_for_no_more_than_the_most_that_may_come() -> None:
    bounded = Cluster({"CPU": 4.0}, autoscales=True, maximum={"CPU": 16.0})
    assert wanted(ClusterSettings(), bounded, 10**6)[0] == 16
    assert wanted(ClusterSettings(), bounded, 8 * SHARDS_FOR_A_NEW_WORKER)[0] == 8
    gpus = Cluster({}, autoscales=True, maximum={"CPU": 64.0, "GPU": 4.0})
    assert wanted(ClusterSettings(workers_per_gpu=2), gpus, 10**6, gpu=True) == (8, 0.5)
    assert wanted(ClusterSettings(num_gpus=2), Cluster({}, autoscales=True), 10**6, gpu=True) == (2, 1.0)


def test_a_cluster_that_may_never_hold_a_worker_is_refused_at_once() -> None:
    small = Cluster({}, autoscales=True, maximum={"CPU": 4.0})
    with pytest.raises(ClusterError, match="each needs 8 CPU"):
        wanted(ClusterSettings(num_workers=2, cpus_per_worker=8), small, 100)
    with pytest.raises(ClusterError, match="each needs 8 CPU"):
        wanted(ClusterSettings(num_workers=2, cpus_per_worker=8), Cluster({"CPU": 4.0}), 100)
