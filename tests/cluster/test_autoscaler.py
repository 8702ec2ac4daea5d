"""What Ray says of autoscalers. tests/clusters/autoscaler asks real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.autoscaler import (
    START_SECONDS,
    START_SECONDS_OF_NEW_NODES,
    Cluster,
    is_autoscaling,
    most_resources,
)
from phoenix_ray.config import ClusterSettings

FIXED = Cluster({"CPU": 4.0, "memory": 1e9})
BARE = Cluster({"memory": 1e9})
NODE_OF_NO_TYPE = "node_" + "0a" * 28


def test_a_head_without_cpus_awaits_nodes_unless_the_run_started_it() -> None:
    assert BARE.awaits_nodes
    assert Cluster({"CPU": 4.0}, autoscales=True).awaits_nodes
    assert not FIXED.awaits_nodes
    assert not Cluster({}, is_local=True).awaits_nodes
    assert not Cluster({"GPU": 1.0}).awaits_nodes


def test_nodes_that_have_to_come_get_more_time_unless_a_setting_says_how_much() -> None:
    assert FIXED.start_seconds(ClusterSettings()) == START_SECONDS
    assert BARE.start_seconds(ClusterSettings()) == START_SECONDS_OF_NEW_NODES
    assert BARE.start_seconds(ClusterSettings(start_seconds=5.0)) == 5.0


def test_a_run_plans_with_nodes_that_may_come() -> None:
    assert FIXED.attainable(ClusterSettings(num_gpus=2), expects_gpu=True) == FIXED.resources
    of_one = BARE.attainable(ClusterSettings(cpus_per_worker=4), expects_gpu=False)
    assert of_one == {"CPU": 4.0, "GPU": 0.0, "memory": 1e9}
    assert BARE.attainable(ClusterSettings(), expects_gpu=True)["GPU"] == 1.0
    assert BARE.attainable(ClusterSettings(num_gpus=8), expects_gpu=False)["GPU"] == 8.0


@given(
    st.dictionaries(st.sampled_from(["CPU", "GPU", "memory"]), st.floats(0, 1e6)),
    st.none() | st.dictionaries(st.sampled_from(["CPU", "GPU"]), st.floats(0, 1e6)),
    st.booleans(),
    st.booleans(),
)
def test_what_a_run_plans_with_is_never_less_than_what_there_is(
    resources: dict[str, float], maximum: dict[str, float] | None, autoscales: bool, expects_gpu: bool
) -> None:
    attainable = Cluster(resources, autoscales, maximum).attainable(ClusterSettings(), expects_gpu=expects_gpu)
    assert all(attainable[name] >= amount for name, amount in resources.items())


def say_of_version_1(monkeypatch: pytest.MonkeyPatch, status: object) -> None:
    said = json.dumps(status).encode() if status is not None else None
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", lambda _: said)
    monkeypatch.setattr("ray.autoscaler.v2.utils.is_autoscaler_v2", lambda **_: False)


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (None, False),
        ({"time": 1.0}, False),
        ({"autoscaler_report": None}, False),
        ({"autoscaler_report": {"active_nodes": {NODE_OF_NO_TYPE: 1}, "pending_launches": {}}}, False),
        ({"autoscaler_report": {"active_nodes": {"headgroup": 1}, "pending_launches": {}}}, True),
        ({"autoscaler_report": {"active_nodes": {}, "pending_launches": {"gpus": 1}}}, True),
        ({"autoscaler_report": ["another shape"]}, False),
    ],
)
def test_version_1_is_known_by_the_types_of_its_nodes(
    monkeypatch: pytest.MonkeyPatch, status: object, found: bool
) -> None:
    say_of_version_1(monkeypatch, status)
    assert is_autoscaling() == found


@pytest.mark.parametrize(
    ("active", "idle", "found"), [([], [""], False), (["i-1"], [], True), ([], ["pod-head"], True), ([], [], False)]
)
def test_version_2_is_known_by_the_ids_of_its_nodes(
    monkeypatch: pytest.MonkeyPatch, active: Sequence[str], idle: Sequence[str], found: bool
) -> None:
    def nodes(ids: Sequence[str]) -> list[SimpleNamespace]:
        return [SimpleNamespace(instance_id=name) for name in ids]

    say_of_version_1(monkeypatch, None)
    monkeypatch.setattr("ray.autoscaler.v2.utils.is_autoscaler_v2", lambda **_: True)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    status = SimpleNamespace(active_nodes=nodes(active), idle_nodes=nodes(idle))
    monkeypatch.setattr("ray.autoscaler.v2.sdk.get_cluster_status", lambda _: status)
    assert is_autoscaling() == found


def test_a_ray_that_does_not_answer_has_no_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object, **__: object) -> None:
        raise AttributeError("this version has none")

    for name in ("ray.autoscaler.v2.utils.is_autoscaler_v2", "ray.experimental.internal_kv._internal_kv_get"):
        monkeypatch.setattr(name, raises)
    monkeypatch.setattr("ray._private.state.state.get_max_resources_from_cluster_config", raises)
    assert not is_autoscaling()
    assert most_resources() is None


@pytest.mark.cluster
class TestOnARay:
    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def local_ray() -> Iterator[None]:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()

    def test_nodes_that_are_there_are_no_autoscaler(self) -> None:
        assert not is_autoscaling()
        assert most_resources() is None

    def test_the_most_that_may_come_is_what_was_reported_to_ray(self) -> None:
        from ray.core.generated.autoscaler_pb2 import ClusterConfig
        from ray.experimental.internal_kv import internal_kv_get_gcs_client

        config = ClusterConfig()
        for name, amounts, most in (("head", {}, 1), ("cpu", {"CPU": 8}, 4), ("gpu", {"CPU": 16, "GPU": 2}, 3)):
            group = config.node_group_configs.add(name=name, max_count=most)
            for resource, amount in amounts.items():
                group.resources[resource] = amount
        internal_kv_get_gcs_client().report_cluster_config(config.SerializeToString())
        assert most_resources() == {"CPU": 80.0, "GPU": 6.0}
