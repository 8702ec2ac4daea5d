from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_INCOMPLETE, EXIT_MODEL, EXIT_OUTPUT, EXIT_USAGE
from tests.exports.made_up import write_dataset
from tests.model_comparison.made_up import made_up_models, write_source
from tests.prepare.made_up import make_video


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with made_up_models():
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_source(tmp_path_factory.mktemp("source")))


def compare(*words: str) -> Result:
    return CliRunner().invoke(cli, ["compare", *words])


def test_it_prints_tables_and_writes_json_and_a_page(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    words = ("--model", "synthetic", "--model", "shifted", "--frames", "12", "--videos", "2", "--output", str(folder))
    result = compare(source, *words)
    assert result.exit_code == 0, result.output
    assert "12 frames of 2 of 3 videos" in result.output
    assert str(folder / "comparison.html") in result.output
    tree = json.loads((folder / "comparison.json").read_text())
    assert [model["model"] for model in tree["models"]] == ["synthetic", "shifted"]
    assert [run["frames"] for run in tree["sample"]["runs"]] == [6, 6]
    assert (folder / "comparison.html").read_text().startswith("<!DOCTYPE html>")


def test_json_is_all_that_is_printed(source: str) -> None:
    result = compare(source, "--model", "synthetic", "--model", "absent", "--frames", "4", "--json")
    assert result.exit_code == EXIT_INCOMPLETE
    tree = json.loads(result.stdout)
    assert [failed["model"] for failed in tree["failed"]] == ["absent"]
    assert "Left out: absent" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), EXIT_USAGE, "Missing option '--model'"),
        (("--model", "synthetik"), EXIT_USAGE, "Did you mean 'synthetic'"),
        (("--model", "synthetic", "--reference", "shifted"), EXIT_USAGE, "is not among the models"),
        (("--model", "synthetic", "--labels", "none.json"), EXIT_USAGE, "none.json cannot be read"),
        (("--model", "synthetic", "--set", "decode.thread=1"), EXIT_USAGE, "decode.threads"),
        (("--model", "synthetic", "--splits", "test"), 4, "test"),
        (("--model", "absent"), EXIT_MODEL, "No model could be run"),
    ],
)
def test_mistakes_end_with_a_message(source: str, words: tuple[str, ...], code: int, message: str) -> None:
    result = compare(source, *words)
    assert result.exit_code == code, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_nothing_is_written_into_a_dataset(source: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", (make_video(4, {}, 1),))
    result = compare(source, "--model", "synthetic", "--output", f"{dataset}/comparison")
    assert result.exit_code == EXIT_OUTPUT
    assert "lies in the dataset" in result.output


def test_an_earlier_comparison_is_kept_unless_it_may_be_replaced(source: str, tmp_path: Path) -> None:
    words = [source, "--model", "synthetic", "--frames", "4", "--output", str(tmp_path / "out")]
    assert compare(*words).exit_code == 0
    first = (tmp_path / "out" / "comparison.json").read_bytes()
    refused = compare(*words)
    assert refused.exit_code == EXIT_USAGE
    assert "--overwrite" in refused.output
    assert (tmp_path / "out" / "comparison.json").read_bytes() == first
    assert compare(*words, "--overwrite").exit_code == 0
