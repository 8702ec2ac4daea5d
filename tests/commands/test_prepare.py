from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.errors import ConfigError, OutputError
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    videos = (
        make_video(6, {"left_hand": [2, 3]}),
        replace(make_video(5, {"pose": range(5)}), split="dev", video_id="no shoulders\x1b[31m"),
    )
    return write_dataset(tmp_path_factory.mktemp("dataset"), videos)


def prepare(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["prepare", *map(str, words)])


def test_switches_and_words_reach_the_settings(dataset: str, tmp_path: Path) -> None:
    result = prepare(
        dataset, tmp_path, "--points", "hands,lips", "--fill", "hold", "points.axes=xyz", "--splits", "train"
    )
    assert result.exit_code == 0, result.output
    assert "train: 1 video, 6 frames; 0.0 % of points missing, 8.5 % filled" in result.output
    assert "82 points with x, y, z" in result.output
    assert (tmp_path / "train" / "video-0.npz").is_file()


def test_a_yaml_file_of_settings_is_read(dataset: str, tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("points:\n  select: [upper_body]\nfiles:\n  format: webdataset\n")
    result = prepare(dataset, tmp_path / "out", "--config", file)
    assert result.exit_code == 0, result.output
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        *("dev-000000.tar", "prepare.json", "train-000000.tar"),
    ]


def test_videos_without_anything_to_normalise_by_are_named_harmlessly(dataset: str, tmp_path: Path) -> None:
    result = prepare(dataset, tmp_path)
    assert "shoulders never found" in result.output
    assert "\x1b" not in result.output


def test_all_settings_are_listed_with_their_meaning() -> None:
    result = prepare("--settings", "--format", "parquet")
    assert result.exit_code == 0
    assert "* files.format: parquet" in result.output
    assert "  clean.fill: none" in result.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fill", "cubic"), ConfigError.exit_code),
        (("files.fromat=npz",), ConfigError.exit_code),
        (("--points", "hand"), ConfigError.exit_code),
    ],
)
def test_wrong_words_end_with_the_code_for_usage(
    dataset: str, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    assert prepare(dataset, tmp_path, *words).exit_code == code


def test_without_an_output_or_a_dataset_the_way_out_is_told(tmp_path: Path) -> None:
    assert "phoenix-ray prepare DATASET OUTPUT" in prepare().output
    assert prepare(tmp_path / "nothing", tmp_path / "out").exit_code == OutputError.exit_code
