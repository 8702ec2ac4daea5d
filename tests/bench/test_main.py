from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from phoenix_ray.bench import __main__ as command
from phoenix_ray.bench.results import EngineTimes, Measurement


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "dev" / "one"
    folder.mkdir(parents=True)
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((26, 21, 3), np.uint8))
    return tmp_path / "pictures"


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[str]]:
    """Replace the contestants by ones of known speed; returns the order in which they ran."""

    def pretend(our_rate: float) -> list[str]:
        ran: list[str] = []

        def contestant(name: str, rate: float) -> Callable[..., Measurement]:
            def run(*arguments: Any, **keywords: Any) -> Measurement:
                ran.append("stateless" if keywords.get("stateless") else name)
                frames = len(arguments[1]) if name == "static" else 8
                seconds = frames / (rate / 2 if keywords.get("stateless") else rate)
                return Measurement(frames, seconds, seconds + 1, 300.0)

            return run

        monkeypatch.setattr(command, "run_ours", contestant("ours", our_rate))
        monkeypatch.setattr(command, "run_mediapipe", contestant("static", 30.0))
        monkeypatch.setattr(command, "time_engine", lambda *_: EngineTimes(24.0, 3.0, 1.0, 1.0, 0.5))
        monkeypatch.setattr("phoenix_ray.models.registry.prepare", lambda *_: None)
        monkeypatch.setenv("PHOENIX_RAY_REFERENCE_PYTHON", sys.executable)
        return ran

    return pretend


def test_rounds_are_interleaved_and_the_results_written(
    pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]
) -> None:
    ran = pretend(60.0)
    output = tmp_path / "results"
    done = CliRunner().invoke(command.main, ["--source", str(pictures), "--rounds", "2", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert ran == ["ours", "static", "stateless"] * 2
    assert sorted(path.name for path in output.iterdir()) == ["results.json", "results.md"]
    tree = json.loads((output / "results.json").read_text())
    assert tree["rounds"][0]["stateless"]["frames"] == 2, "every fourth frame"
    assert (output / "results.md").read_text() in done.output


def test_a_missed_bar_is_the_exit_code(pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]) -> None:
    pretend(31.0)
    done = CliRunner().invoke(command.main, ["--source", str(pictures), "--output", str(tmp_path / "results")])
    assert done.exit_code == 1
    assert "**missed**" in done.output


def test_an_error_has_the_exit_code_of_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_RAY_REFERENCE_PYTHON", str(tmp_path / "nowhere"))
    done = CliRunner().invoke(command.main, ["--output", str(tmp_path / "results")])
    assert done.exit_code == 2
    assert "make reference" in done.output
    assert not (tmp_path / "results").exists()
