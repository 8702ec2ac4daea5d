from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, RayActorError

from phoenix_ray.cluster import actors
from phoenix_ray.cluster.actors import MAX_FAILED_STARTS, ActorPool, _cause_of_failed_start, memory_limit
from phoenix_ray.cluster.worker import WorkerInfo
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.errors import ClusterError
from phoenix_ray.model_settings import ModelSettings


@pytest.mark.parametrize(
    ("setting", "warm_mb", "limit_mb"),
    [("auto", 200.0, 1224.0), ("auto", 2000.0, 6000.0), (800, 200.0, 800.0), (0, 200.0, math.inf)],
)
def test_a_worker_may_hold_what_is_set_or_a_multiple_of_what_it_held_at_first(
    setting: int | Literal["auto"], warm_mb: float, limit_mb: float
) -> None:
    assert memory_limit(setting, warm_mb) == limit_mb


class Remote:
    """What a pool does with an actor, without Ray: its methods return references that never resolve."""

    def __init__(self, *_: object) -> None:
        self.ready = self

    @classmethod
    def options(cls, **_: object) -> type[Remote]:
        return cls

    def remote(self, *_: object) -> Any:
        return object()


class Actor(Remote):
    remote = classmethod(lambda cls, *arguments: cls(*arguments))


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ActorPool:
    """Six actors; `start` makes them ready."""
    monkeypatch.setattr(actors, "ShardActor", Actor)
    monkeypatch.setattr(ActorPool, "_kill", staticmethod(lambda handle: None))
    settings = Settings(model=ModelSettings(name="synthetic"))
    return ActorPool(WorkerPlan(6, 1.0, 0.0, 0), settings, DatasetIdentity("synthetic", {}))


def start(pool: ActorPool, monkeypatch: pytest.MonkeyPatch, nodes: str) -> None:
    """Let one actor after the other become ready, on nodes with these names."""
    for reference, node in zip(pool.starting, nodes, strict=False):
        monkeypatch.setattr("ray.get", lambda _, node=node: WorkerInfo(node, 1, node))
        pool.take_in(reference)


def test_those_that_have_not_started_go_first(pool: ActorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    start(pool, monkeypatch, "abcd")
    assert pool.let_go(1, idle=[1, 2]) == []
    assert (len(pool), len(pool.starting)) == (5, 1)
    assert pool.let_go(2, idle=[1, 2]) == [1]
    assert (pool.ready, pool.starting) == ([2, 3, 4], [])


def test_whole_nodes_become_free_first(pool: ActorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    start(pool, monkeypatch, "aabbcc")
    # 2 works on node a; 3 and 4 on b; nobody on c.
    assert pool.let_go(3, idle=[1, 5, 6]) == [5, 6, 1]
    assert pool.ready == [2, 3, 4]


def test_nobody_who_works_goes(pool: ActorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    start(pool, monkeypatch, "aabbcc")
    assert pool.let_go(5, idle=[3]) == [3]
    assert len(pool) == 5


def death(message: str = "", reason: int = 0) -> ActorDiedErrorContext:
    return ActorDiedErrorContext(
        actor_id=bytes(16), error_message=message, node_death_info=NodeDeathInfo(reason=reason)
    )


KILLED = death("The actor is dead because its worker process has died.")
NODE_DIED = death("The actor died because its node has died. Node Id: 1a.")
PREEMPTED = death(reason=NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED)


def fail_starts(pool: ActorPool, monkeypatch: pytest.MonkeyPatch, cause: ActorDiedErrorContext) -> None:
    def dies(_: object) -> None:
        raise ActorDiedError(cause)

    monkeypatch.setattr("ray.get", dies)
    for _ in range(MAX_FAILED_STARTS):
        pool.take_in(pool.starting[0])


def test_actors_that_die_while_they_start_end_the_run_unless_their_nodes_went(
    pool: ActorPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_starts(pool, monkeypatch, NODE_DIED)
    fail_starts(pool, monkeypatch, PREEMPTED)
    assert len(pool) == 6
    with pytest.raises(ClusterError, match="Workers die while they start"):
        fail_starts(pool, monkeypatch, KILLED)


@pytest.mark.parametrize(
    ("cause", "blamed"),
    [(KILLED, "model"), (NODE_DIED, "infrastructure"), (PREEMPTED, "infrastructure")],
    ids=["killed", "node died", "preempted"],
)
def test_a_worker_whose_node_went_is_not_blamed_while_the_node_is_still_listed(
    pool: ActorPool, monkeypatch: pytest.MonkeyPatch, cause: ActorDiedErrorContext, blamed: str
) -> None:
    start(pool, monkeypatch, "a")
    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "a", "Alive": True}])
    assert pool.explain(1, ActorDiedError(cause)).failure_class == blamed


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
