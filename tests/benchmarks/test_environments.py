from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.environments import Environment, install
from phoenix_ray.errors import ConfigError


@pytest.fixture(autouse=True)
def any_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_PYTHONS", ((3, 0), (3, 99)))


def test_a_finished_environment_is_used_again(tmp_path: Path) -> None:
    announced: list[str] = []
    empty = Environment("empty", ("pip",))
    python = install(empty, tmp_path, announced.append)
    assert python.is_file()
    assert len(announced) == 1
    assert install(empty, tmp_path, announced.append) == python
    assert len(announced) == 1


def test_packages_that_pip_cannot_get_are_an_error_that_names_them(tmp_path: Path) -> None:
    broken = Environment("broken", ("--no-such-option",))
    with pytest.raises(ConfigError, match=r"pip cannot install broken(.|\n)*no-such-option"):
        install(broken, tmp_path, lambda _: None)
    assert not (tmp_path / "broken" / ".installed").exists()


def test_a_python_without_mediapipe_says_which_ones_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_PYTHONS", ((3, 0), (3, 9)))
    with pytest.raises(ConfigError, match=r"3\.10 to 3\.12.*--no-peers"):
        install(Environment("empty", ()), tmp_path, lambda _: None)
    assert sys.version_info >= (3, 10)
