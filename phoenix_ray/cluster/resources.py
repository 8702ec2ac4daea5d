"""How many actors a run gets, and what each reserves.

Pure arithmetic over what the settings ask and what the cluster has; `cluster.driver` creates the actors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError


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
        return {**self.task_options(), "max_restarts": 0, "max_task_retries": 0}

    def task_options(self) -> dict[str, Any]:
        """Return the options of `ray.remote` with which a task reserves what one of the actors does."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if self.memory_mb:
            options["memory"] = self.memory_mb * 1024 * 1024
        return options

    def capacity(self, cluster: Mapping[str, float]) -> int:
        """Return how many of the actors a cluster of these resources (`CPU`, `GPU`, ...) holds at the most."""
        bounds = [
            int(cluster.get(name, 0.0) / share) for name, share in (("CPU", self.cpus), ("GPU", self.gpus)) if share
        ]
        return min([self.count, *bounds])

    def __str__(self) -> str:
        memory = f", {self.memory_mb} MB" if self.memory_mb else ""
        gpus = f", {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.count} worker{'s' * (self.count != 1)} with {self.cpus:g} CPU{gpus}{memory} each"


def plan_workers(settings: ClusterSettings, cluster: Mapping[str, float], *, engine_uses_gpu: bool) -> WorkerPlan:
    """Return the actors for a cluster.

    GPUs are reserved when the engine can use them, or when `num_gpus` asks for a number of them whatever the engine.

    Args:
        settings: What was asked.
        cluster: Ray's resources of the whole cluster (`CPU`, `GPU`, ...).
        engine_uses_gpu: Whether the model's engine computes on a GPU.

    Raises:
        ClusterError: When the cluster can never hold a single one of the actors.
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
            f"{cpus:g} CPU and {gpus:g} GPU. Add nodes, or lower cluster.cpus_per_worker or --num-gpus."
        )
    return plan


def require_spare_cpu(plan: WorkerPlan, cluster: Mapping[str, float]) -> None:
    """Make sure that tasks which decode for the workers can run beside them.

    Raises:
        ClusterError: The workers reserve all CPUs, so such a task would wait for ever.
    """
    cpus, reserved = cluster.get("CPU", 0.0), plan.capacity(cluster) * plan.cpus
    if cpus - reserved < 1:
        raise ClusterError(
            f"decode.on=cpu_nodes needs a CPU that no worker reserves: {plan} take {reserved:g} of the cluster's "
            f"{cpus:g} CPU. Lower --num-workers or cluster.cpus_per_worker, or let the workers decode: "
            "decode.on=workers."
        )


def shortage(plan: WorkerPlan, ready: int, cluster: Mapping[str, float]) -> str:
    """Return the message for a cluster that gave fewer actors than planned in time."""
    return (
        f"Asked for {plan}; {ready} of them started. The cluster has {cluster.get('CPU', 0):g} CPU and "
        f"{cluster.get('GPU', 0):g} GPU in all, some of it busy or on nodes too small for a worker. "
        f"Going on with {ready}; the others are taken in when they start."
    )
