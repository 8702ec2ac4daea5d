"""The scripts of jobs/: with a pretended `ray` and a pretended SLURM, and what a cluster would read of the YAML."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix_ray.config_files import find_config, load

JOBS = Path(__file__).parents[1] / "jobs"
ROOT = JOBS.parent


def pretend(folder: Path, name: str, body: str) -> None:
    """Put a program into a folder that comes first in PATH."""
    program = folder / name
    program.write_text(f"#!/usr/bin/env bash\n{body}\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs: a `ray` that notes its words, a cluster that says the run ended with 4."""
    folder = tmp_path / "bin"
    folder.mkdir()
    pretend(
        folder,
        "ray",
        f'printf "%s\\n" "$@" > {tmp_path}/words; echo "${{RAY_AUTH_MODE:-none}}" > {tmp_path}/mode; exit 1',
    )
    pretend(folder, "python", "echo 4")
    return folder


def run(script: str, *words: str, programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PHOENIX_RAY", "SLURM"))}
    environment = quiet | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(programs)} | variables
    command = ["bash", str(JOBS / script), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize("script", ["submit.sh", "slurm.sbatch"])
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(JOBS / script)], check=True)


def test_submit_hands_the_words_to_the_module_unchanged(programs: Path, tmp_path: Path) -> None:
    words = ["--config", "phoenix-gpu", "output.path=/data/out put $HOME"]
    run("submit.sh", *words, programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265", PHOENIX_RAY_MODELS="/models")
    said = (tmp_path / "words").read_text().splitlines()
    entrypoint = said[said.index("--") + 1 :]
    assert entrypoint == ["python", "-m", "phoenix_ray.run", *words, "model.weights_path=/models"]


def test_each_submission_has_an_id_of_its_own(programs: Path, tmp_path: Path) -> None:
    ids = set()
    for _ in range(3):
        run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265")
        said = (tmp_path / "words").read_text().splitlines()
        ids.add(said[said.index("--submission-id") + 1])
    assert len(ids) == 3


def test_submit_ends_with_the_runs_exit_code(programs: Path) -> None:
    assert run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265").returncode == 4
    pretend(programs, "python", "exit 1")
    lost = run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265")
    assert lost.returncode == 1, "a cluster that is gone leaves what `ray job submit` said"


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "none"),
        ({"RAY_AUTH_TOKEN": "secret"}, "token"),
        ({"RAY_AUTH_TOKEN_PATH": "/token"}, "token"),
        ({"RAY_AUTH_TOKEN": "secret", "RAY_AUTH_MODE": "disabled"}, "disabled"),
    ],
)
def test_a_token_in_the_environment_is_used(
    variables: dict[str, str], mode: str, programs: Path, tmp_path: Path
) -> None:
    run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265", **variables)
    assert (tmp_path / "mode").read_text().strip() == mode


def test_submit_without_an_address_says_how_to_call_it(programs: Path, tmp_path: Path) -> None:
    done = run("submit.sh", "source.path=/data", programs=programs)
    assert done.returncode == 2
    assert "RAY_API_SERVER_ADDRESS=http://HEAD:8265 jobs/submit.sh" in done.stderr
    assert not (tmp_path / "words").exists()


def test_slurm_starts_ray_on_all_nodes_and_one_run(programs: Path, tmp_path: Path) -> None:
    pretend(programs, "scontrol", "printf 'node1\\nnode2\\nnode3\\n'")
    pretend(
        programs,
        "srun",
        f'[[ "$*" == *hostname* ]] && echo "10.0.0.7 fe80::1" || printf "%s\\n" "$@" > {tmp_path}/words',
    )
    pretend(programs, "activate", "")
    slurm = {"NODELIST": "node[1-3]", "ID": "123456", "NUM_NODES": "3"}
    done = run(
        "slurm.sbatch",
        "--config",
        "phoenix-gpu",
        programs=programs,
        PHOENIX_RAY_VENV=str(programs.parent),
        SLURM_CPUS_PER_TASK="32",
        SLURM_GPUS_ON_NODE="4",
        **{f"SLURM_JOB_{name}": value for name, value in slurm.items()},
    )
    assert done.returncode == 0, done.stderr
    said = " ".join((tmp_path / "words").read_text().split())
    assert "--nodes=3 --ntasks=3 --ntasks-per-node=1 --cpus-per-task=32 ray symmetric-run" in said
    assert "--address 10.0.0.7:23456 --min-nodes 3 --num-cpus 32 --num-gpus 4" in said
    assert said.endswith("-- python -m phoenix_ray.run --config phoenix-gpu cluster.address=auto")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    documents = yaml.safe_load_all((JOBS / "rayjob.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_the_ray_job_resumes_by_itself_and_cleans_up(manifest: dict[str, Any]) -> None:
    assert manifest["RayJob"]["apiVersion"] == "ray.io/v1"
    spec = manifest["RayJob"]["spec"]
    assert spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"] is True


def test_the_ray_job_asks_for_a_token(manifest: dict[str, Any]) -> None:
    cluster = manifest["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0), "KubeRay asks for it"


def test_the_entrypoint_is_a_run_with_settings_that_exist_on_the_shared_volume(manifest: dict[str, Any]) -> None:
    words = shlex.split(manifest["RayJob"]["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "phoenix_ray.run", "--config"]
    settings = load(find_config(Path(words[4])), words[5:])
    assert settings.model.weights_path == "", "the image says where its weights are"
    assert settings.cluster.num_gpus == "auto"
    for pod in pods(manifest):
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert settings.source.path.startswith(mount["mountPath"])
        assert settings.output.path.startswith(mount["mountPath"])


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["RayJob"]["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_head_and_workers_share_image_and_volume(manifest: dict[str, Any]) -> None:
    assert len({pod["containers"][0]["image"] for pod in pods(manifest)}) == 1
    claim = manifest["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(manifest):
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_a_worker_pod_holds_the_workers_that_share_its_gpu(manifest: dict[str, Any]) -> None:
    settings = load(find_config(Path("phoenix-gpu")))
    (group,) = manifest["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert int(limits["cpu"]) >= settings.cluster.workers_per_gpu * settings.cluster.cpus_per_worker


def test_the_image_is_made_from_files_that_exist(manifest: dict[str, Any]) -> None:
    dockerfile = (JOBS / "Dockerfile").read_text()
    for copied in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists(), name
    ray = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ray=="))
    assert ray == f"ray=={manifest['RayJob']['spec']['rayClusterSpec']['rayVersion']}"
