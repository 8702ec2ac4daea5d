from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray import installation
from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_USAGE
from phoenix_ray.installation import DEPENDENCIES, missing_packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")


def test_the_packages_are_those_of_pyproject() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=;]", dependency)[0].strip() for dependency in project["dependencies"]}
    assert names == set(DEPENDENCIES.values())


def test_every_module_of_the_packages_is_importable_here() -> None:
    message = missing_packages(ModuleNotFoundError("No module named 'rich'", name="rich"))
    assert f"not installed for {sys.executable}: . " in message, "nothing is missing in the environment of the tests"


def test_all_that_is_missing_is_named_at_once_with_two_ways_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda module: None if module in {"cv2", "rich"} else module)
    message = missing_packages(ModuleNotFoundError("No module named 'rich.console'", name="rich.console"))
    assert "opencv-python-headless, rich." in message
    assert f"{sys.executable} -m pip install CHECKOUT" in message
    assert "ray job submit --working-dir . --runtime-env-json" in message


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 's3fs'", name="s3fs"), ImportError("libGL.so")])
def test_other_failures_of_an_import_are_not_explained_away(error: ImportError) -> None:
    assert missing_packages(error) == ""


def test_the_command_line_ends_with_the_message_instead_of_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phoenix_ray.cluster.job", None)

    def refuse(*_: object) -> str:
        return "what to install"

    monkeypatch.setattr("phoenix_ray.cli.missing_packages", refuse)
    result = CliRunner().invoke(cli, ["run", "source.kind=synthetic", "output.path=/nowhere"])
    assert result.exit_code == EXIT_USAGE
    assert result.stderr == "error: what to install\n"
