"""The job on a real Ray: what a user runs, stops, kills and runs again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.card import parse_front_matter
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.sources.registry import open_source
from phoenix_ray.sources.sample import write_sample_dataset
from tests.cluster.conftest import FRAMES, VIDEOS, Run, Start, environment

pytestmark = pytest.mark.cluster


def rows_by_video(output: Path) -> dict[tuple[str, str], list[int]]:
    """Frame indices of each video, read from `data/` as any Parquet reader would."""
    rows: dict[tuple[str, str], list[int]] = {}
    for file in sorted(output.glob("data/*.parquet")):
        table = pq.read_table(file, columns=["split", "video_id", "frame_index"], partitioning=None)
        for row in table.to_pylist():
            rows.setdefault((row["split"], row["video_id"]), []).append(row["frame_index"])
    return rows


def digest(output: Path) -> int:
    return Dataset.open(str(output)).digest()


def summaries(output: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(output.glob("runs/*/summary.json"))]


@pytest.fixture(scope="module")
def undisturbed(frame_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frame folders computed in one go by one worker."""
    output = tmp_path_factory.mktemp("undisturbed")
    words = [
        "run",
        "--num-workers",
        "1",
        f"source.path={frame_folders}",
        f"output.path={output}",
        "model.name=synthetic",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "phoenix_ray.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return output


def test_every_frame_of_every_video_has_one_row_in_order(undisturbed: Path) -> None:
    rows = rows_by_video(undisturbed)
    assert rows == {(split, video): list(range(n)) for split, videos in VIDEOS.items() for video, n in videos.items()}


def test_partitions_are_gone_after_the_reduce_step(undisturbed: Path) -> None:
    assert not list(undisturbed.glob("partitions/**/*.parquet"))
    assert (undisturbed / "videos.parquet").is_file()


def test_a_dataset_card_names_the_splits_and_no_place(undisturbed: Path, frame_folders: Path) -> None:
    card = (undisturbed / "README.md").read_text()
    tree = parse_front_matter(card)
    assert [entry["split"] for entry in tree["configs"][0]["data_files"]] == sorted(VIDEOS)
    assert "video files and frame folders" in card
    assert str(frame_folders) not in card


def test_a_second_run_computes_nothing(undisturbed: Path, frame_folders: Path, run_command: Run) -> None:
    before = digest(undisturbed)
    done = run_command("run", f"source.path={frame_folders}", f"output.path={undisturbed}", "model.name=synthetic")
    assert done.returncode == 0
    assert summaries(undisturbed)[-1]["frames_computed"] == 0
    assert digest(undisturbed) == before


@pytest.mark.parametrize(("workers", "shard_frames", "batch_size"), [(2, 512, 16), (2, 7, 3)])
def test_landmarks_are_the_same_bits_whatever_workers_shards_and_batches(
    undisturbed: Path,
    frame_folders: Path,
    tmp_path: Path,
    run_command: Run,
    workers: int,
    shard_frames: int,
    batch_size: int,
) -> None:
    done = run_command(
        "run",
        *("--num-workers", str(workers), "--batch-size", str(batch_size)),
        *(f"source.path={frame_folders}", f"output.path={tmp_path}", "model.name=synthetic"),
        f"cluster.shard_frames={shard_frames}",
    )
    assert done.returncode == 0, done.stderr
    assert rows_by_video(tmp_path) == rows_by_video(undisturbed)
    assert digest(tmp_path) == digest(undisturbed)


def test_partitions_are_merged_beside_the_workers_when_many_lie_open(
    undisturbed: Path, frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    words = [f"source.path={frame_folders}", f"output.path={tmp_path}", "model.name=synthetic"]
    done = run_command("run", *words, "cluster.shard_frames=4", "output.compact_every=2", "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path) == digest(undisturbed)


def test_a_trial_is_completed_by_a_run_without_its_limit(
    undisturbed: Path, frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    words = [f"source.path={frame_folders}", f"output.path={tmp_path}", "model.name=synthetic"]
    assert run_command("run", "--max-videos-per-split", "1", "--splits", "train,dev", *words).returncode == 0
    assert sorted(rows_by_video(tmp_path)) == [("dev", "delta"), ("train", "alpha")]
    assert run_command("run", *words).returncode == 0
    assert summaries(tmp_path)[-1]["frames_computed"] == FRAMES - 21 - 13
    assert digest(tmp_path) == digest(undisturbed)


def test_a_dropped_video_is_left_out_of_later_runs_until_it_is_allowed(
    undisturbed: Path, frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    words = ["run", f"source.path={frame_folders}", f"output.path={tmp_path}", "model.name=synthetic"]
    assert run_command(*words).returncode == 0
    dropped = run_command("drop", str(tmp_path), "--video", "beta/take 2", "--yes")
    assert dropped.returncode == 0
    assert "Dropped 1 video with 40 rows." in dropped.stdout
    again = run_command(*words)
    assert again.returncode == 0
    assert "1 video of the source left out: dropped from this dataset for good." in again.stdout + again.stderr
    assert sorted(rows_by_video(tmp_path)) == sorted(set(rows_by_video(undisturbed)) - {("train", "beta/take 2")})
    assert run_command("check", str(tmp_path), "--source", str(frame_folders)).returncode == 0
    assert run_command("drop", str(tmp_path), "--allow", "--video", "train/beta/take 2").returncode == 0
    assert run_command(*words).returncode == 0
    assert summaries(tmp_path)[-1]["frames_computed"] == 40
    assert digest(tmp_path) == digest(undisturbed)


def test_a_video_that_cannot_be_read_is_listed_and_the_run_goes_on(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    table = tmp_path / "list.csv"
    alpha = frame_folders / "train" / "alpha"
    table.write_text(f"video_id,path,split\nalpha,{alpha},train\ngone,{tmp_path}/nowhere,train\n")
    output = tmp_path / "output"
    words = [f"source.path={table}", f"output.path={output}", "model.name=synthetic"]
    assert run_command("run", *words).returncode == 3
    listed = run_command("failures", str(output))
    assert "train/gone" in listed.stdout
    assert f"{tmp_path}/nowhere" in listed.stdout
    assert rows_by_video(output) == {("train", "alpha"): list(range(21))}

    table.write_text(f"video_id,path,split\nalpha,{alpha},train\n")
    assert run_command("run", *words).returncode == 0
    assert "No failures" in run_command("failures", str(output)).stdout


def test_other_settings_are_refused_with_the_field_that_differs(
    undisturbed: Path, frame_folders: Path, run_command: Run
) -> None:
    words = [f"source.path={frame_folders}", f"output.path={undisturbed}", "model.name=synthetic"]
    done = run_command("run", *words, "--limit-frames", "5")
    assert done.returncode == 6
    assert "source.limit_frames: none → 5" in done.stderr


def test_a_plan_computes_nothing(frame_folders: Path, tmp_path: Path, run_command: Run) -> None:
    words = [f"source.path={frame_folders}", f"output.path={tmp_path / 'output'}", "model.name=synthetic"]
    done = run_command("plan", *words)
    assert done.returncode == 0, done.stderr
    assert f"{FRAMES}" in done.stdout
    assert "Workers:" in done.stdout
    assert not (tmp_path / "output").exists()


def test_a_changed_video_is_computed_again_alone(frame_folders: Path, tmp_path: Path, run_command: Run) -> None:
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", str(frame_folders), str(source)], check=True)
    words = [f"source.path={source}", f"output.path={tmp_path / 'output'}", "model.name=synthetic"]
    assert run_command("run", *words).returncode == 0
    (source / "dev" / "delta" / "12.png").unlink()
    assert run_command("run", *words).returncode == 0
    assert summaries(tmp_path / "output")[-1]["frames_computed"] == 12
    assert rows_by_video(tmp_path / "output")["dev", "delta"] == list(range(12))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample dataset: slow enough with the real networks to be killed half-way."""
    return write_sample_dataset(tmp_path_factory.mktemp("pictures") / "sample")


def holistic_words(pictures: Path, output: Path) -> list[str]:
    return ["run", f"source.path={pictures}", f"output.path={output}", "cluster.shard_frames=16", "--num-workers", "2"]


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    command = [sys.executable, "-m", "phoenix_ray.cli", *holistic_words(pictures, output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    return output


def wait_for_partition(output: Path, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not list(output.glob("partitions/**/[0-9]*.parquet")):
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < deadline, "no partition was committed in time"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_driver_that_was_killed_is_finished_by_the_same_command(
    pictures: Path,
    whole: Path,
    tmp_path: Path,
    start: Start,
    run_command: Run,
) -> None:
    output = tmp_path / "output"
    words = holistic_words(pictures, output)
    process = start(words)
    wait_for_partition(output, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    committed = sum(
        pq.read_metadata(file).num_rows for file in output.glob("partitions/**/[0-9]*.parquet") if file.is_file()
    )
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    total = sum(len(rows) for rows in rows_by_video(whole).values())
    computed = summaries(output)[-1]["frames_computed"]
    assert isinstance(computed, int)
    assert 0 < computed <= total - committed
    assert rows_by_video(output) == rows_by_video(whole)
    assert digest(output) == digest(whole)


@pytest.mark.slow
def test_a_cluster_with_less_than_asked_is_reported_and_used(
    pictures: Path, whole: Path, tmp_path: Path, run_command: Run
) -> None:
    """Each worker wants every CPU of the machine, so only one of the three fits."""
    words = [*holistic_words(pictures, tmp_path), f"cluster.cpus_per_worker={os.cpu_count()}", "--num-workers", "3"]
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    assert "Asked for 3 workers" in done.stderr
    assert "1 of them started" in done.stderr
    assert digest(tmp_path) == digest(whole)


@pytest.mark.slow
def test_sigterm_drains_and_says_so_in_the_exit_code(
    pictures: Path, whole: Path, tmp_path: Path, start: Start, run_command: Run
) -> None:
    output = tmp_path / "output"
    process = start(holistic_words(pictures, output))
    wait_for_partition(output, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 143
    assert summaries(output)[-1]["state"] == "stopped"
    assert not (output / "lease.json").exists()
    assert run_command(*holistic_words(pictures, output)).returncode == 0
    assert digest(output) == digest(whole)


@pytest.mark.slow
def test_the_cluster_gives_the_landmarks_of_a_plain_loop(pictures: Path, whole: Path) -> None:
    """No Ray, one frame at a time, in reverse: the same bits."""
    import numpy as np

    from phoenix_ray.config import DecodeSettings
    from phoenix_ray.sources.base import Video
    from phoenix_ray.sources.frames import read_frames

    model = registry.create(ModelSettings())
    videos = [one for one in open_source(SourceSettings(path=str(pictures))).videos() if isinstance(one, Video)]
    video = min(videos, key=lambda one: one.frame_count)
    frames = list(read_frames(video, 0, video.frame_count, DecodeSettings()))
    rows = Dataset.open(str(whole)).load(video.split, video.video_id)
    for frame in reversed(frames):
        assert frame.image is not None
        alone = model.estimate([frame.image])
        for part, points in alone.points.items():
            assert np.array_equal(points[0], rows.points[part][frame.index], equal_nan=True), (part, frame.index)
