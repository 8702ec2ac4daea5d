"""The job on a cluster of several nodes (processes of this machine that Ray takes for nodes)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.sources.sample import write_sample_dataset
from tests.cluster.conftest import environment

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_dataset(tmp_path_factory.mktemp("pictures") / "sample")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without GPU or free CPU, and two nodes with one GPU each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=2, num_gpus=1)
    cluster.add_node(num_cpus=2, num_gpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def start_run(address: str, pictures: Path, output: Path) -> subprocess.Popen[str]:
    words = [f"source.path={pictures}", f"output.path={output}", "cluster.shard_frames=16", "--num-gpus", "2"]
    command = [sys.executable, "-m", "phoenix_ray.run", *words]
    variables = environment() | {"RAY_ADDRESS": address}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)


def wait_for_partitions(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list(output.glob("partitions/**/[0-9]*.parquet"))) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no partitions were committed in time"
        time.sleep(0.05)


def finish(process: subprocess.Popen[str], output: Path) -> tuple[int, int]:
    """Wait for the end and return the number of rows and the digest."""
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    dataset = Dataset.open(str(output))
    return sum(dataset.videos().column("frames").to_pylist()), dataset.digest()


def workers(output: Path) -> list[int]:
    """Process IDs of the workers that were ready, from the run's log."""
    logs = "".join(log.read_text() for log in output.glob("runs/*/log"))
    return [int(pid) for pid in re.findall(r"ready on .* \(process (\d+)\)", logs)]


def test_each_actor_reserves_a_gpu_and_the_loss_of_a_worker_and_of_a_node_changes_nothing(
    cluster: Any, pictures: Path, tmp_path: Path
) -> None:
    import ray

    expected = finish(start_run(cluster.address, pictures, tmp_path / "calm"), tmp_path / "calm")

    output = tmp_path / "disturbed"
    process = start_run(cluster.address, pictures, output)
    wait_for_partitions(output, 1, process)
    assert ray.available_resources().get("GPU", 0) == 0, "two actors hold the two GPUs"
    victims = [pid for pid in actor_processes() if pid not in workers(tmp_path / "calm")]
    os.kill(victims[0], signal.SIGKILL)
    wait_for_partitions(output, 3, process)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    assert finish(process, output) == expected


@pytest.fixture
def bare_head() -> Iterator[Any]:
    """A head without CPUs, to which nobody is connected."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_a_run_beside_a_head_without_cpus_waits_for_nodes_and_uses_all_that_come(
    bare_head: Any, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    words = ["source.kind=synthetic", "source.max_videos_per_split=400", "model.name=synthetic"]
    command = [sys.executable, "-m", "phoenix_ray.run", *words, f"output.path={output}"]
    variables = environment() | {"RAY_ADDRESS": bare_head.address}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    deadline = time.monotonic() + 60
    while not any("Waiting for nodes" in log.read_text() for log in output.glob("runs/*/log")):
        # The log is written with the status, every run.progress_seconds.
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the run did not wait"
        time.sleep(0.2)
    bare_head.add_node(num_cpus=2)
    finish(process, output)
    assert len(set(workers(output))) == 2


def actor_processes() -> list[int]:
    """Process IDs of the living shard actors, from the process table: Ray names them in it."""
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any("ray::ShardActor" in word for word in process.info["cmdline"] or [])
    ]


DASHBOARD_PORT = 28265
RAY = str(Path(sys.executable).with_name("ray"))
# What Ray answers while the head's dashboard is up and the agent that starts jobs is not.
NO_AGENT = "No available agent to submit job"


def lab_environment() -> dict[str, str]:
    """The environment of a lab machine whose cluster asks for a token."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return environment() | {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@pytest.fixture
def head() -> Iterator[str]:
    """A head with a dashboard, as `ray start --head` on a lab machine; yields the address for `ray job submit`."""
    # `--block` ties all of Ray's processes to this one: `ray stop` would also end a cluster that is not the test's.
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--port=26379", f"--dashboard-port={DASHBOARD_PORT}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=lab_environment())
    deadline = time.monotonic() + 60
    while not answers(DASHBOARD_PORT):
        assert process.poll() is None
        assert time.monotonic() < deadline, "the head did not start in time"
        time.sleep(0.2)
    yield f"http://127.0.0.1:{DASHBOARD_PORT}"
    process.terminate()
    process.wait(30)


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def submit(head: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [RAY, "job", "submit", "--address", head, "--", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=lab_environment())


def test_ray_job_submit_runs_the_module(head: str, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "submitted"
    words = ["python", "-m", "phoenix_ray.run", f"source.path={pictures}", f"output.path={output}", "--splits", "dev"]
    done = submit(head, words)
    deadline = time.monotonic() + 60
    while NO_AGENT in done.stdout + done.stderr and time.monotonic() < deadline:
        time.sleep(1)
        done = submit(head, words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Landmark digest" in done.stdout
    assert Dataset.open(str(output)).videos().num_rows >= 1
