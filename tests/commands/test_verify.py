"""`phoenix-ray verify` as a user calls it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_OUTPUT, EXIT_SOURCE, EXIT_USAGE
from phoenix_ray.models import registry
from phoenix_ray.models.synthetic import SyntheticModel
from tests.verify.conftest import FRAMES, Compute, compute, source

# A split of the pickle that extraction scripts write: lists of one entry per frame.
OldSplit = dict[str, list[Any]]

__all__ = ["compute", "source"]


def verify(*words: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, words)])


def export(dataset: str, file: Path, form: str) -> str:
    """Write a dataset in the format of another tool, and return where the dataset lies."""
    result = CliRunner().invoke(cli, ["export", dataset, str(file), "--format", form])
    assert result.exit_code == 0, result.output
    return dataset


def test_two_runs_are_equal_and_need_not_be_read(compute: Compute) -> None:
    result = verify(compute("one", 8), compute("other", 100))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"EQUAL bit for bit: 3 videos, {FRAMES} frames"
    assert "Not read, because the digests of all rows agree: 3 videos" in result.stdout


def test_full_reads_them_all_the_same(compute: Compute) -> None:
    result = verify(compute("one"), compute("other", compacted=False), "--full", "--atol", "0")
    assert result.exit_code == 0, result.output
    assert "Not read" not in result.stdout
    assert f"| pose       | {FRAMES:6} |" in result.stdout


def test_a_copy_without_a_video_is_different_and_leaves_with_1(compute: Compute, tmp_path: Path) -> None:
    one, other = compute("one", compacted=False), compute("other", compacted=False)
    for folder in Path(other).glob("partitions/*/*/delta"):
        shutil.rmtree(folder)
    result = verify(one, other, "--json", tmp_path / "deep" / "report.json", "--markdown", tmp_path / "report.md")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].startswith("DIFFERENT: 1 of 3 videos")
    assert "dev/delta\n  - the video is missing" in result.stdout
    tree = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert [(video["video_id"], video["differences"][0]["kind"]) for video in tree["differences"]] == [
        ("delta", "video missing")
    ]
    assert (tmp_path / "report.md").read_text().startswith("**DIFFERENT")
    assert verify(one, other, "--splits", "train").exit_code == 0
    assert verify(other, one).stdout.count("the video is extra") == 1


def test_a_video_that_lost_frames_is_reported_with_their_numbers(compute: Compute) -> None:
    one, other = compute("one", compacted=False), compute("other", compacted=False)
    for file in Path(other).glob("partitions/*/*/beta/00000008-*.parquet"):
        file.unlink()
    result = verify(one, other)
    assert result.exit_code == 1
    assert "train/beta\n  - frames 8-13 missing" in result.stdout


def test_a_dataset_is_what_its_settings_give(compute: Compute) -> None:
    result = verify(compute(), "--recompute", "--full")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"EQUAL bit for bit: 3 videos, {FRAMES} frames"


def test_a_recomputation_takes_the_videos_asked_for(compute: Compute) -> None:
    dataset = compute()
    assert "1 video, 9 frames" in verify(dataset, "--recompute", "--video", "delta").stdout
    assert "EQUAL bit for bit: 2 videos" in verify(dataset, "--recompute", "--sample", 2, "--seed", 3).stdout


def test_a_source_without_the_videos_is_named_instead_of_called_a_difference(
    compute: Compute, source: Path, tmp_path: Path
) -> None:
    dataset, moved = compute(), tmp_path / "moved"
    shutil.copytree(source, moved)
    (moved / "dev" / "delta").rename(moved / "dev" / "renamed")
    alone = verify(dataset, "--recompute", "--source", moved, "--video", "delta")
    assert alone.exit_code == EXIT_SOURCE
    assert f"{moved} holds none of the videos to compute again" in alone.stderr
    assert "dev/delta. Say where" in alone.stderr
    every = verify(dataset, "--recompute", "--source", moved, "--full")
    assert every.exit_code == 1
    assert f"{moved} does not have it, or it cannot be opened there" in every.stdout


def test_frames_that_changed_since_are_found(compute: Compute, source: Path, tmp_path: Path) -> None:
    dataset, moved = compute(), tmp_path / "moved"
    shutil.copytree(source, moved)
    assert verify(dataset, "--recompute", "--source", moved).exit_code == 0
    cv2.imwrite(str(moved / "train" / "beta" / "0004.png"), np.full((52, 42, 3), 99, np.uint8))
    result = verify(dataset, "--recompute", "--source", moved, "--pictures", tmp_path / "worst.png")
    assert result.exit_code == 1
    assert "train/beta" in result.stdout
    assert "frame 4" in result.stdout
    assert "delta" not in result.stdout
    picture = cv2.imread(str(tmp_path / "worst.png"))
    assert picture is not None
    assert picture.shape[0] > 400


@pytest.mark.parametrize("form", ["pickle", "npz", "pose"])
def test_an_export_is_verified_against_its_dataset(compute: Compute, tmp_path: Path, form: str) -> None:
    if form == "pose":
        pytest.importorskip("pose_format", reason="the format needs its package")
    exported = tmp_path / f"export.{form}"
    dataset = export(compute(), exported, form)
    result = verify(dataset, exported)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("EQUAL within 1e-06: 3 videos")


def move_a_float(split: OldSplit) -> None:
    split["keypoints"][25]["face"][100, 1] += np.float32(2e-6)


def drop_a_part(split: OldSplit) -> None:
    split["keypoints"][25]["pose"] = None


def swap_two_frames(split: OldSplit) -> None:
    frames = split["keypoints"]
    frames[24], frames[25] = frames[25], frames[24]


def drop_a_video(split: OldSplit) -> None:
    for entries in split.values():
        del entries[21:]


def add_a_row(split: OldSplit) -> None:
    split["video_ids"].append("beta")
    split["image_paths"].append("train/beta/0014.png")
    split["keypoints"].append(split["keypoints"][25])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (move_a_float, "train/beta\n  - face differs in frame 4: face_100 y of frame 4 is 0."),
        (drop_a_part, "train/beta\n  - pose missing in frame 4\n"),
        (swap_two_frames, "train/beta\n  - frames 3 and 4 swapped\n"),
        (drop_a_video, "train/beta\n  - the video is missing\n"),
        (add_a_row, "train/beta\n  - frame 14 extra\n"),
    ],
)
def test_each_damage_to_an_old_pickle_is_found_and_named_and_nothing_else(
    compute: Compute, tmp_path: Path, damage: Callable[[OldSplit], None], message: str
) -> None:
    old = tmp_path / "old.pkl"
    dataset = export(compute(), old, "pickle")
    tree = pickle.loads(old.read_bytes())
    damage(tree["train"])
    old.write_bytes(pickle.dumps(tree))
    result = verify(dataset, old)
    assert result.exit_code == 1
    assert result.stdout.startswith("DIFFERENT: 1 of 3 videos")
    assert message in result.stdout
    assert result.stdout.count("\n  - ") == 1


def test_mediapipe_as_the_reference_is_judged_by_the_bars(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ensure_ready", lambda settings: None)
    monkeypatch.setattr(registry, "create", lambda settings: SyntheticModel(4))
    result = verify(compute(), "--reference", "mediapipe", "--full")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("AT PARITY: 3 videos")
    assert "- reference: mediapipe" in result.stdout


def test_without_mediapipe_the_way_to_it_is_reported(compute: Compute) -> None:
    result = verify(compute(), "--reference", "mediapipe", "--set", "model.name=holistic")
    assert result.exit_code == EXIT_USAGE
    assert "[mediapipe]" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), EXIT_USAGE, "Say what to compare with"),
        (("--recompute", "--reference", "mediapipe"), EXIT_USAGE, "Say what to compare with"),
        (("--recompute", "--atol", "1", "--pixels", "1"), EXIT_USAGE, "give one of them"),
        (("--recompute", "--video", "dleta"), EXIT_USAGE, "Did you mean 'delta'?"),
        (("--recompute", "--source", "/nowhere"), EXIT_SOURCE, "/nowhere"),
        (("/nowhere",), EXIT_OUTPUT, "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_a_message(compute: Compute, words: tuple[str, ...], code: int, message: str) -> None:
    result = verify(compute(), *words)
    assert result.exit_code == code, result.output
    assert message in result.stderr
