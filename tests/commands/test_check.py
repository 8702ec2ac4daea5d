from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source
from tests.dataset.made_up import commit, make_video, new_dataset
from tests.dataset.test_crashes import work
from tests.sources.made_up import write_frames


def invoke(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["check", str(folder), "--workers", "1", *words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work(LocalStorage(str(tmp_path / "dataset")), [make_video("a", frames=9), make_video("b", frames=5)])
    return tmp_path / "dataset"


def data_file(folder: Path) -> Path:
    (path,) = folder.glob("data/*.parquet")
    return path


def test_a_whole_dataset_ends_with_0_and_its_digest(folder: Path) -> None:
    result = invoke(folder)
    digest = json.loads(max(folder.glob(f"{paths.MANIFESTS}/*")).read_text())["digest"]
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        0,
        f"Whole: every file is what was written. Landmark digest of the data files: {digest}",
    )


def test_where_nothing_is_merged_no_digest_is_shown(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path / "dataset")
    commit(storage, make_video("a", frames=4), 0, 4)
    result = invoke(tmp_path / "dataset")
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        0,
        "Whole: every file is what was written. Nothing is merged into data files yet: `phoenix-ray compact` does it.",
    )


def test_a_dataset_without_a_frame_ends_with_3(tmp_path: Path) -> None:
    new_dataset(tmp_path / "dataset")
    result = invoke(tmp_path / "dataset")
    assert result.exit_code == 3
    assert "Whole" not in result.output
    assert "it holds no frame yet. To finish: `phoenix-ray run" in result.output


def test_damage_ends_with_8_and_is_named(folder: Path) -> None:
    path = data_file(folder)
    path.write_bytes(path.read_bytes()[:-1])
    result = invoke(folder)
    assert result.exit_code == 8
    assert str(path.relative_to(folder)) in result.output
    assert "--repair" in result.output


def test_a_repair_ends_with_3_and_says_what_finishes(folder: Path) -> None:
    path = data_file(folder)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    result = invoke(folder, "--repair")
    assert result.exit_code == 3
    assert f"phoenix-ray run … output.path={folder}" in result.output
    assert not path.exists()
    (kept,) = folder.glob("quarantine/*/data/*.parquet")
    assert kept.read_bytes() == content[:-1]
    assert not (folder / paths.LEASE).exists()


def test_a_repair_that_needs_no_run_ends_with_0(folder: Path) -> None:
    (folder / paths.VIDEOS).unlink()
    assert invoke(folder, "--repair").exit_code == 0


def test_a_damaged_identity_is_put_aside_for_the_next_run_to_write(folder: Path) -> None:
    (folder / paths.IDENTITY).write_bytes(b"{}")
    assert invoke(folder).exit_code == 8
    result = invoke(folder, "--repair")
    assert result.exit_code == 3
    assert "writes dataset.json again" in result.output
    work(LocalStorage(str(folder)), [make_video("a", frames=9), make_video("b", frames=5)])
    assert invoke(folder).exit_code == 0


def test_the_report_for_programs_names_everything(folder: Path) -> None:
    for number in range(30):
        (folder / "data" / f"{number}.txt").touch()
    shown = invoke(folder).output
    assert "30 foreign" in shown
    assert "… and 10 more" in shown
    result = invoke(folder, "--json")
    tree = json.loads(result.stdout)
    assert (tree["exit_code"], tree["compacted_rows"], len(tree["findings"])) == (8, 14, 30)
    assert tree["findings"][0] == {
        "kind": "foreign",
        "subject": "data/0.txt",
        "detail": "phoenix_ray writes no file of this name here",
    }


def test_what_is_no_dataset_ends_with_6(tmp_path: Path) -> None:
    result = invoke(tmp_path)
    assert result.exit_code == 6
    assert "is not a dataset" in result.output


def test_the_source_is_compared_by_its_signatures(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "dataset"
    for name in ("same", "changed", "gone"):
        write_frames(source / name, 3)
    videos = [one for one in open_source(SourceSettings(path=str(source))).videos() if isinstance(one, Video)]
    work(LocalStorage(str(folder)), videos)
    assert invoke(folder, "--source", str(source)).exit_code == 0
    shutil.rmtree(source / "gone")
    write_frames(source / "new", 2)
    (source / "changed" / "images0001.png").write_bytes(b"shorter")
    result = invoke(folder, "--source", str(source), "--json")
    found = {finding["subject"]: finding["kind"] for finding in json.loads(result.stdout)["findings"]}
    assert found == {"all/changed": "changed", "all/gone": "gone", "all/new": "missing"}
    assert result.exit_code == 3


def test_a_video_of_the_source_that_cannot_be_opened_ends_with_3(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "dataset"
    write_frames(source / "same", 3)
    videos = [one for one in open_source(SourceSettings(path=str(source))).videos() if isinstance(one, Video)]
    work(LocalStorage(str(folder)), videos)
    (source / "cut.mp4").write_bytes(b"no container")
    result = invoke(folder, "--source", str(source))
    assert "Found: 1 unopenable" in result.output
    assert "Sound, not complete: the source has 1 video that cannot be opened." in result.output
    assert "Whole" not in result.output
    assert result.exit_code == 3


def test_frames_that_are_not_computed_yet_end_with_3(folder: Path) -> None:
    commit(LocalStorage(str(folder)), make_video("c", frames=8), 0, 6)
    result = invoke(folder)
    assert result.exit_code == 3
    assert "train/c: 2 of 8 frames" in result.output


def test_names_reach_the_terminal_escaped(folder: Path) -> None:
    commit(LocalStorage(str(folder)), make_video("c\x1b[2J\nWhole", frames=8), 0, 6)
    assert "train/c\\x1b[2J\\nWhole: 2 of 8 frames" in invoke(folder).output
