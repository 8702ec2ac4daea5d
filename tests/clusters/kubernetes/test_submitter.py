"""What KubeRay's submitter and operator do to a run, on a real Ray without Kubernetes.

`submitter` is the command that KubeRay gives to its submitter in K8sJobMode; Kubernetes runs it again when it
fails. The logs stay in build/cluster-test/kubernetes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.dataset.reader import Dataset
from tests.clusters.conftest import kept_folder
from tests.clusters.ray_jobs.laboratory import ROOT, RayCluster, ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(580)]
JOB_SH = ROOT / "jobs" / "rayjob.sh"
SHORT, LONG, VERY_LONG = 20, 100, 3000


@pytest.fixture(scope="module")
def kept(_asked_for: None) -> Path:
    return kept_folder("kubernetes")


def entrypoint(output: Path, videos: int, *words: str) -> str:
    run = ["source.kind=synthetic", f"source.max_videos_per_split={videos}", "model.name=synthetic"]
    return " ".join([str(JOB_SH), "run", *run, f"output.path={output}", "run.progress_seconds=1", *words])


def submitter(cluster: RayCluster, name: str, entrypoint: str) -> list[str]:
    address = f"--address {cluster.dashboard}"
    script = (
        f"if ! ray job status {address} {name} >/dev/null 2>&1 ; then "
        f"ray job submit {address} --no-wait --submission-id {name} -- {entrypoint} ; fi ; "
        f"ray job logs {address} --follow {name}"
    )
    return ["bash", "-ec", script]


def job_info(cluster: RayCluster, name: str) -> dict[str, Any]:
    """What the operator asks the dashboard for."""
    program = (
        "import json, sys; from ray.job_submission import JobSubmissionClient as Client\n"
        "info = Client(sys.argv[1]).get_job_info(sys.argv[2])\n"
        "print(json.dumps([info.status.value, info.driver_exit_code, info.message]))"
    )
    status, code, message = json.loads(cluster.run("python", "-c", program, cluster.dashboard, name).splitlines()[-1])
    return {"status": status, "code": code, "message": message}


def wait_for_partitions(output: Path, count: int) -> None:
    end = time.monotonic() + 180
    while len(list(output.glob("partitions/**/[0-9]*.parquet"))) < count:
        assert time.monotonic() < end, "no partitions were committed in time"
        time.sleep(0.1)


def state(output: Path) -> str:
    latest = max(output.glob("runs/*/status.json"), key=lambda path: path.stat().st_mtime)
    return str(json.loads(latest.read_bytes())["state"])


def digest(output: Path) -> str:
    return str(Dataset.open(str(output)).digest())


def test_a_wrong_setting_fails_the_job_at_once_and_the_submitter_is_content(kept: Path, tmp_path: Path) -> None:
    with ray_cluster(kept, "--num-cpus=2") as cluster:
        wrong = entrypoint(tmp_path / "output", SHORT, "model.batch_sise=4")
        done = cluster.call(*submitter(cluster, "wrong", wrong), PHOENIX_RAY_RETRY_SECONDS="300")
        assert done.returncode == 0, "Kubernetes would run the submitter again"
        info = job_info(cluster, "wrong")
        assert (info["status"], info["code"]) == ("FAILED", 2)
        assert "batch_sise" in info["message"], "`kubectl get rayjob -o yaml` shows the reason"
        assert "trying again" not in done.stdout


def test_the_next_head_continues_the_run(kept: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with ray_cluster(kept, "--num-cpus=2") as cluster:
        words = submitter(cluster, "lost", entrypoint(output, LONG))
        first = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=cluster.environment()
        )
        wait_for_partitions(output, 4)
        cluster.kill()
        said, _ = first.communicate(timeout=120)
        assert first.returncode != 0, f"a lost head must fail the submitter: {said}"
        shutil.rmtree(cluster.temporary / "session_latest", ignore_errors=True)
        cluster.start_head("--num-cpus=2")
        done = cluster.call(*words, timeout=500)
        assert done.returncode == 0, done.stdout
        assert job_info(cluster, "lost")["status"] == "SUCCEEDED", done.stdout
        assert "frames to compute" in done.stdout
        again = cluster.call("python", "-m", "phoenix_ray.run", *entrypoint(tmp_path / "alone", LONG).split()[2:])
        assert again.returncode == 0, again.stdout
        assert digest(output) == digest(tmp_path / "alone")


def test_a_deleted_rayjob_drains(kept: Path, tmp_path: Path) -> None:
    """The operator stops the job, then Kubernetes calls the pods' preStop hooks."""
    output = tmp_path / "output"
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": "90", "TMPDIR": str(tmp_path)}
    cluster = RayCluster(kept)
    try:
        cluster.start_head("--num-cpus=2", **variables)
        address = f"--address={cluster.dashboard}"
        job = ["--no-wait", "--submission-id", "deleted", "--", *entrypoint(output, VERY_LONG).split()]
        cluster.run("ray", "job", "submit", address, *job)
        wait_for_partitions(output, 4)
        cluster.run("ray", "job", "stop", address, "--no-wait", "deleted")
        drain(tmp_path)
        assert state(output) == "stopped"
        assert job_info(cluster, "deleted")["status"] in {"STOPPED", "RUNNING"}
    finally:
        cluster.kill()
        shutil.rmtree(cluster.temporary, ignore_errors=True)


def test_a_pod_that_is_evicted_drains_without_a_word_from_the_operator(kept: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    cluster = RayCluster(kept)
    try:
        cluster.start_head("--num-cpus=2", TMPDIR=str(tmp_path))
        job = ["--no-wait", "--submission-id", "evicted", "--", *entrypoint(output, VERY_LONG).split()]
        cluster.run("ray", "job", "submit", f"--address={cluster.dashboard}", *job)
        wait_for_partitions(output, 4)
        drain(tmp_path)
        assert state(output) == "stopped"
        assert job_info(cluster, "evicted")["status"] == "RUNNING", "the submitter is to start it on the next head"
    finally:
        cluster.kill()
        shutil.rmtree(cluster.temporary, ignore_errors=True)


def drain(folder: Path) -> None:
    """Call the hook; the end of the run is enough here, where workers of other clusters may be seen."""
    hook = subprocess.Popen(["bash", str(JOB_SH), "drain"], env=dict(os.environ, TMPDIR=str(folder)))
    try:
        end = time.monotonic() + 100
        while (folder / "phoenix-ray-run.pid").exists():
            assert time.monotonic() < end, "the run did not end"
            time.sleep(0.2)
    finally:
        hook.send_signal(signal.SIGTERM)
        hook.wait(timeout=10)
