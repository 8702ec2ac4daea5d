"""A dataset that version 0.1.0 left half compacted opens, resumes and passes `check`.

`tests/golden/dataset_0.1.0` holds two videos in a data file and one in two partitions. It was made by that version with

    python -m phoenix_ray.run OPTIONS --max-videos-per-split 2
    python -m phoenix_ray.run OPTIONS --max-videos-per-split 3 output.compact=false

and the options below; its records of runs are left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from phoenix_ray.dataset.reader import Dataset
from tests import golden
from tests.cluster.conftest import Run

WRITTEN = Path(golden.__file__).with_name("dataset_0.1.0")
OPTIONS = (
    *("source.kind=synthetic", "source.limit_frames=4", "model.name=synthetic", "model.batch_size=2"),
    *("cluster.shard_frames=2", "--num-workers", "1"),
)
# As version 0.1.0 printed them for three and for four videos.
DIGEST_OF_THREE = "ce68127ded4d154b9eab59d4faf706cb"
DIGEST_OF_FOUR = "ba5ee555d19fa88258487a87d80c21f4"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "dataset"))


def test_it_opens_with_the_landmarks_that_were_written(dataset: Path) -> None:
    opened = Dataset.open(str(dataset))
    assert len(opened) == 3
    assert f"{opened.digest():032x}" == DIGEST_OF_THREE


def test_check_finds_it_whole(dataset: Path, run_command: Run) -> None:
    done = run_command("check", str(dataset), "--workers", "1")
    assert done.returncode == 0, done.stdout
    assert "1 data file, 2 partitions" in done.stdout


@pytest.mark.cluster
def test_a_run_goes_on_where_it_ended(dataset: Path, run_command: Run) -> None:
    done = run_command("run", f"output.path={dataset}", "--max-videos-per-split", "4", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "4 frames computed" in done.stdout
    assert f"{Dataset.open(str(dataset)).digest():032x}" == DIGEST_OF_FOUR
    assert not list(dataset.glob("partitions/**/*.parquet"))
    assert [path.name.partition("-")[0] for path in (dataset / "data").iterdir()] == ["all"]
    assert run_command("check", str(dataset), "--workers", "1").returncode == 0


@pytest.mark.cluster
def test_a_compaction_makes_a_dataset_of_it_that_every_tool_opens(dataset: Path, run_command: Run) -> None:
    done = run_command("compact", str(dataset), "output.license=cc0-1.0")
    assert done.returncode == 0, done.stderr
    assert f"{Dataset.open(str(dataset)).digest():032x}" == DIGEST_OF_THREE
    assert pads.dataset(dataset / "data", partitioning="hive").count_rows() == 12
    assert "license: cc0-1.0" in (dataset / "README.md").read_text()
    assert run_command("check", str(dataset), "--workers", "1").returncode == 0
