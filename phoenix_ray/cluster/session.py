"""What a run takes from its surroundings: Ray, and the signals that ask it to stop.

`RaySession` joins the Ray of this process or a cluster, or starts a local Ray that ends with the run.
"""

from __future__ import annotations

import logging
import os
import signal
import site
import socket
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

from phoenix_ray.cluster.autoscaler import Cluster, is_autoscaling, most_resources
from phoenix_ray.cluster.worker_plan import ARENAS, MOST_ARENAS, PACKAGE_FOLDER, PYTHONPATH
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, ClusterError
from phoenix_ray.text import counted

CONNECT_SECONDS = 10.0
# What Ray sets beside variables of its own, and what is set for its workers.
_VARIABLES = frozenset({"PYTHONBREAKPOINT", ARENAS, PACKAGE_FOLDER, PYTHONPATH})
# Held by the session that has started Ray or connected to it: a second start, in another thread, fails and ends the
# first.
_TURN = threading.Lock()
_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class RaySession:
    """Ray for a block of code, started when it is first needed: a run that has nothing to do needs none.

    A Ray to which this process is connected already is joined, and left as it was. One that the session starts or
    connects to ends with it, and with it what Ray has changed in this process: environment variables, which would make
    later Rays demand a token, and the handler of SIGTERM. Sessions of other threads wait for that.

    Args:
        settings: Which cluster to join.
        say: Receives a line that says which cluster was joined or started.
    """

    def __init__(self, settings: ClusterSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._is_up = False
        self._is_local = False
        self._autoscales = False
        self._ends_with = ExitStack()

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends_with.close()

    def cluster(self) -> Cluster:
        """Return the nodes of the cluster, and start Ray if it is not there yet.

        Raises:
            ClusterError: No cluster answers, or this process is connected to another.
        """
        if not self._is_up:
            self._connect()
            self._is_up = True
        if self._is_local:
            return Cluster(dict(ray.cluster_resources()), is_local=True)
        # Looked for until it is found: the answer may be missing for a moment.
        if not self._autoscales and is_autoscaling():
            self._autoscales = True
            self._say("The cluster has an autoscaler: workers that wait bring nodes")
        return Cluster(dict(ray.cluster_resources()), self._autoscales, most_resources() if self._autoscales else None)

    def _connect(self) -> None:
        if not _TURN.acquire(blocking=False):
            self._say("Waiting for another call in this process, which has started Ray for itself")
            _TURN.acquire()
        with ExitStack() as turn:
            turn.callback(_TURN.release)
            starts = not ray.is_initialized()
            self._join_or_start()
            if starts:
                ends_ray, self._ends_with = self._ends_with, turn.pop_all()
                self._ends_with.push(ends_ray)

    def _join_or_start(self) -> None:
        if ray.is_initialized():
            _refuse_other_address(self._settings.address)
            self._ends_with.enter_context(_environment_kept())
            if folder := _folder_to_name():
                os.environ[PACKAGE_FOLDER] = folder
            self._say(_describe("the cluster of this process"))
            return
        address = self._settings.address or os.environ.get("RAY_ADDRESS", "")
        self._is_local = not address
        self._say(f"Connecting to Ray at {address}" if address else "Starting Ray on this machine")
        with ExitStack() as undo:
            undo.enter_context(_environment_kept())
            undo.enter_context(handlers_kept())
            undo.callback(ray.shutdown)
            _start(address)
            self._ends_with = undo.pop_all()
        self._say(_describe(f"cluster {address}" if address else "local"))

    def resources(self) -> dict[str, float]:
        """Return the resources to plan with (`CPU`, `GPU`, ...): those of `cluster()`, and of nodes that may come.

        Raises:
            ClusterError: No cluster answers.
        """
        return self.cluster().attainable(self._settings, expects_gpu=False)

    def nodes(self) -> list[dict[str, float]]:
        """Return the resources of each node; Ray has started (`resources`)."""
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _describe(where: str) -> str:
    nodes, found = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
    return (
        f"Ray {ray.__version__}, {where}, {counted(nodes, 'node')}: {found.get('CPU', 0):g} CPU, "
        f"{found.get('GPU', 0):g} GPU"
    )


def _refuse_other_address(address: str) -> None:
    """Raise ClusterError where an address is asked for that is not that of the Ray of this process."""
    here = "ray://…" if ray.util.client.ray.is_connected() else ray.get_runtime_context().gcs_address
    port = address.rpartition(":")[2]
    is_here = address in ("", "auto", here) or (
        address.rpartition(":")[0] in ("localhost", "127.0.0.1") and here.endswith(f":{port}")
    )
    if not is_here:
        raise ClusterError(
            f"This process is connected to the Ray at {here}, and cluster.address asks for {address}. Leave the "
            "address out to use the one that is connected, or call ray.shutdown() first."
        )


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Put back, after the block, the environment variables that Ray and its start have set or changed."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in {*before, *os.environ}:
            if name.startswith("RAY_") or name in _VARIABLES:
                if name in before:
                    os.environ[name] = before[name]
                else:
                    os.environ.pop(name, None)
        # Ray remembers that it has turned tokens on. Where this internal is missing, only the variable is put back.
        with suppress(Exception):
            ray._raylet.Config.initialize("")


def _start(address: str) -> None:
    """Connect to the cluster at an address, or start one here where that is empty."""
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault(ARENAS, MOST_ARENAS)
        if folder := _folder_to_name():
            paths = [path for path in os.environ.get(PYTHONPATH, "").split(os.pathsep) if path]
            os.environ[PYTHONPATH] = os.pathsep.join([folder, *(path for path in paths if path != folder)])
    # Actors keep the CUDA_VISIBLE_DEVICES that Ray gives them also when they reserve no GPU; without this Ray warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address:
            _check_reachable(address)
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        else:
            _start_here()
    except Exception as error:
        # Ray raises a bare Exception where its processes do not answer in time, and leaves those that it has started to
        # `ray.shutdown`.
        if not address:
            raise ClusterError(
                f"Ray cannot be started on this machine: {error} Start the run again when the machine is less "
                "busy, or join a running cluster with cluster.address=ADDRESS."
            ) from None
        raise ClusterError(
            f"Ray cannot be reached at '{address}' (cluster.address or RAY_ADDRESS): {error}. Correct the address, "
            "start Ray there with `ray start --head`, or leave the address out to use this machine alone. "
            f"{_connection_hint(address)}"
        ) from None


def _folder_to_name() -> str:
    """Return the folder that workers import the package from; empty where it is installed, so that they find it."""
    folder = str(Path(__file__).parents[2])
    installed = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages())
    return "" if folder in installed else folder


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
            "names the file with its token; cluster.address=auto finds a cluster on this machine and its token."
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

    The first SIGINT or SIGTERM asks it to drain. The second ends the process at once or, where a program goes on after
    the run, raises KeyboardInterrupt or SystemExit.
    """

    def __init__(self, *, ends_process: bool = True) -> None:
        self.signal: signal.Signals | None = None
        self._ends_process = ends_process

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, 0 when nobody asked."""
        return _EXIT_CODES[self.signal] if self.signal else 0

    def listen(self) -> None:
        """Take the signals, also from a library that has taken them meanwhile: `ray.init` does."""
        if _takes_signals():
            for number in _EXIT_CODES:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self:
            self.signal = signal.Signals(number)
        elif self._ends_process:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(EXIT_TERMINATED)


@contextmanager
def stop_on_signals(*, ends_process: bool = True) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request within the block; see `StopRequest` for a second signal.

    Leaving at once is safe: a partition is either committed or was never there. In a thread other than the main one,
    which can take no signals, nothing asks the run to stop.
    """
    request = StopRequest(ends_process=ends_process)
    with handlers_kept():
        request.listen()
        yield request


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back, after the block, the handlers of the signals that stop a run."""
    before = {number: signal.getsignal(number) for number in _EXIT_CODES}
    try:
        yield
    finally:
        if _takes_signals():
            for number, handler in before.items():
                # None: it was not set from Python, which cannot set it again.
                if handler is not None:
                    signal.signal(number, handler)


def _takes_signals() -> bool:
    """Return whether this is the main thread: no other may set a handler."""
    return threading.current_thread() is threading.main_thread()
