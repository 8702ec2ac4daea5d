"""Ray's own autoscaler on one machine: a head without CPUs, and nodes that it starts and ends as processes.

The autoscaler is the real one, version 1 or 2, with Ray's node provider for tests in the place of a cloud. All of it
runs in namespaces, so no other Ray on the machine is seen or touched, and killing the first process ends everything. It
needs root.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray
import yaml

from tests.machine import missing_programs

ROOT = Path(__file__).parents[3]
PROGRAMS = ("unshare", "nsenter", "ip", "mount")
PACKAGES = "iproute2 util-linux mount"
ADDRESS = "127.0.0.1:6379"
MOST_NODES = 2
# Where the laboratory sees its folder: the paths of Ray's sockets must be short.
DISK = "/mnt"
# The provider's package, whose wheel lacks the file of defaults that it reads.
PROVIDER = Path(ray.__file__).parent / "autoscaler" / "_private" / "fake_multi_node"
HEAD_ID = "f" * 51 + "00000"
IDLE_SECONDS = 6.0

# Prints, twice a second and only when it changes, how many nodes beside the head are alive.
WATCH = f"""\
import time, ray
ray.init(address="{ADDRESS}", log_to_driver=False, logging_level="ERROR")
last = None
while True:
    alive = sum(node["Alive"] for node in ray.nodes()) - 1
    if alive != last:
        print(f"{{time.time():.1f}} {{alive}}", flush=True)
        last = alive
    time.sleep(0.5)
"""


def why_not() -> str:
    """Return why the laboratory cannot run on this machine; an empty text if it can."""
    if os.geteuid():
        return "it needs root: the cluster is in namespaces"
    return missing_programs(PROGRAMS, PACKAGES)


class AutoscalingCluster:
    """A head without CPUs, and an autoscaler that brings up to `MOST_NODES` nodes with one CPU each.

    Args:
        lab: An empty folder for its configuration, its logs and Ray's files.
        version: Of the autoscaler, 1 or 2.
        most_nodes: How many nodes the autoscaler may bring.
    """

    def __init__(self, lab: Path, version: int, most_nodes: int = MOST_NODES) -> None:
        self.lab = lab
        self._version = version
        self._most_nodes = most_nodes
        self._first: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the head with its autoscaler, and watch the nodes."""
        shutil.copytree(PROVIDER, self.lab / "provider")
        configuration = yaml.safe_dump(_configuration(self._most_nodes))
        for path in (self.lab / "provider" / "example.yaml", self.lab / "cluster.yaml"):
            path.write_text(configuration)
        inside = (
            f"ip link set lo up; mount --bind {self.lab} {DISK}; mount -t tmpfs tmpfs /dev/shm; "
            f"mount --bind {DISK}/provider {PROVIDER}; touch {DISK}/mounted; sleep infinity & wait"
        )
        namespaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.lab / "namespaces.log").open("wb") as log:
            command = ["unshare", *namespaces, "bash", "-c", inside]
            self._first = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        _wait_for(lambda: (self.lab / "mounted").exists(), 20, "the namespaces")
        head = ["start", "--head", "--num-cpus=0", f"--autoscaling-config={DISK}/cluster.yaml", "--disable-usage-stats"]
        address = ["--node-ip-address=127.0.0.1", "--port=6379", f"--temp-dir={DISK}/ray"]
        command = self._inside([str(Path(sys.executable).with_name("ray")), *head, *address])
        with (self.lab / "head.log").open("wb") as log:
            subprocess.run(command, stdout=log, stderr=log, check=True, timeout=120, env=self._head_environment())
        with (self.lab / "nodes.log").open("wb") as log, (self.lab / "watch.log").open("wb") as errors:
            watch = self._inside([sys.executable, "-c", WATCH])
            self._watch = subprocess.Popen(watch, stdout=log, stderr=errors, env=environment())
        _wait_for(lambda: bool(self.history()), 60, "the watch over the nodes")

    def stop(self) -> None:
        """End everything."""
        for process in (self._watch, self._first):
            if process:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def run(self, log: Path, *words: str, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run `python -m phoenix_ray.run` on the head, to its end; what it prints also goes to a file."""
        process = self.open_run(log, *words)
        code = process.wait(seconds)
        return subprocess.CompletedProcess(process.args, code, log.read_text())

    def open_run(self, log: Path, *words: str) -> subprocess.Popen[bytes]:
        """Start `python -m phoenix_ray.run` on the head."""
        command = [sys.executable, "-m", "phoenix_ray.run", *words, f"cluster.address={ADDRESS}"]
        with log.open("wb") as stream:
            return subprocess.Popen(self._inside(command), stdout=stream, stderr=stream, env=environment())

    def kill_node(self) -> None:
        """Let the node that came last lose its power."""
        assert self.history()[-1] > 0, "there is only the head"
        # A raylet, which takes its workers with it; the head's was there first.
        self.call("pkill", "-KILL", "--newest", "raylet")

    def call(self, *words: str) -> str:
        """Run a program beside the head, and return what it prints."""
        done = subprocess.run(
            self._inside(list(words)), capture_output=True, text=True, check=True, timeout=60, env=environment()
        )
        return done.stdout

    def history(self) -> list[int]:
        """Return how many nodes there were beside the head, each number when it had changed."""
        lines = (self.lab / "nodes.log").read_text().splitlines()
        # Ray prints among them.
        return [int(found[1]) for found in map(re.compile(r"\d+\.\d (\d+)").fullmatch, lines) if found]

    def wait_for_nodes(self, count: int, seconds: float) -> float:
        """Wait until there are so many nodes beside the head, and return how long it took."""
        began = time.monotonic()
        _wait_for(lambda: self.history()[-1] == count, seconds, f"{count} nodes")
        return time.monotonic() - began

    def _inside(self, command: Sequence[str]) -> list[str]:
        assert self._first
        (child,) = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()
        return ["nsenter", f"--target={child}", "--net", "--mount", "--uts", "--pid", *command]

    def _head_environment(self) -> dict[str, str]:
        variables = environment() | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        if self._version == 1:
            return variables | {"RAY_enable_autoscaler_v2": "0"}
        # The provider gives the head this ID too.
        named = {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
        return variables | {"RAY_enable_autoscaler_v2": "1"} | named


def environment() -> dict[str, str]:
    """The variables of the head's user: none that name another Ray, and a token of the laboratory's own."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    return quiet | token | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@contextmanager
def open_cluster(lab: Path, version: int, most_nodes: int = MOST_NODES) -> Iterator[AutoscalingCluster]:
    """Run an autoscaling cluster for a block."""
    lab.mkdir(parents=True)
    cluster = AutoscalingCluster(lab, version, most_nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _configuration(most_nodes: int) -> dict[str, object]:
    provider = {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
        "gcs_address": ADDRESS,
    }
    node = {"CPU": 1, "object_store_memory": 200_000_000}
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": node, "node_config": {}, "min_workers": 0, "max_workers": most_nodes},
    }
    commands = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter")
    empty: dict[str, object] = {name: [] for name in (*commands, *starts, "cluster_synced_files")}
    return empty | {
        "cluster_name": "laboratory",
        "max_workers": 8,
        "provider": provider,
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
    }


def _wait_for(happened: object, seconds: float, what: str) -> None:
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not there after {seconds:g} s")
        time.sleep(0.2)
