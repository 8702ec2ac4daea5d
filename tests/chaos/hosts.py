"""Hosts with addresses of their own on this one machine: network namespaces on a bridge, and a Ray node in each.

Only so can a cable be pulled: a worker that nobody reaches any more goes on, and commits what others compute again.
Needs Linux, root, and `ip` of iproute2. What the hosts share is the disk.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

BRIDGE = "phoenix-chaos"
HEAD, WORKERS = "phoenix-0", ("phoenix-1", "phoenix-2")
SUBNET = "10.213.0."
PORT = 6379
# So that a host that cannot be reached is given up within seconds, and one that is away for a second is not.
SYSTEM = (
    '{"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_timeout_ms": 1000, '
    '"health_check_failure_threshold": 4, "enable_worker_prestart": false, "prestart_worker_first_driver": false}'
)
CLONE_NEWNET = 0x40000000


def why_not() -> str:
    """Return why there can be no hosts here; an empty text where there can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "hosts in network namespaces need Linux, root and the program ip"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return f"network namespaces are refused here: {tried.stderr.decode().strip()}" if tried.returncode else ""


class Hosts:
    """A head without CPUs and two hosts with a CPU each. Give them up with `shutdown`."""

    def __init__(self) -> None:
        self.address = f"{_address(HEAD)}:{PORT}"
        self._folder = tempfile.mkdtemp(prefix="ray-")
        self._cut: set[str] = set()
        remove_all()
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("link", "set", BRIDGE, "up")
        for host in (HEAD, *WORKERS):
            _ip("netns", "add", host)
            _ip("link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("link", "set", host, "master", BRIDGE, "up")
            _ip("-n", host, "addr", "add", f"{_address(host)}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", host, "link", "set", "lo", "up")
        self._start_node(HEAD, "--head", f"--port={PORT}", "--num-cpus=0", f"--system-config={SYSTEM}")
        for host in WORKERS:
            self._start_worker(host)

    def cut(self, host: str) -> None:
        """Pull the cable of a host."""
        self._cut.add(host)
        _ip("link", "set", host, "down")

    def mend(self, host: str) -> None:
        """Plug it in again."""
        _ip("link", "set", host, "up")

    def renew(self) -> None:
        """Start anew the nodes of hosts that were cut off: Ray may have given them up."""
        if HEAD in self._cut:
            self.mend(HEAD)
        for host in WORKERS if HEAD in self._cut else sorted(self._cut):
            self.mend(host)
            kill_all(host)
            self._start_worker(host)
        self._cut.clear()

    def shutdown(self) -> None:
        remove_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_worker(self, host: str) -> None:
        self._start_node(host, f"--address={self.address}", "--num-cpus=1")

    def _start_node(self, host: str, *words: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={_address(host)}", *words]
        if host == HEAD:
            command += ["--include-dashboard=false", f"--temp-dir={self._folder}"]
        environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        subprocess.run(
            ["ip", "netns", "exec", host, *command], check=True, capture_output=True, env=environment, timeout=120
        )


def enter(host: str) -> None:
    """Let this thread, and those it starts, have the network of a host."""
    with Path("/var/run/netns", host).open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network of {host}")


def kill_all(host: str) -> None:
    """Kill every process of a host."""
    listed = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=False)
    for process in map(int, listed.stdout.split()):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def remove_all() -> None:
    """Remove the hosts, those of a killed suite too."""
    for host in (HEAD, *WORKERS):
        kill_all(host)
        subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", host], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)


def _address(host: str) -> str:
    return SUBNET + str((HEAD, *WORKERS).index(host) + 1)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
