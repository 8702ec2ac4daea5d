from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.session import (
    MOST_WAITING_WORKERS,
    SHARDS_FOR_A_NEW_WORKER,
    RaySession,
    WorkerPlan,
    _start_here,
    plan_workers,
    require_spare_cpu,
    shortage,
    stop_on_signals,
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request_with_its_exit_code(number: signal.Signals, code: int) -> None:
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.exit_code == code


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_are_heard_again_after_a_library_took_them() -> None:
    with stop_on_signals() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.exit_code == 143


def test_a_second_signal_leaves_at_once() -> None:
    program = (
        "import os, signal\nfrom phoenix_ray.cluster.session import stop_on_signals\n"
        "with stop_on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('draining', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stdout == "draining\n"


def test_a_ray_that_does_not_start_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def init(**words: object) -> None:
        asked.append(words["address"])
        if len(asked) == 1:
            raise Exception("Failed to start the dashboard")

    monkeypatch.setattr("phoenix_ray.cluster.session.ray.init", init)
    _start_here()
    assert asked == ["local", "local"]


def test_a_ray_that_does_not_start_in_time_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("phoenix_ray.cluster.session.ray.init", init)
    with (
        pytest.raises(ClusterError, match=r"cannot be started .* timed out during startup.*cluster\.address"),
        RaySession(ClusterSettings(), lambda line: None) as session,
    ):
        session.resources()


@pytest.mark.parametrize(
    ("address", "mode", "named", "not_named"),
    [
        ("10.0.0.1:6379", "", ["RAY_AUTH_MODE=token is set", "RAY_AUTH_TOKEN_PATH"], "ray job submit"),
        ("10.0.0.1:6379", "token", ["another token than RAY_AUTH_TOKEN"], "RAY_AUTH_MODE"),
        ("ray://10.0.0.1:10001", "", ["RAY_AUTH_MODE=token is set", "`ray job submit`"], "another token"),
    ],
)
def test_a_cluster_that_does_not_answer_may_want_a_token(
    monkeypatch: pytest.MonkeyPatch, address: str, mode: str, named: list[str], not_named: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("phoenix_ray.cluster.session._check_reachable", refuse)
    with pytest.raises(ClusterError) as raised, RaySession(ClusterSettings(address=address), say=print) as session:
        session.resources()
    for part in named:
        assert part in str(raised.value)
    assert not_named not in str(raised.value)
