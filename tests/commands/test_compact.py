from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.dataset.storage import LocalStorage
from tests.dataset.made_up import commit, make_video
from tests.dataset.test_crashes import work


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr("phoenix_ray.cluster.session.RaySession", refuse)


def compact(folder: Path) -> list[str]:
    result = CliRunner().invoke(cli, ["compact", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


def test_where_nothing_is_to_be_merged_ray_is_not_started(tmp_path: Path) -> None:
    work(LocalStorage(str(tmp_path)), [make_video("a", frames=9), make_video("b", frames=5)])
    assert compact(tmp_path) == ["There is nothing to merge.", f"14 rows in 1 file below {tmp_path}/data"]


def test_rows_that_are_not_merged_are_counted(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    work(storage, [make_video("a", frames=9)])
    commit(storage, make_video("begun", frames=8), 0, 6)
    assert compact(tmp_path)[1:] == [
        f"9 rows in 1 file below {tmp_path}/data",
        "6 rows are not merged: their videos lack frames, which `phoenix-ray run` computes.",
    ]
