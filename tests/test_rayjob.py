"""What KubeRay would read of jobs/rayjob*.yaml; tests/clusters/kubernetes checks them against its schema."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from phoenix_ray.config_files import find_config, load

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "jobs"
NAMES = ("rayjob.yaml", "rayjob-autoscaling.yaml", "rayjob-object-storage.yaml")


@pytest.fixture(scope="module", params=NAMES)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def read(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((JOBS / name).read_text())
    assert isinstance(document, dict)
    return document


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


def entrypoint(job: dict[str, Any]) -> list[str]:
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["rayjob.sh", "run", "--config"]
    return words[3:]


def test_a_failure_does_not_build_new_clusters_and_the_head_is_looked_for_again(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["submitterConfig"]["backoffLimit"] >= 3
    assert "submissionMode" not in job["spec"], "only the default, K8sJobMode, submits the run again to the next head"
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_the_cluster_asks_for_a_token(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0), "KubeRay asks for it"


def test_the_entrypoint_is_a_run_with_settings_that_exist(job: dict[str, Any]) -> None:
    config, *words = entrypoint(job)
    settings = load(find_config(Path(config)), words)
    assert settings.model.weights_path == "", "the image says where its weights are"
    assert settings.cluster.num_gpus == "auto"


def test_ray_and_kubernetes_leave_a_run_the_time_to_drain(job: dict[str, Any]) -> None:
    config, *words = entrypoint(job)
    drain = load(find_config(Path(config)), words).cluster.drain_seconds
    head, *_ = pods(job)
    environment = {variable["name"]: variable["value"] for variable in container(head)["env"]}
    stop = int(environment["RAY_JOB_STOP_WAIT_TIME_S"])
    assert stop >= drain + 20, "compaction follows the last shards"
    for pod in pods(job):
        assert pod["terminationGracePeriodSeconds"] >= stop + 20, "Ray's own end follows the run's"
        assert container(pod)["lifecycle"]["preStop"] == {"exec": {"command": ["rayjob.sh", "drain"]}}


def test_the_drain_looks_for_workers_by_the_name_of_their_class() -> None:
    from phoenix_ray.cluster.actors import ShardActor

    name = cast("Any", ShardActor).__ray_metadata__.class_name
    assert f"'[r]ay::{name}'" in (JOBS / "rayjob.sh").read_text()


@pytest.mark.parametrize("name", ["rayjob.yaml", "rayjob-autoscaling.yaml"])
def test_source_and_output_are_on_the_volume_that_all_pods_mount(name: str) -> None:
    claim = read("rayjob-volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    job = read(name)
    config, *words = entrypoint(job)
    settings = load(find_config(Path(config)), words)
    for pod in pods(job):
        (mount,), (volume,) = container(pod)["volumeMounts"], pod["volumes"]
        assert mount["name"] == volume["name"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert settings.source.path.startswith(mount["mountPath"])
        assert settings.output.path.startswith(mount["mountPath"])


def test_with_object_storage_all_pods_have_the_keys_and_no_volume() -> None:
    job = read("rayjob-object-storage.yaml")
    config, *words = entrypoint(job)
    settings = load(find_config(Path(config)), words)
    assert {settings.source.path.partition("://")[0], settings.output.path.partition("://")[0]} == {"s3"}
    for pod in pods(job):
        assert container(pod)["envFrom"] == [{"secretRef": {"name": "phoenix-ray-bucket"}}]
        assert "volumes" not in pod


def test_the_autoscaling_cluster_begins_with_its_head() -> None:
    cluster = read("rayjob-autoscaling.yaml")["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    assert group["maxReplicas"] > 1


def test_only_the_head_with_the_autoscaler_has_a_service_accounts_token(job: dict[str, Any]) -> None:
    head, *workers = pods(job)
    autoscaled = job["spec"]["rayClusterSpec"].get("enableInTreeAutoscaling", False)
    assert ("automountServiceAccountToken" in head) != autoscaled
    for pod in [*workers, *([] if autoscaled else [head])]:
        assert pod["automountServiceAccountToken"] is False


def test_a_worker_pod_holds_the_workers_that_share_its_gpu(job: dict[str, Any]) -> None:
    config, *words = entrypoint(job)
    settings = load(find_config(Path(config)), words)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = container(group["template"]["spec"])["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert int(limits["cpu"]) >= settings.cluster.workers_per_gpu * settings.cluster.cpus_per_worker


def test_all_pods_of_all_examples_use_one_image_which_is_made_from_files_that_exist() -> None:
    assert len({container(pod)["image"] for name in NAMES for pod in pods(read(name))}) == 1
    dockerfile = (JOBS / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    assert "jobs/rayjob.sh" in copied
    assert os.access(JOBS / "rayjob.sh", os.X_OK)


def test_the_image_has_the_compiler_that_triton_starts_kernels_with() -> None:
    assert " gcc libc6-dev " in (JOBS / "Dockerfile").read_text()


def test_the_extras_of_the_image_exist() -> None:
    extras = re.findall(r"EXTRAS=(\S+)", (JOBS / "Dockerfile").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert extras
    assert [extra for extra in extras if f"\n{extra} = [" not in project] == []


def test_the_examples_name_the_ray_of_the_image(job: dict[str, Any]) -> None:
    ray = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))
    assert ray == f"ray=={job['spec']['rayClusterSpec']['rayVersion']}"
