"""jobs/slurm.sbatch on a real SLURM with two nodes: exit codes, drain, chains, and nodes that are given back.

The logs stay in build/cluster-test/slurm.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clusters.conftest import kept_folder
from tests.clusters.slurm.laboratory import LOCAL_DISK, NODES, Job, Slurm, open_slurm, why_not

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(580)]
SHORT, LONG = 40, 1200
GIVE_BACK_SECONDS = 15.0
ROW = ["split", "video_id", "frame_index"]


@pytest.fixture(scope="module")
def kept(_asked_for: None) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    return kept_folder("slurm")


@pytest.fixture(scope="module")
def slurm(kept: Path) -> Iterator[Slurm]:
    with open_slurm(kept / "laboratory") as running:
        yield running


@pytest.fixture(scope="module")
def digests(kept: Path) -> dict[int, str]:
    """The digests of datasets that one process computed."""
    found = {}
    for videos in (SHORT, LONG):
        words = [*source(videos), f"output.path={kept / f'alone-{videos}'}", "cluster.num_workers=2"]
        command = [sys.executable, "-m", "phoenix_ray.run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400)
        found[videos] = digest_in(done.stdout + done.stderr)
    return found


def source(videos: int) -> list[str]:
    return ["source.kind=synthetic", f"source.max_videos_per_split={videos}", "model.name=synthetic"]


def digest_in(text: str) -> str:
    return str(re.findall(r"Landmark digest (\w+)", text)[-1])


def states(output: Path) -> list[str]:
    """What each run of a dataset says about itself, in the order of the runs."""
    return [json.loads(path.read_bytes())["state"] for path in sorted((output / "runs").glob("*/status.json"))]


def give_back_seconds(job: Job, slurm: Slurm, text: str = "the run ended with exit code") -> float:
    """Return how long the nodes stay busy after the job has printed something."""
    ended = job.wait_for(text, seconds=400)
    job.wait()
    slurm.wait_for_nodes(NODES)
    seconds = time.monotonic() - ended
    print(f"{job.log.stem}: nodes free {seconds:.1f} s after {text!r}")
    with (job.log.parent / "measured.txt").open("a") as measured:
        measured.write(f"{job.log.stem}: nodes free {seconds:.1f} s after {text!r}\n")
    return seconds


def leftovers(slurm: Slurm, *jobs: Job) -> list[str]:
    """Files and processes that some jobs have left on the nodes."""
    names = [f"phoenix-ray-{job.facts()['JobId']}" for job in jobs]
    files = [str(path) for node in NODES for path in (slurm.lab / node).iterdir() if path.name in names]
    pattern = f"{LOCAL_DISK}/({'|'.join(names)})/"
    return files + subprocess.run(["pgrep", "-af", pattern], capture_output=True, text=True).stdout.splitlines()


def test_a_job_computes_what_one_process_does_and_gives_its_nodes_back(
    slurm: Slurm, kept: Path, digests: dict[int, str]
) -> None:
    job = slurm.submit(kept / "finish.log", *source(SHORT), f"output.path={kept / 'finish'}")
    assert give_back_seconds(job, slurm) <= GIVE_BACK_SECONDS
    assert (job.facts()["JobState"], job.facts()["ExitCode"]) == ("COMPLETED", "0:0")
    assert "2 nodes: 2 CPU, 0 GPU" in job.text()
    assert digest_in(job.text()) == digests[SHORT]
    assert not leftovers(slurm, job)


def test_gpus_that_slurm_gives_are_in_ray(slurm: Slurm, kept: Path) -> None:
    words = [*source(SHORT), f"output.path={kept / 'gpu'}", "cluster.num_gpus=2"]
    job = slurm.submit(kept / "gpu.log", *words, options=["--gpus-per-node=2"])
    assert job.wait()["ExitCode"] == "0:0"
    assert "2 nodes: 2 CPU, 4 GPU" in job.text()


def test_a_port_that_is_taken_fails_the_job_with_7(slurm: Slurm, kept: Path) -> None:
    listen = "import socket, time\ns = socket.socket(); s.bind(('', 6399)); s.listen(); time.sleep(300)"
    other = subprocess.Popen(["nsenter", f"--net=/run/netns/{NODES[0]}", sys.executable, "-c", listen])
    try:
        words = [*source(SHORT), f"output.path={kept / 'taken'}"]
        job = slurm.submit(kept / "port.log", *words, PHOENIX_RAY_PORT="6399")
        facts = job.wait()
    finally:
        other.kill()
        other.wait()
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "7:0")
    assert "cannot listen on port 6399" in job.text()


def test_a_ray_that_does_not_start_fails_the_job_with_7(slurm: Slurm, kept: Path, tmp_path: Path) -> None:
    # Ray's folder would have to be where a file is.
    (slurm.lab / NODES[0] / "occupied").touch()
    words = [*source(SHORT), f"output.path={kept / 'broken'}"]
    job = slurm.submit(kept / "broken.log", *words, PHOENIX_RAY_TMP=f"{LOCAL_DISK}/occupied")
    facts = job.wait()
    (slurm.lab / NODES[0] / "occupied").unlink()
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "7:0")


def test_a_job_drains_before_its_time_limit_and_the_next_of_the_chain_finishes(
    slurm: Slurm, kept: Path, digests: dict[int, str]
) -> None:
    words = [*source(LONG), f"output.path={kept / 'chain'}"]
    first = slurm.submit(kept / "chain-1.log", *words, "cluster.num_workers=1", options=["--signal=B:USR1@85"])
    second = slurm.submit(kept / "chain-2.log", *words, options=["--dependency=singleton"])
    first.wait_for("frames/s", seconds=120)
    # SLURM looks for jobs near their limit every half a minute; one worker needs longer than that.
    first.limit(minutes=2)
    facts = first.wait()
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "143:0")
    assert "received SIGUSR1" in first.text()
    assert second.wait()["ExitCode"] == "0:0"
    assert states(kept / "chain") == ["stopped", "finished"]
    assert digest_in(second.text()) == digests[LONG]


def test_a_job_queues_itself_again_at_its_time_limit(slurm: Slurm, kept: Path, digests: dict[int, str]) -> None:
    words = [*source(LONG), f"output.path={kept / 'requeue'}"]
    job = slurm.submit(kept / "requeue.log", *words, options=["--time=4"], PHOENIX_RAY_RESTARTS="1")
    job.wait_for("frames/s")
    # What SLURM does before the time limit.
    job.cancel("--batch", "--signal=USR1")
    job.wait(60, frozenset({"PENDING"}))
    slurm.call("scontrol", "update", f"JobId={job.number}", "StartTime=now")
    assert job.wait(300)["ExitCode"] == "0:0"
    assert states(kept / "requeue") == ["stopped", "finished"]
    assert digest_in(job.text()) == digests[LONG]


def test_scancel_of_the_batch_script_drains(slurm: Slurm, kept: Path) -> None:
    job = slurm.submit(kept / "drain.log", *source(LONG), f"output.path={kept / 'drain'}")
    job.wait_for("frames/s")
    job.cancel("--batch", "--signal=TERM")
    assert give_back_seconds(job, slurm, "received SIGTERM") <= GIVE_BACK_SECONDS
    assert job.facts()["ExitCode"] == "143:0"
    assert states(kept / "drain") == ["stopped"]
    assert not leftovers(slurm, job)


def test_a_plain_scancel_frees_the_nodes_and_the_next_job_finishes(
    slurm: Slurm, kept: Path, digests: dict[int, str]
) -> None:
    words = [*source(LONG), f"output.path={kept / 'cancel'}"]
    job = slurm.submit(kept / "cancel.log", *words)
    job.wait_for("frames/s")
    job.cancel()
    assert give_back_seconds(job, slurm, "received SIGTERM") <= GIVE_BACK_SECONDS
    following = slurm.submit(kept / "cancel-next.log", *words)
    assert following.wait(300)["ExitCode"] == "0:0"
    assert digest_in(following.text()) == digests[LONG]


def test_a_job_waits_out_the_lease_of_a_driver_that_died_elsewhere(slurm: Slurm, kept: Path) -> None:
    now = time.time()
    (kept / "lease").mkdir()
    dead = {"run_id": "their-run", "host": "elsewhere", "pid": 1, "since": now, "heartbeat": now}
    (kept / "lease" / "lease.json").write_text(json.dumps(dead))
    job = slurm.submit(kept / "lease.log", *source(SHORT), f"output.path={kept / 'lease'}", options=["--nodes=1"])
    assert job.wait()["ExitCode"] == "0:0"
    assert "Waiting up to 120 s" in job.text()


def test_two_jobs_share_a_node(slurm: Slurm, kept: Path, digests: dict[int, str]) -> None:
    options = ["--nodes=1", f"--nodelist={NODES[0]}", "--cpus-per-task=2"]
    jobs = [
        slurm.submit(kept / f"share-{name}.log", *source(SHORT), f"output.path={kept / name}", options=options)
        for name in "ab"
    ]
    ended = [job.wait() for job in jobs]
    assert [facts["ExitCode"] for facts in ended] == ["0:0", "0:0"]
    assert max(facts["StartTime"] for facts in ended) < min(facts["EndTime"] for facts in ended), "at the same time"
    assert [digest_in(job.text()) for job in jobs] == [digests[SHORT]] * 2
    assert not leftovers(slurm, *jobs)


def rows(output: Path) -> list[tuple[str, str, int]]:
    """Each row of the data files, as any Parquet reader sees it."""
    tables = [pq.read_table(file, columns=ROW, partitioning=None) for file in output.glob("data/*.parquet")]
    return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())


def compactions(jobs: Sequence[Job]) -> int:
    return sum("Compacting" in job.text() for job in jobs)


def test_the_elements_of_an_array_share_two_nodes_and_make_one_dataset(
    slurm: Slurm, kept: Path, digests: dict[int, str]
) -> None:
    output = kept / "array"
    words = [*source(SHORT), f"output.path={output}", "cluster.num_workers=1"]
    jobs = slurm.submit_array(kept / "array.log", range(4), *words)
    ended = [job.wait(300) for job in jobs]
    assert [facts["ExitCode"] for facts in ended] == ["0:0"] * 4
    assert {facts["BatchHost"] for facts in ended} == set(NODES)
    assert compactions(jobs) == 1
    whole = [job for job in jobs if "Dataset: whole" in job.text()]
    assert {digest_in(job.text()) for job in whole} == {digests[SHORT]}
    assert rows(output) == rows(kept / f"alone-{SHORT}")
    assert not (output / "leases").exists()
    assert not list(output.glob("partitions/**/*.parquet"))
    assert not leftovers(slurm, *jobs)


def test_an_array_of_which_an_element_was_killed_is_finished_by_the_same_line(
    slurm: Slurm, kept: Path, digests: dict[int, str]
) -> None:
    output = kept / "array-killed"
    words = [*source(LONG), f"output.path={output}", "cluster.num_workers=1", "run.progress_seconds=2"]
    jobs = slurm.submit_array(kept / "array-killed.log", range(4), *words)
    killed = jobs[2]
    killed.wait_for("frames/s", 200)
    killed.cancel("--signal=KILL", "--full")
    others = [job for job in jobs if job is not killed]
    assert [job.wait(400)["ExitCode"] for job in others] == ["0:0"] * 3
    assert killed.wait()["ExitCode"] != "0:0"
    assert compactions(jobs) == 0
    assert any("Dataset: incomplete" in job.text() for job in others)

    again = slurm.submit_array(kept / "array-again.log", range(4), *words)
    assert [job.wait(400)["ExitCode"] for job in again] == ["0:0"] * 4
    assert compactions(again) == 1
    assert digest_in(again[2].text()) == digests[LONG]
    assert rows(output) == rows(kept / f"alone-{LONG}")


def test_an_array_that_is_numbered_from_one_is_refused(slurm: Slurm, kept: Path) -> None:
    words = [*source(SHORT), f"output.path={kept / 'from-one'}"]
    first, last = slurm.submit_array(kept / "from-one.log", [4, 7], *words, PHOENIX_RAY_SHARES="7")
    assert last.wait()["ExitCode"] == "2:0"
    assert "give --array=0-6" in last.text()
    assert first.wait()["ExitCode"] == "0:0"
    assert "share 4/7" in first.text()


def test_a_node_that_is_lost_in_mid_run_is_done_without(slurm: Slurm, kept: Path, digests: dict[int, str]) -> None:
    job = slurm.submit(kept / "lost.log", *source(LONG), f"output.path={kept / 'lost'}")
    job.wait_for("frames/s")
    slurm.kill_node(NODES[1])
    assert job.wait(400)["ExitCode"] == "0:0"
    assert digest_in(job.text()) == digests[LONG]
    slurm.start_node(NODES[1])
    slurm.wait_for_nodes(NODES)
