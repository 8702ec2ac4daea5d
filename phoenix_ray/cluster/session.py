"""What a run takes from its surroundings: Ray, workers of it, and the signals that ask it to stop.

`RaySession` joins a cluster, or starts a local one that ends with the run. `plan_workers` and `workers_wanted` are pure
arithmetic over what the settings ask for and what the cluster has or may get; `cluster.actors` creates the actors.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from phoenix_ray.cluster.autoscaler import Cluster, is_autoscaling, most_resources
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, ClusterError
from phoenix_ray.text import counted

CONNECT_SECONDS = 10.0
# `num_workers=auto` asks an autoscaler for a worker for so many shards that are left: of 512 frames, they keep a core
# busy for seven minutes (docs/performance.md), some times what a new node takes to come.
SHARDS_FOR_A_NEW_WORKER = 16
# The most workers that it asks for beyond those that have a place. More are asked for when nodes have come.
MOST_WAITING_WORKERS = 100
_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class RaySession:
    """Ray for a block of code, started when it is first needed: a run that has nothing to do needs none.

    Args:
        settings: Which cluster to join.
        say: Receives a line that says which cluster was joined or started.
    """

    def __init__(self, settings: ClusterSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._started = False
        self._autoscales = False

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            ray.shutdown()

    def cluster(self) -> Cluster:
        """Return the nodes of the cluster, and start Ray if it is not there yet.

        Raises:
            ClusterError: No cluster answers.
        """
        address = self._settings.address or os.environ.get("RAY_ADDRESS", "")
        if not self._started:
            self._say(f"Connecting to Ray at {address}" if address else "Starting Ray on this machine")
            self._say(_start(address))
            self._started = True
        if not address:
            return Cluster(dict(ray.cluster_resources()), is_local=True)
        # Looked for until it is found: the answer may be missing for a moment.
        if not self._autoscales and is_autoscaling():
            self._autoscales = True
            self._say("The cluster has an autoscaler: workers that wait bring nodes")
        return Cluster(dict(ray.cluster_resources()), self._autoscales, most_resources() if self._autoscales else None)

    def resources(self) -> dict[str, float]:
        """Return the resources to plan with (`CPU`, `GPU`, ...): those of `cluster()`, and of nodes that may come.

        Raises:
            ClusterError: No cluster answers.
        """
        return self.cluster().attainable(self._settings, expects_gpu=False)

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each node; Ray has started (`resources`)."""
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _start(address: str) -> str:
    """Connect to the cluster at an address, or start one here where that is empty; return a line that describes it."""
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault(_ARENAS, _MOST_ARENAS)
    # Actors keep the CUDA_VISIBLE_DEVICES that Ray gives them also when they reserve no GPU; without this Ray warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    was_up = ray.is_initialized()
    try:
        if address:
            _check_reachable(address)
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        else:
            _start_here()
    except Exception as error:
        # Ray raises a bare Exception where its processes do not answer in time, and leaves those that it has started.
        if not was_up:
            ray.shutdown()
        if not address:
            raise ClusterError(
                f"Ray cannot be started on this machine: {error} Start the same command again when the machine is less "
                "busy, or join a running cluster with cluster.address=ADDRESS."
            ) from None
        raise ClusterError(
            f"Ray cannot be reached at '{address}' (cluster.address or RAY_ADDRESS): {error}. Correct the address, "
            "start Ray there with `ray start --head`, or leave the address out to use this machine alone. "
            f"{_connection_hint(address)}"
        ) from None
    nodes, found = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
    return (
        f"Ray {ray.__version__}, {f'cluster {address}' if address else 'local'}, {counted(nodes, 'node')}: "
        f"{found.get('CPU', 0):g} CPU, {found.get('GPU', 0):g} GPU"
    )


def _start_here() -> None:
    """Start Ray on this machine.

    Ray's processes choose ports that are free, and may find them taken when they listen. So a start that fails is
    tried once more.
    """
    start = partial(
        ray.init, address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
    )
    try:
        start()
    except Exception:
        if ray.is_initialized():
            raise
        ray.shutdown()
        start()


def _check_reachable(address: str) -> None:
    """Raise within seconds where nobody listens: Ray itself would go on trying for minutes without a word."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def _connection_hint(address: str) -> str:
    """Return what else may keep a cluster at an address from answering."""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        hint = "A cluster with another token than RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH does not answer either."
    else:
        hint = (
            "A cluster with token authentication answers only if RAY_AUTH_MODE=token is set, and RAY_AUTH_TOKEN_PATH "
            "names the file with its token."
        )
    if address.startswith("ray://"):
        hint += (
            " With ray:// the driver stays on this machine and needs its connection to the end; `ray job submit` or "
            "jobs/submit.sh starts it on the cluster instead."
        )
    return hint


# glibc gives each thread memory of its own, which it keeps: over a long video, decoders, writers and the threads of
# Ray would hold 150 MB more.
_ARENAS, _MOST_ARENAS = "MALLOC_ARENA_MAX", "2"


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
        options = {**self.task_options(), "max_restarts": 0, "max_task_retries": 0}
        # A Ray that was started here hands it on. Elsewhere an environment of its own costs an actor a second.
        if _ARENAS not in os.environ:
            options["runtime_env"] = {"env_vars": {_ARENAS: _MOST_ARENAS}}
        return options

    def task_options(self) -> dict[str, Any]:
        """Return the options of `ray.remote` for a task that reserves as much as an actor does."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
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
            f"{cpus:g} CPU and {gpus:g} GPU. Add nodes, or lower cluster.cpus_per_worker or --num-gpus."
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
            f"{cpus:g} CPU. Lower --num-workers or cluster.cpus_per_worker, or let the workers decode: "
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


def result_of_task(reference: Any, seconds: float) -> Any:
    """Return the result of a task; cancel it if it is not there in time.

    Raises:
        TimeoutError: No node has done it within these seconds.
        Exception: What the task raised.
    """
    try:
        return ray.get(reference, timeout=seconds)
    except RayTaskError as error:
        raise error.cause from None
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        raise TimeoutError(f"no node had done so after {seconds:g} s") from None


class StopRequest:
    """Whether the run was asked to stop, and the exit code that says so.

    The first SIGINT or SIGTERM asks it to drain, the second ends it at once.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, 0 when nobody asked."""
        return _EXIT_CODES[self.signal] if self.signal else 0

    def listen(self) -> None:
        """Take the signals, also from a library that has taken them meanwhile: `ray.init` does."""
        for number in _EXIT_CODES:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request within the block; a second signal ends the process immediately.

    Leaving at once is safe: a partition is either committed or was never there.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in _EXIT_CODES}
    request.listen()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
