"""How many workers a run asks for, and what each of them reserves.

Pure arithmetic over what the settings ask for and what the cluster has or may get; `cluster.actors` creates the actors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError
from phoenix_ray.text import counted

# `num_workers=auto` asks an autoscaler for a worker for so many shards that are left: of 512 frames, they keep a core
# busy for seven minutes (docs/performance.md), some times what a new node takes to come.
SHARDS_FOR_A_NEW_WORKER = 16
# The most workers that it asks for beyond those that have a place. More are asked for when nodes have come.
MOST_WAITING_WORKERS = 100
# glibc gives each thread memory of its own, which it keeps: over a long video, decoders, writers and the threads of
# Ray would hold 150 MB more.
ARENAS, MOST_ARENAS = "MALLOC_ARENA_MAX", "2"


# The folder that processes of a Ray that was up before need to import this package from; unset where they need none.
PACKAGE_FOLDER, PYTHONPATH = "PHOENIX_RAY_PACKAGE_FOLDER", "PYTHONPATH"


def environment_options(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options of `ray.remote` that give a process environment variables, and let it import this package."""
    given = dict(variables or {})
    if folder := os.environ.get(PACKAGE_FOLDER):
        # Ray puts in the variable as the node has it.
        given[PYTHONPATH] = f"{folder}{os.pathsep}${{{PYTHONPATH}}}"
    return {"runtime_env": {"env_vars": given}} if given else {}


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Actors to create.

    Attributes:
        count: Number of actors.
        cpus: CPUs each reserves.
        gpus: GPUs each reserves; a fraction where several share one.
        memory_mb: Memory each reserves; 0 reserves none.
    """

    count: int
    cpus: float
    gpus: float
    memory_mb: int

    def actor_options(self) -> dict[str, Any]:
        """Return the options of `ray.remote`: what is reserved, and that the driver, not Ray, restarts and retries."""
        # A Ray that was started here hands it on. Elsewhere an environment of its own costs an actor a second.
        variables = {} if ARENAS in os.environ else {ARENAS: MOST_ARENAS}
        return {**self.task_options(), "max_restarts": 0, "max_task_retries": 0, **environment_options(variables)}

    def task_options(self) -> dict[str, Any]:
        """Return the options of `ray.remote` for a task that reserves as much as an actor does."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus, **environment_options()}
        if self.memory_mb:
            options["memory"] = self.memory_mb * 1024 * 1024
        return options

    def capacity(self, cluster: Mapping[str, float]) -> int:
        """Return how many of the actors a cluster with these resources (`CPU`, `GPU`, ...) holds at most."""
        bounds = [
            int(cluster.get(name, 0.0) / share) for name, share in (("CPU", self.cpus), ("GPU", self.gpus)) if share
        ]
        return min([self.count, *bounds])

    def __str__(self) -> str:
        memory = f", {self.memory_mb} MB" if self.memory_mb else ""
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        return f"{counted(self.count, 'worker')} with {self.cpus:g} CPU{gpus}{memory} each"


def plan_workers(settings: ClusterSettings, cluster: Mapping[str, float], *, engine_uses_gpu: bool) -> WorkerPlan:
    """Return the actors for a cluster with these resources (`CPU`, `GPU`, ...).

    GPUs are reserved when the engine can use them, or when `num_gpus` asks for a number of them whatever the engine.

    Raises:
        ClusterError: The cluster can never hold a single one of the actors.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    wanted_gpus = (gpus if engine_uses_gpu else 0) if settings.num_gpus == "auto" else settings.num_gpus
    gpu_share = 1 / settings.workers_per_gpu if wanted_gpus else 0.0
    if settings.num_workers != "auto":
        count = settings.num_workers
    elif wanted_gpus:
        count = int(wanted_gpus) * settings.workers_per_gpu
    elif settings.cpus_per_worker:
        count = int(cpus / settings.cpus_per_worker)
    else:
        count = int(cpus)
    plan = WorkerPlan(count, settings.cpus_per_worker, gpu_share, settings.memory_per_worker_mb)
    if settings.cpus_per_worker > cpus or gpu_share > gpus or count == 0:
        raise ClusterError(
            f"The cluster cannot hold one worker: each needs {plan.cpus:g} CPU and {plan.gpus:g} GPU, the cluster has "
            f"{cpus:g} CPU and {gpus:g} GPU. Add nodes, or lower cluster.cpus_per_worker or cluster.num_gpus."
        )
    return plan


def workers_wanted(
    settings: ClusterSettings, cluster: Cluster, open_shards: int, *, engine_uses_gpu: bool
) -> WorkerPlan:
    """Return the actors to ask for: never more than shards, and a number that was asked for as it is.

    With 'auto' these are as many as the nodes hold. On an autoscaling cluster there are more, which wait for nodes: one
    for every `SHARDS_FOR_A_NEW_WORKER` shards, up to what the nodes may have at most where that is known. Actors that
    wait are what makes an autoscaler bring nodes.

    Args:
        settings: What the run asks for.
        cluster: The nodes.
        open_shards: Shards that are not committed yet.
        engine_uses_gpu: Whether a worker should be given a GPU, or a share of one.

    Raises:
        ClusterError: The cluster can never hold a single one of the actors.
    """
    attainable = cluster.attainable(settings, expects_gpu=engine_uses_gpu)
    plan = plan_workers(settings, attainable, engine_uses_gpu=engine_uses_gpu)
    count = plan.count
    if settings.num_workers == "auto" and cluster.autoscales:
        placed = plan.capacity(cluster.resources)
        count = max(1, placed, min(math.ceil(open_shards / SHARDS_FOR_A_NEW_WORKER), placed + MOST_WAITING_WORKERS))
        if cluster.maximum is not None or (plan.gpus and settings.num_gpus != "auto"):
            count = min(count, plan.count)
    return replace(plan, count=min(count, open_shards))


def require_spare_cpu(plan: WorkerPlan, settings: ClusterSettings, cluster: Cluster) -> None:
    """Make sure that tasks which decode for the workers can run beside them.

    Nodes may come for such tasks too. Only workers that take every CPU that comes leave none.

    Raises:
        ClusterError: The workers reserve all CPUs, so such a task would wait for ever.
    """
    takes_all = settings.num_workers == "auto" and not plan.gpus
    if cluster.awaits_nodes and cluster.maximum is None and not takes_all:
        return
    attainable = cluster.attainable(settings, expects_gpu=plan.gpus > 0)
    cpus, reserved = attainable.get("CPU", 0.0), plan.capacity(attainable) * plan.cpus
    if cpus - reserved < 1:
        raise ClusterError(
            f"decode.on=cpu_nodes needs a CPU that no worker reserves: {plan} take {reserved:g} of the cluster's "
            f"{cpus:g} CPU. Lower cluster.num_workers or cluster.cpus_per_worker, or let the workers decode: "
            "decode.on=workers."
        )


def shortage(plan: WorkerPlan, ready: int, cluster: Cluster) -> str:
    """Return the message about a cluster that gave fewer actors than planned in time."""
    has = cluster.resources
    limit = " Its autoscaler brought no more nodes; `ray status` on the head says why." if cluster.autoscales else ""
    return (
        f"Asked for {plan}; {ready} of them started. The cluster has {has.get('CPU', 0):g} CPU and "
        f"{has.get('GPU', 0):g} GPU in all, some of it busy or on nodes too small for a worker.{limit} "
        f"Going on with {ready}; the others are taken in when they start."
    )
