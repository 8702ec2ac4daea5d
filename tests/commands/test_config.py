from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.errors import OutputError
from tests.exports.made_up import VIDEOS, write_dataset


@pytest.mark.parametrize(
    "words",
    [
        ["stats", "{}", "--json", "{}/dataset.json"],
        ["stats", "{}", "--plots", "{}/plots"],
        ["verify", "{}", "{}", "--json", "{}/videos.parquet"],
        ["verify", "{}", "{}", "--pictures", "{}/data/worst.png"],
        ["view", "{}", "--sheet", "{}/sheet.png"],
        ["prepare", "{}", "{}/inputs"],
    ],
    ids=" ".join,
)
def test_no_command_writes_a_report_into_a_dataset(tmp_path: Path, words: list[str]) -> None:
    dataset = write_dataset(tmp_path / "dataset", VIDEOS[:1])
    before = {file: file.read_bytes() for file in (tmp_path / "dataset").rglob("*") if file.is_file()}
    result = CliRunner().invoke(cli, [word.format(dataset) for word in words])
    assert result.exit_code == OutputError.exit_code
    assert "lies in the dataset" in result.output
    assert {file: file.read_bytes() for file in (tmp_path / "dataset").rglob("*") if file.is_file()} == before


def test_a_report_beside_a_dataset_is_written_with_its_folders(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", VIDEOS[:1])
    file = tmp_path / "reports" / "today" / "stats.json"
    result = CliRunner().invoke(cli, ["stats", dataset, "--json", str(file)], catch_exceptions=False)
    assert result.exit_code == 0
    assert file.stat().st_size > 0
