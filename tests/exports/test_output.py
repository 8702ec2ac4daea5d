from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.errors import OutputError
from phoenix_ray.exports.output import atomic_output, video_file


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "new" / "a.pkl", overwrite=False) as temporary:
        temporary.write_text("content")
        assert not (tmp_path / "new" / "a.pkl").exists()
    assert (tmp_path / "new" / "a.pkl").read_text() == "content"
    assert names(tmp_path / "new") == ["a.pkl"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").write_text("before")

    def fail() -> None:
        with atomic_output(tmp_path / "out", overwrite=True) as temporary:
            if kind == "folder":
                (temporary / "train").mkdir(parents=True)
            else:
                temporary.write_text("half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert (tmp_path / "out").read_text() == "before"
    assert names(tmp_path) == ["out"]


def test_what_exists_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(OutputError, match="out exists: give another name, or --overwrite"),
        atomic_output(tmp_path / "out", overwrite=False),
    ):
        pass


@pytest.mark.parametrize("before", ["file", "folder"])
@pytest.mark.parametrize("after", ["file", "folder"])
def test_files_and_folders_replace_each_other(tmp_path: Path, before: str, after: str) -> None:
    output = tmp_path / "out"
    for kind, content in ((before, "old"), (after, "new")):
        with atomic_output(output, overwrite=True) as temporary:
            if kind == "folder":
                temporary.mkdir()
                (temporary / content).write_text(content)
            else:
                temporary.write_text(content)
    assert names(tmp_path) == ["out"]
    assert names(output) == ["new"] if after == "folder" else output.read_text() == "new"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"Cannot write .*file/out"),
        atomic_output(tmp_path / "file" / "out", overwrite=False) as temporary,
    ):
        temporary.write_text("content")


def test_names_of_videos_cannot_leave_the_folder(tmp_path: Path) -> None:
    file = video_file(tmp_path, "../x", "../../etc/passwd", ".npz")
    assert file.resolve().is_relative_to(tmp_path.resolve())
    assert file.parent.is_dir()
