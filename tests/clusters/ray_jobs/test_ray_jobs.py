"""Runs on a running Ray cluster that demands a token: jobs/submit.sh, `ray job submit`, `ray://`, several at once.

The logs stay in build/cluster-test/ray-jobs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.installation import INSTALL_WITH_THE_JOB
from tests.clusters.conftest import kept_folder
from tests.clusters.ray_jobs.laboratory import ROOT, TOKEN, RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(580)]
SUBMIT = ROOT / "jobs" / "submit.sh"
RUN = ("python", "-m", "phoenix_ray.run")
SHORT, MEDIUM, LONG = 20, 150, 2000


@pytest.fixture(scope="module")
def kept(_asked_for: None) -> Path:
    return kept_folder("ray-jobs")


@pytest.fixture(scope="module")
def cluster(kept: Path) -> Iterator[RayCluster]:
    """A head with room for two workers."""
    with ray_cluster(kept, "--num-cpus=2") as running:
        yield running


def words(output: Path, videos: int, *more: str) -> list[str]:
    source = ["source.kind=synthetic", f"source.max_videos_per_split={videos}", "model.name=synthetic"]
    return [*source, f"output.path={output}", "run.progress_seconds=1", *more]


def start(cluster: RayCluster, *command: str, token: bool = True, **variables: str) -> subprocess.Popen[str]:
    environment = cluster.environment(variables, token=token)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def digest_in(text: str) -> str:
    return str(re.findall(r"Landmark digest (\w+)", text)[-1])


def wait_for_partitions(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 180
    while len(list(output.glob("partitions/**/[0-9]*.parquet"))) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no partitions were committed in time"
        time.sleep(0.1)


def test_the_commands_that_submit_shows_work_in_a_shell_that_knows_nothing_of_the_cluster(
    cluster: RayCluster, tmp_path: Path
) -> None:
    token = tmp_path / "the cluster's token"
    token.write_text(TOKEN)
    output = tmp_path / "output"
    variables = {"RAY_API_SERVER_ADDRESS": cluster.dashboard, "RAY_AUTH_TOKEN_PATH": str(token)}
    process = start(cluster, "bash", str(SUBMIT), *words(output, LONG), token=False, **variables)
    assert process.stdout is not None
    shown: dict[str, str] = {}
    for line in process.stdout:
        if found := re.match(r" {4}(.* ray job (logs|status|stop) .*)", line):
            shown[found[2]] = found[1]
        if len(shown) == 3:
            break
    wait_for_partitions(output, 4, process)
    assert "RUNNING" in cluster.run("bash", "-c", shown["status"], token=False)
    # `timeout` ends it, as Ctrl-C would, with 124.
    followed = cluster.call("timeout", "20", "bash", "-c", shown["logs"], token=False)
    assert "frames to compute" in followed.stdout
    assert "was stopped" in cluster.run("bash", "-c", shown["stop"], token=False)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "Stopped before the end; what is committed is kept." in said, "the run had the time to drain"


def test_submit_ends_with_the_runs_exit_code(cluster: RayCluster, tmp_path: Path) -> None:
    call = ["bash", str(SUBMIT), *words(tmp_path / "output", SHORT, "model.batch_sise=3")]
    assert cluster.call(*call, RAY_API_SERVER_ADDRESS=cluster.dashboard).returncode == 2


def test_the_client_protocol_works_with_the_token(cluster: RayCluster, tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{cluster.client_port}"
    for _ in range(3):
        done = cluster.call(*RUN, *words(tmp_path / "output", SHORT), RAY_ADDRESS=address)
        # On a busy machine Ray gives the server of a client too little time to start.
        if "Starting Ray client server failed" not in done.stdout:
            break
    assert "Finished: every frame has its row." in done.stdout, done.stdout


@pytest.mark.parametrize("protocol", ["ray://", ""])
def test_without_the_token_the_error_names_it(cluster: RayCluster, tmp_path: Path, protocol: str) -> None:
    port = cluster.client_port if protocol else cluster.port
    call = [*RUN, *words(tmp_path / "output", SHORT, f"cluster.address={protocol}127.0.0.1:{port}")]
    done = cluster.call(*call, token=False)
    assert done.returncode == 7, done.stdout
    error = next(line for line in done.stdout.splitlines() if line.startswith("error:"))
    assert "RAY_AUTH_MODE=token" in error
    assert ("`ray job submit`" in error) == bool(protocol)


def test_two_runs_share_a_cluster(cluster: RayCluster, tmp_path: Path) -> None:
    """The first takes one of two CPUs; the second would take two, starts with the other, and gets both in the end."""
    first, second = (tmp_path / name for name in ("first", "second"))
    one = start(cluster, *RUN, *words(first, MEDIUM, "cluster.num_workers=1"), RAY_ADDRESS=cluster.address)
    wait_for_partitions(first, 2, one)
    two = start(cluster, *RUN, *words(second, MEDIUM), RAY_ADDRESS=cluster.address)
    ends = [process.communicate(timeout=500)[0] for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], ends
    assert digest_in(ends[0]) == digest_in(ends[1])
    assert "Asked for 2 workers" in ends[1] or "by 2 workers" in ends[1], ends[1]


def test_a_run_waits_for_a_cluster_that_another_run_fills(cluster: RayCluster, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    one = start(cluster, *RUN, *words(first, MEDIUM), RAY_ADDRESS=cluster.address)
    wait_for_partitions(first, 2, one)
    refused = cluster.call(
        *RUN, *words(tmp_path / "refused", MEDIUM, "cluster.start_seconds=1"), RAY_ADDRESS=cluster.address
    )
    assert one.poll() is not None or refused.returncode == 7, refused.stdout
    two = start(cluster, *RUN, *words(second, MEDIUM, "cluster.start_seconds=3600"), RAY_ADDRESS=cluster.address)
    ends = [process.communicate(timeout=500)[0] for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], ends
    assert digest_in(ends[0]) == digest_in(ends[1])


def test_unlike_nodes_are_filled_by_their_cpus_and_recorded(kept: Path, tmp_path: Path) -> None:
    with ray_cluster(kept, "--num-cpus=0") as cluster:
        # One after the other: two that join from one machine at once may take the same names and ports.
        cluster.start_node("small", "--num-cpus=1", '--resources={"small": 1}')
        cluster.wait_for_cpus(1)
        cluster.start_node("large", "--num-cpus=3", '--resources={"large": 1}')
        cluster.wait_for_cpus(4)
        output = tmp_path / "output"
        said = cluster.run(*RUN, *words(output, SHORT), RAY_ADDRESS=cluster.address)
        assert "Starting 4 workers" in said
        assert "3 nodes: 4 CPU" in said
        log = "".join(path.read_text() for path in output.glob("runs/*/log"))
        ready = re.findall(r"worker \d+ ready on (\S+) \(process \d+\): (\S+.*)", log)
        assert ready, log
        recorded = Dataset.open(str(output)).videos().column("kernels").to_pylist()
        assert set(recorded) == {kernels for _, kernels in ready}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has Ray, in this one's version, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", f"ray[default]=={ray.__version__}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Ray cannot be installed into an environment of its own: {done.stderr[-300:]}")
    return python


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that a clone has."""
    folder = tmp_path_factory.mktemp("clone")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def test_a_cluster_with_ray_alone_says_what_to_install_and_what_it_shows_works(
    kept: Path, bare_python: Path, checkout: Path, tmp_path: Path
) -> None:
    with ray_cluster(kept, "--num-cpus=2", python=bare_python) as cluster:

        def submit(command: str) -> subprocess.CompletedProcess[str]:
            run = " ".join([*RUN, *words(tmp_path / "output", SHORT)])
            script = f"cd '{checkout}' && {command.replace('…', run)}"
            return cluster.call("bash", "-c", script, timeout=550, RAY_API_SERVER_ADDRESS=cluster.dashboard)

        refused = submit("ray job submit --working-dir . -- …")
        assert refused.returncode == 1
        assert "Packages that phoenix_ray needs are not installed" in refused.stdout
        assert "pyarrow, " in refused.stdout
        assert INSTALL_WITH_THE_JOB in refused.stdout
        assert "Traceback" not in refused.stdout
        done = submit(INSTALL_WITH_THE_JOB)
        assert done.returncode == 0, done.stdout
        assert "Finished: every frame has its row." in done.stdout


def test_a_node_with_ray_alone_is_named_with_what_it_lacks(kept: Path, bare_python: Path, tmp_path: Path) -> None:
    with ray_cluster(kept, "--num-cpus=0") as cluster:
        cluster.start_node("bare", "--num-cpus=2", python=bare_python)
        cluster.wait_for_cpus(2)
        done = cluster.call(*RUN, *words(tmp_path / "output", SHORT), RAY_ADDRESS=cluster.address)
        assert done.returncode == 7, done.stdout
        assert re.search(r"The Python that started Ray on node [\d.]+ has no module '\w+'", done.stdout), done.stdout
