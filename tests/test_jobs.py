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


@pytest.fixture
def slurm(programs: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of a job on three nodes, and a pretended `ray` and SLURM that note their words in `said-*`."""
    pretend(programs, "hostname", "echo 10.0.0.7 fe80::1")
    pretend(programs, "scancel", f'echo "$@" >> {tmp_path}/said-scancel')
    pretend(programs, "scontrol", f'echo "$@" >> {tmp_path}/said-scontrol; exit 1')
    pretend(programs, "srun", f'printf "%s\\n" "$@" > {tmp_path}/said-srun')
    pretend(
        programs,
        "ray",
        f'printf "%s\\n" "$@" > {tmp_path}/said-ray; mkdir -p $RAY_TMPDIR/ray\n'
        "echo 10.0.0.7:4321 > $RAY_TMPDIR/ray/ray_current_cluster; exec sleep 60",
    )
    be_python(programs, tmp_path, "exit 0")
    pretend(programs, "activate", "")
    job = {"JOB_ID": "123456", "JOB_NUM_NODES": "3", "CPUS_PER_TASK": "32", "GPUS_ON_NODE": "4", "MEM_PER_NODE": "1000"}
    own = {"VENV": str(programs.parent), "TMP": str(tmp_path / "disk")}
    variables = {f"SLURM_{name}": value for name, value in job.items()} | {"SLURMD_NODENAME": "node1"}
    return variables | {f"PHOENIX_RAY_{name}": value for name, value in own.items()}


def be_python(programs: Path, tmp_path: Path, run: str) -> None:
    """Pretend a Python whose `-m phoenix_ray.run` notes its words and does something; other programs do nothing."""
    pretend(programs, "python", f'[[ $1 == -m ]] || exit 0; printf "%s\\n" "$@" > {tmp_path}/said-run; {run}')


def words_of(tmp_path: Path, program: str) -> str:
    return " ".join((tmp_path / f"said-{program}").read_text().split())


def test_slurm_starts_a_ray_of_its_own_on_all_nodes_and_one_run(
    programs: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    done = run("slurm.sbatch", "--config", "phoenix-gpu", programs=programs, **slurm)
    assert done.returncode == 0, done.stderr
    head = words_of(tmp_path, "ray")
    assert head.startswith("start --block")
    assert "--head --node-ip-address=10.0.0.7 --port=0" in head
    assert "--num-cpus=32 --num-gpus=4 --memory=838860800 --object-store-memory=104857600" in head
    assert "--min-worker-port=0 --max-worker-port=0" in head
    others = words_of(tmp_path, "srun")
    assert others.startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 --exclude=node1 --cpus-per-task=32 --no-kill")
    assert others.endswith("keep_ray --address=10.0.0.7:4321")
    said = "-m phoenix_ray.run --config phoenix-gpu cluster.address=10.0.0.7:4321 run.wait_for_lease_seconds=120"
    assert words_of(tmp_path, "run") == said
    assert not (tmp_path / "disk" / "phoenix-ray-123456").exists(), "the job leaves nothing on its nodes"
    assert words_of(tmp_path, "scancel") == "--signal=TERM 123456.0"


@pytest.mark.parametrize("code", [2, 3, 4, 6, 7, 143])
def test_a_slurm_job_ends_with_the_runs_exit_code(
    code: int, programs: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    be_python(programs, tmp_path, f"exit {code}")
    assert run("slurm.sbatch", "x", programs=programs, **slurm).returncode == code
    logs = tmp_path / "disk" / "phoenix-ray-123456" / "start.log"
    assert logs.exists() == (code not in {3, 143}), "only a run that failed leaves Ray's logs"


@pytest.mark.parametrize("broken", ["ray", "activate", "python"])
def test_a_slurm_job_whose_ray_does_not_start_ends_with_7(broken: str, programs: Path, slurm: dict[str, str]) -> None:
    pretend(programs, broken, "echo this is broken >&2; return 1 2>/dev/null || exit 1")
    done = run("slurm.sbatch", "x", programs=programs, **slurm)
    assert done.returncode == 7
    assert "this is broken" in done.stderr


@pytest.mark.parametrize(
    ("number", "restarts", "asked"), [("USR1", "1", True), ("USR1", "0", False), ("TERM", "1", False)]
)
def test_a_slurm_job_drains_once_and_queues_itself_again_only_at_its_time_limit(
    number: str, restarts: str, asked: bool, programs: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    # The run signals the job's shell, as SLURM does, and ends when it gets a signal itself.
    waits = "trap 'echo once >> {0}/signals; sleep 0.5; exit 143' TERM; kill -s {1} $PPID; while :; do sleep 0.1; done"
    be_python(programs, tmp_path, waits.format(tmp_path, number))
    done = run("slurm.sbatch", "x", programs=programs, **slurm, PHOENIX_RAY_RESTARTS=restarts)
    assert done.returncode == 143
    assert (tmp_path / "signals").read_text().split() == ["once"]
    assert (tmp_path / "said-scontrol").exists() == asked


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
