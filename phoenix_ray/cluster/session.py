"""What a run takes from its surroundings: Ray, and the signals that ask it to stop.

`RaySession` joins a cluster, or starts a local one that ends with the run.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from phoenix_ray.cluster.autoscaler import Cluster, is_autoscaling, most_resources
from phoenix_ray.cluster.worker_plan import ARENAS, MOST_ARENAS
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, ClusterError
from phoenix_ray.text import counted

CONNECT_SECONDS = 10.0
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
        os.environ.setdefault(ARENAS, MOST_ARENAS)
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
