from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_OUTPUT, EXIT_USAGE
from phoenix_ray.viewer import server
from tests.viewer.made_up import compute, write_source


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    return compute(write_source(folder / "source", {("dev", "a/b"): 12}), folder / "output")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sheet", "x.png", "--port", "8000"], "--port belongs to the page"),
        (["--sheet", "x.png", "--beside", "other"], "--beside belongs to the page"),
        (["--sheet", "x.png", "--no-frames"], "--no-frames belongs to the page"),
        (["--frames", "3"], "--frames belongs to a contact sheet"),
        (["--videos", "3"], "--videos belongs to a contact sheet"),
        (["--video", "a", "--video", "b"], "The page opens with one --video"),
        (["--around", "3"], "--around names a frame of it"),
        (["--port", "65536"], "65536"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(dataset: Path, words: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["view", str(dataset), *words])
    assert result.exit_code == EXIT_USAGE
    assert said in result.output


@pytest.mark.parametrize("name", ["a/b", "dev/a/b"])
def test_the_page_opens_with_the_named_video(dataset: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def serve(library: object, host: str, port: int, announce: object, start: dict[str, str]) -> None:
        started.append((host, port, start))

    monkeypatch.setattr(server, "serve", serve)
    result = CliRunner().invoke(cli, ["view", str(dataset), "--no-open", "--video", name, "--around", "7"])
    assert result.exit_code == 0, result.output
    assert started == [("127.0.0.1", 0, {"split": "dev", "video": "a/b", "frame": "7"})]


def test_what_cannot_be_shown_is_named(dataset: Path, tmp_path: Path) -> None:
    unknown = CliRunner().invoke(cli, ["view", str(dataset), "--no-open", "--video", "c"])
    assert (unknown.exit_code, "has no video 'c'" in unknown.output) == (EXIT_USAGE, True)
    absent = CliRunner().invoke(cli, ["view", str(tmp_path / "none"), "--no-open"])
    assert (absent.exit_code, "is not a dataset" in absent.output) == (EXIT_OUTPUT, True)


def test_an_address_that_cannot_be_listened_on_is_named(dataset: Path) -> None:
    result = CliRunner().invoke(cli, ["view", str(dataset), "--no-open", "--host", "203.0.113.1"])
    assert result.exit_code == EXIT_USAGE
    assert "cannot listen on 203.0.113.1 port 0" in result.output
