"""A Ray of its own, with a dashboard, a token, and ports that no other Ray of the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.machine import free_ports

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
START_SECONDS = 120.0


class RayCluster:
    """A head, and nodes that join it, as processes of this machine.

    Args:
        python: The environment whose Ray is started; this one's if None.
        token: The token that the cluster demands; none if empty.
        kept: Folder for the logs of `ray start`.
    """

    def __init__(self, kept: Path, python: Path | None = None, token: str = TOKEN) -> None:
        self._kept = kept
        self._python = python or Path(sys.executable)
        self._token = token
        # A short path: the name of a socket may have 107 characters.
        self.temporary = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))
        self.port, self.dashboard_port, self.client_port = free_ports(3)

    @property
    def address(self) -> str:
        """The address for `ray.init`."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        """The address for `ray job submit`."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def environment(
        self, variables: Mapping[str, str] | None = None, *, token: bool = True, python: Path | None = None
    ) -> dict[str, str]:
        """Return the variables of a client or node, and those given: with the token or without.

        Another environment than this one does not see the package.
        """
        python = python or self._python
        hidden = ("RAY_", "PHOENIX_RAY", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        kept["PATH"] = f"{python.parent}:{kept['PATH']}"
        if python == Path(sys.executable):
            kept["PYTHONPATH"] = str(ROOT)
        if self._token and token:
            kept |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}
        return kept | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(variables or {})

    def start_head(self, *options: str, **variables: str) -> None:
        """Start the head, and wait until its dashboard answers."""
        ports = [f"--port={self.port}", f"--dashboard-port={self.dashboard_port}", "--dashboard-host=127.0.0.1"]
        ports += [f"--ray-client-server-port={self.client_port}"]
        self._start("head", ["--head", f"--temp-dir={self.temporary}", *ports, *options], self.environment(variables))
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < end, f"Ray's head did not start: see {self._kept}"
            time.sleep(0.3)

    def start_node(self, name: str, *options: str, python: Path | None = None) -> None:
        """Start a node that joins the head, in the cluster's environment or another."""
        self._start(name, [f"--address={self.address}", *options], self.environment(python=python))

    def wait_for_cpus(self, count: int) -> None:
        """Wait until the nodes that have joined have so many CPUs together."""
        program = (
            "import sys, time, ray\n"
            "ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False)\n"
            "while ray.cluster_resources().get('CPU', 0) < int(sys.argv[2]): time.sleep(0.5)"
        )
        self.run(sys.executable, "-c", program, self.address, str(count), timeout=START_SECONDS)

    def _start(self, name: str, options: Sequence[str], environment: dict[str, str]) -> None:
        listen, grpc, environments, metrics = free_ports(4)
        command = ["ray", "start", "--block", *options]
        command += [f"--dashboard-agent-listen-port={listen}", f"--dashboard-agent-grpc-port={grpc}"]
        command += [f"--runtime-env-agent-port={environments}", f"--metrics-export-port={metrics}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=100000000"]
        with (self._kept / f"{name}.log").open("ab") as log:
            subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd="/")

    def _answers(self) -> bool:
        request = urllib.request.Request(f"{self.dashboard}/api/version")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to this Ray: those that name its folder or port, and their children."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.temporary) in words or (f":{self.port}" in words and "ray" in words):
                with suppress(psutil.Error):
                    found |= {member.pid: member for member in [process, *process.children(recursive=True)]}
        return list(found.values())

    def kill(self) -> None:
        """End everything at once, as the loss of all machines would."""
        processes = [process for process in self.processes() if process.pid != os.getpid()]
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=20)

    def run(self, *command: str, token: bool = True, timeout: float = 300.0, **variables: str) -> str:
        """Run a client's command and return what it says, or raise with that text when it fails."""
        done = self.call(*command, token=token, timeout=timeout, **variables)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}"
        return done.stdout

    def call(
        self, *command: str, token: bool = True, timeout: float = 300.0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a client's command; both of its streams are in `stdout`."""
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
            env=self.environment(variables, token=token),
        )


@contextmanager
def ray_cluster(kept: Path, *head: str, python: Path | None = None, token: str = TOKEN) -> Iterator[RayCluster]:
    """Yield a running cluster, and leave neither a process nor a file of it but its logs."""
    cluster = RayCluster(kept, python, token)
    try:
        cluster.start_head(*head)
        yield cluster
    finally:
        cluster.kill()
        logs = cluster.temporary / "session_latest" / "logs"
        if logs.is_dir():
            shutil.copytree(logs, kept / "ray-logs", dirs_exist_ok=True, ignore_dangling_symlinks=True)
        shutil.rmtree(cluster.temporary, ignore_errors=True)
