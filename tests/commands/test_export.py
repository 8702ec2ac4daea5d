from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.cli import main
from phoenix_ray.errors import EXIT_OK, EXIT_OUTPUT, EXIT_USAGE
from phoenix_ray.exports.registry import FORMATS
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["export", *words])
    return int(left.value.code or 0)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "dataset")


def test_it_writes_and_says_what(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert run(dataset, str(output), "--format", "csv", "--splits", "dev, train", "--videos", "a") == EXIT_OK
    assert capsys.readouterr().out.startswith(f"{output}: 1 videos, 3 frames, 0.")
    assert (output / "dev" / "a.csv").is_file()


def test_exit_codes_show_whose_fault_it_is(dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out")
    assert run(dataset, "--format", "csv") == EXIT_USAGE
    assert run(dataset, output, "--format", "delta") == EXIT_USAGE
    assert run(dataset, output, "--format", "csv", "--splits", "x") == EXIT_USAGE
    assert run(str(tmp_path / "nothing"), output, "--format", "csv") == EXIT_OUTPUT
    assert run(dataset, output, "--format", "csv") == EXIT_OK
    assert run(dataset, output, "--format", "csv") == EXIT_OUTPUT
    assert "--overwrite" in capsys.readouterr().err
    assert run(dataset, output, "--format", "csv", "--overwrite") == EXIT_OK


@pytest.mark.parametrize(
    ("annotation", "form", "missing"),
    [
        ({}, "kaggle", "a gloss,"),
        ({}, "fingerspelling", "a translation,"),
        ({"translation": "morgen regen"}, "kaggle", "a gloss,"),
        ({"gloss": "MORGEN"}, "kaggle", ""),
        ({}, "csv", ""),
    ],
)
def test_a_text_that_a_format_is_for_and_no_video_has_is_mentioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], annotation: dict[str, str], form: str, missing: str
) -> None:
    videos = tuple(
        replace(make_video(3), split="train", video_id=name, annotation=texts)
        for name, texts in (("a", {}), ("b", annotation))
    )
    dataset = write_dataset(tmp_path / "dataset", videos)
    assert run(dataset, str(tmp_path / "out"), "--format", form) == EXIT_OK
    notice = capsys.readouterr().err
    assert ("No video has" in notice) == bool(missing)
    assert missing in notice


def test_help_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == EXIT_OK
    text = capsys.readouterr().out
    assert all(one.description in text for one in FORMATS)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, phoenix_ray.commands.export as e; print({'numpy', 'pyarrow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
