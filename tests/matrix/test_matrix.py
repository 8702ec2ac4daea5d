from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from phoenix_ray.dataset.tally import add_digests, digest_text
from phoenix_ray.sources.sample import demo_videos
from tests.matrix.cell import Cell, Outcome
from tests.matrix.demo_digest import differing_videos, read_expected, total_digest, write_expected
from tests.matrix.environments import Environment, Resolution, StepError, find_python, run_step
from tests.matrix.report import problems, to_table
from tests.matrix.wheels import requirements

GOOD = {"train/a": "0" * 31 + "1", "dev/b": "f" * 32}
OTHER = GOOD | {"dev/b": "e" * 32}


def test_the_committed_digests_are_those_of_the_demos_videos() -> None:
    assert set(read_expected()) == {f"{video.split}/{video.video_id}" for video in demo_videos()}


def test_digests_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_expected(GOOD, tmp_path / "digests")
    assert read_expected(tmp_path / "digests") == GOOD


def test_the_total_is_the_digest_of_the_dataset() -> None:
    assert total_digest(GOOD.values()) == digest_text(add_digests([1, 2**128 - 1])) == "0" * 32


def test_a_video_that_differs_or_is_missing_is_named() -> None:
    assert differing_videos(OTHER, GOOD) == ["dev/b"]
    assert differing_videos({"train/a": GOOD["train/a"]}, GOOD) == ["dev/b"]


def test_cells_with_the_expected_landmarks_have_no_problem() -> None:
    cells = [Outcome("3.12", "newest", demo=GOOD, video=GOOD), Outcome("3.10", "lowest", absent="not here")]
    assert list(problems(cells, GOOD)) == []
    assert [row[-3:] for row in to_table(cells, GOOD).rows] == [("ok", "ok", "0" * 12), ("", "", "not here")]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Outcome("3.12", "lowest", failure="video: it fell"), "video: it fell"),
        (Outcome("3.12", "lowest", demo=OTHER, video=GOOD), "the demo: dev/b"),
        (Outcome("3.12", "lowest", demo=GOOD, video=OTHER), "the video file"),
        (Outcome("3.12", "lowest", demo=GOOD, video=GOOD, torch=OTHER), "engine torch: dev/b"),
    ],
)
def test_a_failure_and_other_landmarks_are_problems(cell: Outcome, said: str) -> None:
    cells = [Outcome("3.12", "newest", demo=GOOD, video=GOOD), cell]
    (problem,) = problems(cells, GOOD)
    assert said in problem
    assert "Python 3.12, lowest" in problem


def test_a_matrix_without_any_python_is_a_problem() -> None:
    assert len(list(problems([Outcome("3.12", "newest", absent="not here")], GOOD))) == 1


def test_cells_that_disagree_cannot_be_recorded() -> None:
    cells = [Outcome("3.12", "newest", demo=GOOD), Outcome("3.12", "lowest", demo=OTHER)]
    assert len(list(problems(cells, {}))) == 1


def test_a_python_that_reports_another_version_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shim of pyenv does, which exists for each version that is installed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shims, fitting = tmp_path / "shims", tmp_path / "pyenv" / "versions" / f"{version}.1" / "bin"
    for folder, body in ((shims, "exit 127"), (fitting, f'exec {sys.executable} "$@"')):
        folder.mkdir(parents=True)
        program = folder / f"python{version}"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert find_python(version) == fitting / f"python{version}"


def test_a_command_that_ends_otherwise_than_wanted_is_reported_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="ended with 3, not 0:\nwhy"):
        run_step([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "made_up-1-py3-none-any.whl"
    metadata = (
        "Name: made-up\nProvides-Extra: plots\nRequires-Dist: numpy<3,>=1.26; python_version < '3.13'\n"
        "Requires-Dist: numpy<3,>=2.1; python_version >= '3.13'\nRequires-Dist: click<9,>=8\n"
        "Requires-Dist: matplotlib<4,>=3.9; extra == 'plots'\n"
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("made_up-1.dist-info/METADATA", metadata)
    return file


@pytest.mark.parametrize(
    ("python", "extras", "expected"),
    [
        ("3.12", [], {"numpy<3,>=1.26", "click<9,>=8"}),
        ("3.13", ["plots"], {"numpy<3,>=2.1", "click<9,>=8", "matplotlib<4,>=3.9"}),
        (None, None, {"numpy<3,>=1.26", "numpy<3,>=2.1", "click<9,>=8", "matplotlib<4,>=3.9"}),
    ],
)
def test_a_wheel_requires_what_its_markers_say(
    wheel: Path, python: str | None, extras: list[str] | None, expected: set[str]
) -> None:
    assert {f"{one.name}{one.specifier}" for one in requirements(wheel, python, extras)} == expected


def test_lowest_versions_are_asked_for_by_name(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wheel's own requirements uv takes the newest, also when it resolves to the lowest."""
    asked: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(Environment, "create", lambda self, interpreter: None)
    monkeypatch.setattr(Environment, "run_script", lambda self, *words: '{"versions": {}, "digests": {}}')
    monkeypatch.setattr(Environment, "phoenix_ray", lambda self, *words: "")
    for resolution in get_args(Resolution):
        monkeypatch.setattr(Environment, "install", lambda self, *words: asked.setdefault(self.resolution, words))
        outcome = Cell("3.13", Environment(tmp_path, resolution), wheel, tmp_path).run(
            Path("python"), lambda text: None
        )
        assert "install" in outcome.passed
    assert asked["newest"] == (f"{wheel}[]",)
    assert set(asked["lowest"]) == {f"{wheel}[]", "numpy<3,>=2.1", "click<9,>=8"}


def test_an_extra_that_an_error_does_not_name_fails_the_cell(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "create", lambda self, interpreter: None)
    monkeypatch.setattr(Environment, "install", lambda self, *words: None)
    monkeypatch.setattr(Environment, "run_script", lambda self, *words: '{"versions": {}, "digests": {}}')
    monkeypatch.setattr(Environment, "phoenix_ray", lambda self, *words: "")
    monkeypatch.setattr(Environment, "refuse", lambda self, *words: "No module named 'pose_format'")
    outcome = Cell("3.13", Environment(tmp_path, "newest"), wheel, tmp_path).run(Path("python"), lambda text: None)
    assert outcome.passed[-1] == "video"
    assert outcome.failure.startswith("missing extras: export VIDEOS")
    assert "does not name the extra [export]" in outcome.failure
