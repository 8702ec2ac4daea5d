"""The scripts of jobs/ with a pretended `ray`, Python and SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[1] / "jobs"


def pretend(folder: Path, name: str, body: str) -> None:
    """Put a program into a folder that comes first in PATH."""
    program = folder / name
    program.write_text(f"#!/usr/bin/env bash\n{body}\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs: a `ray` that notes what is submitted, a cluster that says the run ended with 4."""
    folder = tmp_path / "bin"
    folder.mkdir()
    note = f'printf "%s\\n" "$@" > {tmp_path}/words; echo "${{RAY_AUTH_MODE:-none}}" > {tmp_path}/mode'
    pretend(folder, "ray", f'[[ $2 != submit ]] || {{ {note}; echo "Next: ray job logs"; }}')
    pretend(folder, "python", "echo 4")
    return folder


def run(script: str, *words: str, programs: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PHOENIX_RAY", "SLURM"))}
    environment = quiet | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(programs)} | variables
    command = ["bash", str(JOBS / script), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize("script", ["submit.sh", "slurm.sbatch", "rayjob.sh"])
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


def test_submit_does_not_end_with_0_when_the_cluster_is_gone(programs: Path) -> None:
    pretend(programs, "python", "exit 1")
    lost = run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265")
    assert lost.returncode == 1
    assert "ask for its status as shown above" in lost.stderr


def test_a_submission_that_fails_shows_what_ray_said(programs: Path) -> None:
    pretend(programs, "ray", "echo the reason; exit 1")
    done = run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265")
    assert done.returncode == 1
    assert "the reason" in done.stderr


@pytest.mark.parametrize(
    ("variables", "prefix"),
    [
        ({}, ""),
        ({"RAY_AUTH_TOKEN": "secret"}, "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=… "),
        ({"RAY_AUTH_TOKEN_PATH": "/my token"}, r"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/my\ token "),
    ],
)
def test_submit_shows_commands_with_all_that_another_shell_needs(
    variables: dict[str, str], prefix: str, programs: Path, tmp_path: Path
) -> None:
    done = run("submit.sh", "x", programs=programs, RAY_API_SERVER_ADDRESS="http://head:8265", **variables)
    said = (tmp_path / "words").read_text().splitlines()
    name = said[said.index("--submission-id") + 1]
    shown = [line.strip() for line in done.stderr.splitlines() if "ray job" in line]
    assert shown == [
        f"{prefix}ray job {what} --address http://head:8265 {name}" for what in ("logs --follow", "status", "stop")
    ]
    assert "Next: ray job logs" not in done.stdout + done.stderr, "Ray's own commands lack the address and the token"
    assert "secret" not in done.stdout + done.stderr


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


@pytest.mark.parametrize(
    ("step", "starts"),
    [
        ("head_pid=$!", False),
        ("run_pid=$!", False),
        ("code=$?", False),
        ('run_pid=""', False),
        ("words+=(run.wait_for_lease_seconds=120)", True),
        ("run_pid=$! after words", True),
        ("before=$stopped_by after words", True),
        ('wait "$run_pid" after words', True),
    ],
)
def test_a_signal_between_any_two_steps_of_a_slurm_job_reaches_the_run(
    step: str, starts: bool, programs: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    command, _, after = step.partition(" after ")
    (tmp_path / "steps").write_text("""
        [[ $0 == *slurm.sbatch ]] || return 0
        signal_at_step() {
            [[ $1 != "$AFTER"* ]] || AFTER=""
            [[ -z $AFTER && $1 == "$STEP" ]] || return 0
            STEP=none
            kill -s USR1 $$
        }
        set -o functrace
        trap 'signal_at_step "$BASH_COMMAND"' DEBUG""")
    steps = {"BASH_ENV": str(tmp_path / "steps"), "STEP": command, "AFTER": after}
    waits = "trap 'exit 143' TERM; for ((tick = 0; tick < 200; tick++)); do sleep 0.1; done; echo > {}/unasked"
    be_python(programs, tmp_path, waits.format(tmp_path))
    done = run("slurm.sbatch", "x", programs=programs, **slurm, **steps)
    assert "received SIGUSR1" in done.stderr, done.stderr
    assert done.returncode == 143, done.stderr
    assert (tmp_path / "said-run").exists() <= starts
    assert not (tmp_path / "unasked").exists(), "the run was not asked to drain"


def start_rayjob(
    programs: Path, tmp_path: Path, pauses: str, *codes: str, drained: str = "143"
) -> subprocess.Popen[str]:
    """Start `rayjob.sh run` with a pretended Python that ends with one exit code after another.

    With "wait" for a code it runs until SIGTERM, and then ends with `drained`.
    """
    (tmp_path / "codes").write_text("\n".join(codes) + "\n")
    body = f"""
        echo "$*" >> {tmp_path}/attempts
        code=$(head -n 1 {tmp_path}/codes); sed -i 1d {tmp_path}/codes
        [[ $code == wait ]] || exit $code
        trap 'echo once >> {tmp_path}/signals; sleep 0.3; exit {drained}' TERM
        while :; do sleep 0.1; done"""
    pretend(programs, "python", body)
    environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", TMPDIR=str(tmp_path))
    return subprocess.Popen(
        ["bash", str(JOBS / "rayjob.sh"), "run", "--config", "phoenix", "a=b c"],
        env=environment | {"PHOENIX_RAY_RETRY_SECONDS": pauses},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def attempts(tmp_path: Path) -> Sequence[str]:
    file = tmp_path / "attempts"
    return file.read_text().splitlines() if file.exists() else []


def wait_for_attempts(tmp_path: Path, count: int) -> None:
    end = time.monotonic() + 30
    while len(attempts(tmp_path)) < count:
        assert time.monotonic() < end, attempts(tmp_path)
        time.sleep(0.02)
    time.sleep(0.3)


def wait_until_drained(tmp_path: Path) -> None:
    end = time.monotonic() + 30
    while (tmp_path / "phoenix-ray-run.pid").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6, 130, 143])
def test_a_rayjob_does_not_repeat_a_final_exit_code(code: int, programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "0 0", str(code))
    assert job.wait(timeout=30) == code
    assert attempts(tmp_path) == ["-m phoenix_ray.run run.wait_for_lease_seconds=120 --config phoenix a=b c"]


@pytest.mark.parametrize("code", [1, 7, 137])
def test_a_rayjob_repeats_other_exit_codes_a_few_times(code: int, programs: Path, tmp_path: Path) -> None:
    assert start_rayjob(programs, tmp_path, "0 0", str(code), "0").wait(timeout=30) == 0
    assert len(attempts(tmp_path)) == 2
    (tmp_path / "attempts").unlink()
    assert start_rayjob(programs, tmp_path, "0 0", *[str(code)] * 5).wait(timeout=30) == code
    assert len(attempts(tmp_path)) == 3


def test_a_rayjob_that_drains_signals_the_run_once_whoever_asks(programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "0 0", "wait")
    wait_for_attempts(tmp_path, 1)
    for _ in range(3):
        job.send_signal(signal.SIGUSR1)
        time.sleep(0.02)
    wait_until_drained(tmp_path)
    assert (tmp_path / "signals").read_text().split() == ["once"]
    assert job.poll() is None, "a job that ends is final: only one that is lost with its head starts again"
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 143


def test_a_rayjob_whose_run_completes_while_its_pod_stops_ends(programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "0 0", "wait", drained="0")
    wait_for_attempts(tmp_path, 1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=30) == 0


def test_a_rayjob_that_ray_has_signalled_does_not_signal_the_run_again(programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "0 0", "wait")
    wait_for_attempts(tmp_path, 1)
    job.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    assert not (tmp_path / "signals").exists()
    subprocess.run(["pkill", "-TERM", "-P", str(job.pid)], check=True)
    assert job.wait(timeout=30) == 143


def test_a_rayjob_that_is_stopped_between_two_attempts_ends(programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "60", "7", "0")
    wait_for_attempts(tmp_path, 1)
    job.send_signal(signal.SIGUSR1)
    wait_until_drained(tmp_path)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 7
    assert len(attempts(tmp_path)) == 1


def test_a_pod_drains_until_neither_the_run_nor_a_worker_is_left(programs: Path, tmp_path: Path) -> None:
    job = start_rayjob(programs, tmp_path, "0 0", "wait")
    wait_for_attempts(tmp_path, 1)
    (tmp_path / "worker").touch()
    pretend(programs, "grep", f"[[ -e {tmp_path}/worker ]]")
    environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", TMPDIR=str(tmp_path))
    drain = subprocess.Popen(["bash", str(JOBS / "rayjob.sh"), "drain"], env=environment)
    wait_until_drained(tmp_path)
    time.sleep(1.5)
    assert drain.poll() is None, "a worker is left"
    (tmp_path / "worker").unlink()
    assert drain.wait(timeout=30) == 0
    job.terminate()
    assert job.wait(timeout=30) == 143
