"""Runs on a cluster that Ray's autoscaler grows from no node to two and shrinks again, in both versions of it.

What the runs print, when there were how many nodes, and Ray's logs stay in build/cluster-test/autoscaler.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.clusters.autoscaler.laboratory import IDLE_SECONDS, AutoscalingCluster, environment, open_cluster, why_not
from tests.clusters.conftest import kept_folder

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(580)]
SHORT, LONG = 160, 800
# Tests of what is the same with either version of the autoscaler.
ONCE = pytest.mark.parametrize("cluster", [2], indirect=True, ids=["version 2"])
# The autoscaler looks every second, and Ray reports a node as idle some seconds late.
GONE_SECONDS = IDLE_SECONDS + 60.0


@pytest.fixture(scope="module")
def kept(_asked_for: None) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    return kept_folder("autoscaler")


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def cluster(kept: Path, request: pytest.FixtureRequest) -> Iterator[AutoscalingCluster]:
    with open_cluster(kept / f"version-{request.param}", request.param) as running:
        yield running


@pytest.fixture(scope="module")
def digests(kept: Path) -> dict[int, str]:
    """The digests of datasets that one process computed."""
    found = {}
    for videos in (SHORT, LONG):
        words = [*source(videos), f"output.path={kept / f'alone-{videos}'}", "cluster.num_workers=1"]
        command = [sys.executable, "-m", "phoenix_ray.run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400, env=environment())
        found[videos] = digest_in(done.stdout)
    return found


@pytest.fixture
def no_nodes(cluster: AutoscalingCluster) -> AutoscalingCluster:
    """The cluster, when the nodes of the test before have gone."""
    cluster.wait_for_nodes(0, GONE_SECONDS)
    return cluster


def source(videos: int = SHORT) -> list[str]:
    return ["source.kind=synthetic", f"source.max_videos_per_split={videos}", "model.name=synthetic"]


def digest_in(text: str) -> str:
    return str(re.findall(r"Landmark digest (\w+)", text)[-1])


def wait_for(log: Path, pattern: str, seconds: float = 120.0) -> None:
    """Wait until a run has printed something."""
    end = time.monotonic() + seconds
    while not re.search(pattern, log.read_text()):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def summary(output: Path) -> dict[str, Any]:
    (path,) = output.glob("runs/*/summary.json")
    return dict(json.loads(path.read_bytes()))


def test_auto_goes_from_no_node_to_two_and_back(no_nodes: AutoscalingCluster, digests: dict[int, str]) -> None:
    cluster, output = no_nodes, no_nodes.lab / "auto"
    changes = len(cluster.history())
    done = cluster.run(cluster.lab / "auto.log", *source(), f"output.path={output}")
    assert done.returncode == 0, done.stdout
    gone = cluster.wait_for_nodes(0, GONE_SECONDS)
    print(f"the nodes were gone {gone:.1f} s after the run: {cluster.history()[changes - 1 :]}")
    assert digest_in(done.stdout) == digests[SHORT]
    assert max(cluster.history()[changes:]) >= 2
    assert "has an autoscaler" in done.stdout
    assert "Waiting for nodes: the cluster has 0 CPU" in done.stdout
    assert summary(output)["workers"] == 2
    assert summary(output)["failures"] == 0


def test_a_number_of_workers_is_asked_for_at_once(no_nodes: AutoscalingCluster, digests: dict[int, str]) -> None:
    cluster, output = no_nodes, no_nodes.lab / "number"
    words = [*source(), f"output.path={output}", "cluster.num_workers=2", "run.progress_seconds=1"]
    done = cluster.run(cluster.lab / "number.log", *words)
    assert done.returncode == 0, done.stdout
    cluster.wait_for_nodes(0, GONE_SECONDS)
    assert digest_in(done.stdout) == digests[SHORT]
    assert "Asking for 2 workers with 1 CPU each" in done.stdout
    assert re.search(r"0/[\d,]+ frames, waiting for nodes: 0 of 2 workers", done.stdout)


@ONCE
def test_a_node_that_is_lost_under_a_worker_is_a_lost_worker(
    no_nodes: AutoscalingCluster, digests: dict[int, str]
) -> None:
    cluster, output = no_nodes, no_nodes.lab / "lost"
    log = cluster.lab / "lost.log"
    run = cluster.open_run(
        log, *source(LONG), f"output.path={output}", "cluster.num_workers=2", "run.progress_seconds=1"
    )
    wait_for(log, r"frames/s, .*2 workers\n")
    cluster.kill_node()
    assert run.wait(300) == 0, log.read_text()
    cluster.wait_for_nodes(0, GONE_SECONDS)
    assert "A worker was lost" in log.read_text()
    assert digest_in(log.read_text()) == digests[LONG]
    assert summary(output)["failures"] == 0


@ONCE
def test_a_run_that_gets_no_node_in_time_ends_with_7_and_says_why(no_nodes: AutoscalingCluster) -> None:
    cluster, output = no_nodes, no_nodes.lab / "none"
    words = [*source(), f"output.path={output}", "cluster.num_workers=2", "cluster.cpus_per_worker=8"]
    done = cluster.run(cluster.lab / "none.log", *words, "cluster.start_seconds=8")
    assert done.returncode == 7, done.stdout
    assert re.search(r"No worker for [89] s \(cluster\.start_seconds\)", done.stdout)
    assert "No node that could hold one has come: `ray status` on the head says why" in done.stdout


@ONCE
def test_a_signal_while_nodes_are_waited_for_ends_the_run_at_once(no_nodes: AutoscalingCluster) -> None:
    cluster = no_nodes
    log = cluster.lab / "signal.log"
    words = [*source(), f"output.path={cluster.lab / 'signal'}", "cluster.num_workers=2", "cluster.cpus_per_worker=8"]
    run = cluster.open_run(log, *words)
    wait_for(log, "Waiting for nodes")
    cluster.call("pkill", "-TERM", "--full", "phoenix_ray.run")
    assert run.wait(30) == 143, log.read_text()


def write_video(path: Path, frames: int) -> None:
    """Write a video of tiny grey pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        for index in range(frames):
            picture = np.full((16, 16, 3), index % 256, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def test_nodes_go_while_the_longest_video_is_computed(kept: Path) -> None:
    for name, frames in {"long": 40_000, "one": 20, "two": 30, "three": 40, "four": 50}.items():
        write_video(kept / "videos" / "train" / f"{name}.mp4", frames)
    with open_cluster(kept / "longest", version=2, most_nodes=3) as cluster:
        log = cluster.lab / "run.log"
        words = [f"source.path={kept / 'videos'}", f"output.path={kept / 'longest-output'}", "model.name=synthetic"]
        # In mode tracking one worker after the other computes a part of a video.
        more = ["model.mode=tracking", "cluster.num_workers=3", "cluster.shard_frames=2048"]
        run = cluster.open_run(log, *words, *more)
        cluster.wait_for_nodes(3, 120)
        cluster.wait_for_nodes(2, 120)
        assert "Compacting" not in log.read_text(), "the long video is not yet whole"
        assert run.wait(400) == 0, log.read_text()
    (notes,) = (kept / "longest-output").glob("runs/*/log")
    assert "1 worker with nothing to do let go" in notes.read_text()
