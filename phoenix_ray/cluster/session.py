"""Ray for the length of a run: an existing cluster, or a local one that ends with the run."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable

import ray

from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError

KNOCK_SECONDS = 10.0


class RaySession:
    """Ray for a block of code, started when it is first needed: a run that has nothing to do needs none.

    Args:
        settings: Of the cluster.
        announce: Told in one line what was connected to or started.
    """

    def __init__(self, settings: ClusterSettings, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._started = False

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            ray.shutdown()

    def resources(self) -> dict[str, float]:
        """Return the resources of the whole cluster (`CPU`, `GPU`, ...), and start Ray if it is not there yet.

        Raises:
            ClusterError: No cluster answers.
        """
        if not self._started:
            address = _address(self._settings)
            self._announce(f"Connecting to Ray at {address}" if address else "Starting Ray on this machine")
            self._announce(_start(address))
            self._started = True
        return dict(ray.cluster_resources())


def _address(settings: ClusterSettings) -> str:
    """Return where the cluster is, by `cluster.address` or $RAY_ADDRESS; empty where one is to be started here."""
    return settings.address or os.environ.get("RAY_ADDRESS", "")


def _start(address: str) -> str:
    """Connect to the cluster at an address, else start one here; return what it is."""
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Actors keep the CUDA_VISIBLE_DEVICES that Ray gives them also when they reserve no GPU; without this Ray warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address:
            _knock(address)
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        if not address:
            raise ClusterError(f"Ray cannot be started on this machine: {error}") from None
        raise ClusterError(
            f"Ray cannot be reached at '{address}' (cluster.address or RAY_ADDRESS): {error}. Correct the address, "
            "start Ray there with `ray start --head`, or leave the address out to use this machine alone."
        ) from None
    nodes, found = sum(node["Alive"] for node in ray.nodes()), ray.cluster_resources()
    return (
        f"Ray {ray.__version__}, {f'cluster {address}' if address else 'local'}, {nodes} node{'s' * (nodes != 1)}: "
        f"{found.get('CPU', 0):g} CPU, {found.get('GPU', 0):g} GPU"
    )


def _knock(address: str) -> None:
    """Fail within seconds where nobody listens: Ray itself would go on trying for minutes without a word."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
