from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import benchmark, environments, peers
from benchmarks.__main__ import bench
from benchmarks.report import Findings
from benchmarks.results import Measurement
from benchmarks.suites import Suite
from benchmarks.table import Table
from phoenix_ray.errors import ModelError
from phoenix_ray.models.weights import FOLDER_VARIABLE


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures" / "dev" / "one"
    folder.mkdir(parents=True)
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((26, 21, 3), np.uint8))
    return tmp_path / "pictures"


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[str]]:
    """Replace the contestants by ones of known speed; returns the order in which they ran."""

    def pretend(our_rate: float) -> list[str]:
        ran: list[str] = []

        def contestant(name: str, rate: float) -> Callable[..., Measurement]:
            def run(*_: Any, **keywords: Any) -> Measurement:
                stateless = keywords.get("stateless", False)
                heavy = bool(keywords.get("heavy")) or "complexity" in (keywords.get("model") or {})
                tracking = "mode" in (keywords.get("model") or {}) or keywords.get("static") is False
                words = (name, "stateless" * stateless, "tracking" * tracking, "heavy" * heavy)
                ran.append(" ".join(filter(None, words)))
                seconds = 8 / (rate / 2 if stateless or heavy else rate)
                return Measurement(8, seconds, seconds + 1, 300.0)

            return run

        monkeypatch.setattr(peers, "run_ours", contestant("ours", our_rate))
        monkeypatch.setattr(peers, "run_mediapipe", contestant("static", 30.0))
        monkeypatch.setattr(peers, "run_mediapipe_tracking", contestant("MediaPipe tracking", 40.0))
        monkeypatch.setattr(peers, "run_pose_format", contestant("pose-format", 30.0))
        monkeypatch.setattr(peers, "run_ray_data", contestant("Ray Data", 20.0))
        monkeypatch.setattr(peers, "run_command", lambda *_: 1.0)
        monkeypatch.setattr(environments, "install", lambda *_: Path(sys.executable))
        monkeypatch.setattr("phoenix_ray.models.registry.ensure_ready", lambda *_: None)
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
        return ran

    return pretend


def run(pictures: Path, output: Path, *words: str) -> Any:
    return CliRunner().invoke(bench, ["peers", "--source", str(pictures), "--output", str(output), *words])


def test_rounds_are_interleaved_and_the_report_written(
    pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]
) -> None:
    ran = pretend(90.0)
    done = run(pictures, tmp_path / "results", "--rounds", "2")
    assert done.exit_code == 0, done.output
    static = ["ours", "static", "static stateless", "pose-format", "Ray Data"]
    tracking = ["ours tracking", "MediaPipe tracking", "pose-format tracking"]
    assert ran == (static + tracking) * 2
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["peers.json", "peers.md"]
    tree = json.loads((tmp_path / "results" / "peers.json").read_text())
    assert [verdict["met"] for verdict in tree["verdicts"]] == [True] * 5 + [None]
    assert (tmp_path / "results" / "peers.md").read_text() in done.output
    assert "MediaPipe heavy tracking in a pool are left out: there is no" in done.output


def test_each_mode_is_compared_with_the_same_mode(
    pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]
) -> None:
    ran = pretend(90.0)
    (tmp_path / peers.HEAVY_NETWORK).touch()
    done = run(pictures, tmp_path / "results", "--rounds", "1")
    assert done.exit_code == 0, done.output
    assert ran[-2:] == ["ours tracking heavy", "MediaPipe tracking heavy"]
    measured = json.loads((tmp_path / "results" / "peers.json").read_text())["findings"]["quantities"]
    assert measured["÷ MediaPipe tracking in a pool"]["median"] == pytest.approx(90 / 40)
    assert measured["÷ MediaPipe heavy tracking in a pool"]["median"] == pytest.approx(45 / 20)
    assert not [name for name in measured if name.startswith("÷ phoenix_ray")]
    assert "left out" not in done.output


def test_a_missed_bar_is_the_exit_code(pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]) -> None:
    pretend(31.0)
    done = run(pictures, tmp_path / "results")
    assert done.exit_code == 1
    assert "**missed**" in done.output


def test_without_peers_we_run_alone(pictures: Path, tmp_path: Path, pretend: Callable[[float], list[str]]) -> None:
    ran = pretend(31.0)
    assert run(pictures, tmp_path / "results", "--no-peers", "--rounds", "1").exit_code == 0
    assert ran == ["ours", "ours tracking"]


@pytest.fixture
def machine_lacks_a_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two suites: one that measures a rate, and one that says that it cannot run here."""

    def refuse() -> None:
        raise ModelError("torch sees no CUDA device here.")

    possible, impossible = ModuleType("possible"), ModuleType("impossible")
    vars(possible)["run"] = lambda _: Findings("one frame", 1, [Table(("rate",), [("35",)])])
    vars(impossible)["check_machine"] = refuse
    suites = (Suite("engines", "", "possible"), Suite("gpu", "", "impossible"))
    monkeypatch.setitem(sys.modules, "possible", possible)
    monkeypatch.setitem(sys.modules, "impossible", impossible)
    monkeypatch.setattr(benchmark, "SUITES", suites)


@pytest.mark.usefixtures("machine_lacks_a_suite")
def test_what_cannot_run_here_is_left_out_with_the_reason(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["--output", str(tmp_path / "results")])
    assert done.exit_code == 0, done.output
    assert "gpu is left out: torch sees no CUDA device here.\n" in done.output
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["engines.json", "engines.md"]


@pytest.mark.usefixtures("machine_lacks_a_suite")
def test_a_named_suite_that_cannot_run_here_is_an_error_before_anything_is_measured(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench, ["engines", "gpu", "--output", str(tmp_path / "results")])
    assert done.exit_code == ModelError.exit_code
    assert "error: torch sees no CUDA device here." in done.output
    assert not (tmp_path / "results").exists()


def test_an_unknown_suite_is_named_with_the_nearest() -> None:
    done = CliRunner().invoke(bench, ["peer"])
    assert done.exit_code == 2
    assert "Did you mean 'peers'?" in done.output


def test_the_suites_are_listed() -> None:
    done = CliRunner().invoke(bench, ["--list"])
    assert [line.split()[0] for line in done.output.splitlines()] == [
        *("engines", "job", "peers", "losses", "storage", "bucket", "scale", "viewer", "accuracy"),
        *("zoo", "models-parity", "gpu"),
    ]


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("engines")
