"""The nodes of a cluster: what they have now, and what an autoscaler may still bring.

Ray has no public call that says whether an autoscaler is at work, nor how many nodes it may bring. Only this module
asks Ray's internals, as `ray status` does. Where they do not answer, no autoscaler is known: the run then works as on a
fixed set of nodes, and still uses nodes that come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import ray

from phoenix_ray.config import ClusterSettings

# What `cluster.start_seconds=auto` means where all nodes are there: a worker loads its model within seconds, on a slow
# shared disk within half a minute.
START_SECONDS = 60.0
# What it means where nodes have to come: a cloud may take minutes to find a machine, and more to boot it and to pull an
# image of many gigabytes.
START_SECONDS_OF_NEW_NODES = 1200.0
# Without an autoscaler Ray names the type of each node after the node.
_NODE_WITHOUT_TYPE = re.compile("node_[0-9a-f]{56}")
_STATUS_OF_VERSION_1 = b"__autoscaling_status"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes of a cluster.

    Attributes:
        resources: What the nodes have now (`CPU`, `GPU`, ...).
        autoscales: Whether an autoscaler brings nodes for workers that wait, and removes idle ones.
        maximum: What the nodes may have at most; None where that is not known.
        is_local: Whether the run has started it, on this machine.
    """

    resources: Mapping[str, float]
    autoscales: bool = False
    maximum: Mapping[str, float] | None = None
    is_local: bool = False

    @property
    def awaits_nodes(self) -> bool:
        """Whether nodes may be on their way: an autoscaler brings them, or a head without CPUs is still alone."""
        is_bare = not self.resources.get("CPU") and not self.resources.get("GPU")
        return self.autoscales or (is_bare and not self.is_local)

    def start_seconds(self, settings: ClusterSettings) -> float:
        """Return how long the run waits for its first worker, and then for the others."""
        if settings.start_seconds != "auto":
            return settings.start_seconds
        return START_SECONDS_OF_NEW_NODES if self.awaits_nodes else START_SECONDS

    def attainable(self, settings: ClusterSettings, *, expects_gpu: bool) -> dict[str, float]:
        """Return the resources to plan with: those of the nodes, and of nodes that may come.

        Where nobody knows how many may come, that is enough for one worker, or all GPUs that `cluster.num_gpus` names.

        Args:
            settings: What the run asks for.
            expects_gpu: Whether nodes that come are taken to have a GPU where nothing says so.
        """
        if not self.awaits_nodes:
            return dict(self.resources)
        if self.maximum is not None:
            more = dict(self.maximum)
        else:
            gpus = int(expects_gpu) if settings.num_gpus == "auto" else settings.num_gpus
            more = {"CPU": max(1.0, settings.cpus_per_worker), "GPU": float(gpus)}
        return {**self.resources, **{name: max(self.resources.get(name, 0.0), more[name]) for name in more}}


def is_autoscaling() -> bool:
    """Return whether an autoscaler is at work in the cluster to which this process is connected.

    One that has just started with its head may be found only after some seconds.
    """
    # Whatever these internals raise in another version of Ray, a run goes on without them.
    with suppress(Exception):
        return _has_version_2() or _has_version_1()
    return False


def most_resources() -> dict[str, float] | None:
    """Return what the nodes of the cluster may have at most (`CPU`, `GPU`, ...); None where nobody says so.

    Ray has a place for it, which managed clusters fill. The autoscalers that come with Ray 2.52 to 2.60 do not.
    """
    with suppress(Exception):
        found = ray._private.state.state.get_max_resources_from_cluster_config()
        return {name: float(amount) for name, amount in found.items()} if found else None
    return None


def _has_version_1() -> bool:
    from ray.experimental.internal_kv import _internal_kv_get

    report = json.loads(_internal_kv_get(_STATUS_OF_VERSION_1) or b"{}").get("autoscaler_report") or {}
    types = {*report.get("active_nodes", ()), *report.get("pending_launches", ())}
    return any(not _NODE_WITHOUT_TYPE.fullmatch(name) for name in types)


def _has_version_2() -> bool:
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    if not is_autoscaler_v2(fetch_from_server=True):
        return False
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    # Version 2 also runs where nodes are fixed. Only the nodes of a provider have an ID there, the head included.
    return any(node.instance_id for node in (*status.active_nodes, *status.idle_nodes))
