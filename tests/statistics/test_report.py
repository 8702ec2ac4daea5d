from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from matplotlib import figure

from phoenix_ray.cli import cli
from phoenix_ray.errors import MissingExtraError, OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.statistics.measures import measure_video
from phoenix_ray.statistics.report import _plot_movement, outlier_value, view_command, write_plots
from phoenix_ray.statistics.summary import Outlier, group, summarise
from tests.prepare.made_up import make_video
from tests.zoo import ZOO, layout_id, write_zoo_dataset


def test_the_command_that_shows_an_outlier_can_be_pasted_into_a_shell() -> None:
    outlier = Outlier("largest jump", "face", "train", "a b;rm -rf", 3.0, 17)
    command = view_command("/data/my landmarks", outlier)
    assert command == ("phoenix-ray view '/data/my landmarks' --video 'train/a b;rm -rf' --around 17")


@pytest.mark.parametrize(
    ("reason", "value", "shown"),
    [
        ("lowest rate", 0.917, "91.7 %"),
        ("longest gap", 1.0, "1 frame"),
        ("longest gap", 1200.0, "1,200 frames"),
        ("largest jump", 3.25, "3.2 px"),
    ],
)
def test_an_outlier_shows_its_value_in_its_unit(reason: str, value: float, shown: str) -> None:
    assert outlier_value(Outlier(reason, "face", "train", "a", value, None)) == shown


VIDEOS = tuple(
    replace(make_video(10 + number, {"left_hand": [4, 5], "face": [0]}, number), split=split, video_id=f"v{number}")
    for number, split in enumerate(["dev", "train", "train", "train"])
)


def test_plots_are_pictures(tmp_path: Path) -> None:
    measured = [measure_video(video) for video in VIDEOS]
    files = write_plots(tmp_path / "plots", measured, summarise("all", measured), group(measured, "split"))
    assert [file.name for file in files] == [
        f"{name}.png" for name in ("rates", "jitter", "energy", "jerk", "gaps", "scores")
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize(
    "never_found", [{}, {part: list(range(10)) for part in ("pose", "left_hand", "right_hand", "face")}]
)
def test_plots_are_drawn_where_a_dataset_has_no_gaps_or_finds_nobody(
    tmp_path: Path, never_found: dict[str, list[int]]
) -> None:
    measured = [measure_video(make_video(10, never_found, 1))]
    files = write_plots(tmp_path, measured, summarise("all", measured), group(measured, "split"))
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_the_jitter_of_a_single_video_is_a_line_that_can_be_seen(tmp_path: Path) -> None:
    axes = figure.Figure().add_subplot()
    _plot_movement(axes, "jitter", {"pose": [0.5], "face": [None]})
    (line,) = axes.lines
    assert set(line.get_ydata()) == {0, 1}


def test_plots_that_cannot_be_written_are_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    measured = [measure_video(VIDEOS[0])]
    with pytest.raises(OutputError, match="cannot be written"):
        write_plots(tmp_path / "file", measured, summarise("all", measured), group(measured, "split"))


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    measured = [measure_video(VIDEOS[0])]
    with pytest.raises(MissingExtraError, match=r"phoenix-ray\[plots\]"):
        write_plots(tmp_path, measured, summarise("all", measured), group(measured, "split"))


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_every_layout_has_tables_json_and_plots(layout: Layout, tmp_path: Path) -> None:
    dataset, file, plots = write_zoo_dataset(tmp_path / "dataset", layout), tmp_path / "stats.json", tmp_path / "plots"
    result = CliRunner().invoke(cli, ["stats", dataset, "--json", str(file), "--plots", str(plots)])
    assert result.exit_code == 0, result.output
    tree = json.loads(file.read_text())
    for part in layout.parts:
        assert sum(tree["all"]["parts"][part.name]["scores"]) > 0
        assert part.name.replace("_", " ") in result.output
    assert len(list(plots.iterdir())) == 6
