from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

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
    assert f"phoenix-ray view {dataset} --video train/v3 --around" in result.output
    tree = json.loads(file.read_text())
    assert tree["all"]["frames"] == sum(len(video) for video in VIDEOS)
    assert [one["name"] for one in tree["groups"]] == ["dev/v0", "train/v1", "train/v2", "train/v3"]
    assert tree["all"]["parts"]["left_hand"]["longest_gap"] == 2
    assert {one["reason"] for one in tree["outliers"]} >= {"highest jitter", "largest jump", "longest gap"}


def test_quick_prints_rates_alone(dataset: str) -> None:
    result = CliRunner().invoke(stats, [dataset, "--quick"], catch_exceptions=False)
    assert "Found, in %" in result.output
    assert "Movement" not in result.output
    assert "Gaps" not in result.output


def test_quick_neither_writes_nor_draws_what_it_did_not_measure(dataset: str, tmp_path: Path) -> None:
    file, plots = tmp_path / "stats.json", tmp_path / "plots"
    arguments = [dataset, "--quick", "--json", str(file), "--plots", str(plots)]
    result = CliRunner().invoke(stats, arguments, catch_exceptions=False)
    assert [path.name for path in plots.iterdir()] == ["rates.png"]
    assert "leave out --quick" in result.output
    face = json.loads(file.read_text())["all"]["parts"]["face"]
    assert face["rate"] == pytest.approx(42 / 46)
    assert {name: value for name, value in face.items() if value is not None} == {"rate": face["rate"]}


def test_two_datasets_are_shown_side_by_side_over_the_videos_in_both(dataset: str, tmp_path: Path) -> None:
    steady = tuple(replace(video, points=_held(video.points)) for video in VIDEOS[1:])
    other, file = write_dataset(tmp_path / "other", steady), tmp_path / "stats.json"
    arguments = [dataset, "--beside", other, "--json", str(file)]
    result = CliRunner().invoke(stats, arguments, catch_exceptions=False)
    assert "3 videos in both" in result.output
    assert f"1 video only in {dataset}: left out" in result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert ["pose", "B", "100.0", "0.00", "0.00", "0.00", "0", "0", "0"] in rows
    tree = json.loads(file.read_text())
    ours, theirs = tree["all"], tree["beside"]["all"]
    assert (ours["videos"], theirs["videos"]) == (3, 3)
    for name in ("jitter_pixels", "motion_energy_pixels2", "jerk_pixels"):
        assert ours["parts"]["pose"][name] > 0
        assert theirs["parts"]["pose"][name] == 0


def _held(points: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return points that stay, all in the middle, where a part is found."""
    return {part: np.where(np.isnan(values), values, np.float32(0.5)) for part, values in points.items()}


def test_a_dataset_can_stand_beside_itself_and_beside_files_of_another_tool(dataset: str, tmp_path: Path) -> None:
    assert "4 videos in both" in CliRunner().invoke(stats, [dataset, "--beside", dataset]).output
    export_videos(dataset, tmp_path / "v.pkl", "pickle")
    result = CliRunner().invoke(stats, [dataset, "--beside", str(tmp_path / "v.pkl")], catch_exceptions=False)
    assert "B: Jitter, energy, jerk and jumps leave out 46 frames" in result.output


def test_datasets_without_a_common_video_cannot_be_compared(dataset: str, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, (replace(VIDEOS[0], video_id="another"),))
    result = CliRunner().invoke(cli, ["stats", dataset, "--beside", other])
    assert result.exit_code == OutputError.exit_code
    assert "share no video" in result.output


def test_plots_of_two_datasets_are_refused(dataset: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(stats, [dataset, "--beside", dataset, "--plots", str(tmp_path / "plots")])
    assert result.exit_code == 2
    assert not (tmp_path / "plots").exists()


def test_videos_of_other_tools_are_named_without_a_command_that_cannot_show_them(dataset: str, tmp_path: Path) -> None:
    export_videos(dataset, tmp_path / "v.pkl", "pickle")
    result = CliRunner().invoke(stats, [str(tmp_path / "v.pkl")], catch_exceptions=False)
    assert "phoenix-ray view" not in result.output
    assert "      2 frames  dev/v0, frame 4" in result.output


def test_landmarks_without_picture_sizes_have_gaps_but_no_pixels(tmp_path: Path) -> None:
    export_videos(write_dataset(tmp_path / "dataset", VIDEOS), tmp_path / "v.pkl", "pickle")
    file = tmp_path / "stats.json"
    result = CliRunner().invoke(stats, [str(tmp_path / "v.pkl"), "--json", str(file)], catch_exceptions=False)
    assert "0.00" not in result.output
    assert "Jitter, energy, jerk and jumps leave out 46 frames: their size is not recorded" in result.output
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
