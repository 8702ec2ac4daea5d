from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ray.cli import main
from phoenix_ray.errors import EXIT_OK, EXIT_OUTPUT, EXIT_USAGE
from phoenix_ray.exports.registry import FORMATS
from tests.exports.made_up import write_dataset


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


def test_help_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == EXIT_OK
    text = capsys.readouterr().out
    assert all(one.description in text for one in FORMATS)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, phoenix_ray.commands.export as e; print({'numpy', 'pyarrow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
