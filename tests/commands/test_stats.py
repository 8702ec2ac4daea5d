from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.commands.stats import stats
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.export import export_videos
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video

VIDEOS = tuple(
    replace(make_video(10 + number, {"left_hand": [4, 5], "face": [0]}, number), split=split, video_id=f"v{number}")
    for number, split in enumerate(["dev", "train", "train", "train"])
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("dataset"), VIDEOS)


def test_the_command_prints_tables_and_writes_json(dataset: str, tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    result = CliRunner().invoke(stats, [dataset, "--by", "video", "--json", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "dev/v0" in result.output
    assert f"phoenix-ray view {dataset} --sheet look.png --video train/v3 --around" in result.output
    tree = json.loads(file.read_text())
    assert tree["all"]["frames"] == sum(len(video) for video in VIDEOS)
    assert [one["name"] for one in tree["groups"]] == ["dev/v0", "train/v1", "train/v2", "train/v3"]
    assert tree["all"]["parts"]["left_hand"]["longest_gap"] == 2
    assert {one["reason"] for one in tree["outliers"]} >= {"highest jitter", "largest jump", "longest gap"}


def test_quick_prints_rates_alone(dataset: str) -> None:
    result = CliRunner().invoke(stats, [dataset, "--quick"], catch_exceptions=False)
    assert "Found, in %" in result.output
    assert "Steadiness" not in result.output


def test_landmarks_without_picture_sizes_have_gaps_but_no_pixels(tmp_path: Path) -> None:
    export_videos(write_dataset(tmp_path / "dataset", VIDEOS), tmp_path / "v.pkl", "pickle")
    file = tmp_path / "stats.json"
    result = CliRunner().invoke(stats, [str(tmp_path / "v.pkl"), "--json", str(file)], catch_exceptions=False)
    assert "0.00" not in result.output
    assert "Jitter and jumps leave out 46 frames: their size is not recorded" in result.output
    everything = json.loads(file.read_text())["all"]
    assert everything["frames_without_size"] == 46
    assert everything["parts"]["left_hand"]["jitter_pixels"] is None
    assert everything["parts"]["left_hand"]["gaps"] == 4


@pytest.mark.parametrize("quick", [["--quick"], []])
def test_videos_that_lack_frames_or_an_even_rate_are_named(tmp_path: Path, quick: list[str]) -> None:
    cut = replace(VIDEOS[0], status=("ok",) * 4 + ("unreadable",) * 6, fps_varies=True)
    dataset = write_dataset(tmp_path, (cut, *VIDEOS[1:]))
    result = CliRunner().invoke(stats, [dataset, *quick], catch_exceptions=False)
    assert "1 video partly unreadable: dev/v0 (6 of 10 frames)" in result.output
    assert "The frame rate of 1 of 4 videos varies" in result.output


def test_nothing_there_is_reported(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["stats", str(tmp_path / "nothing")])
    assert result.exit_code == OutputError.exit_code
    assert "nothing" in result.output
