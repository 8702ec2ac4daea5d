from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from tests.golden.astronaut import View, render

torch = pytest.importorskip("torch")

from benchmarks import gpu, gpu_benchmark  # noqa: E402 - needs torch
from benchmarks.gpu_measure import count_work  # noqa: E402
from phoenix_ray.models.weights import ensure_installed  # noqa: E402


@pytest.fixture(scope="module")
def weights() -> Path:
    return ensure_installed()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of two PNG files of a person."""
    picture: NDArray[np.uint8] = pytest.importorskip("skimage.data").astronaut()
    folder = tmp_path_factory.mktemp("frames")
    (folder / "video").mkdir()
    for index in range(2):
        image = render(picture, View(224 + 8 * index, 150, 300))
        cv2.imwrite(str(folder / "video" / f"{index}.png"), image[:, :, ::-1])
    return folder


def run(weights: Path, frames: Path, out: Path, *options: str) -> Result:
    common = ["--weights", str(weights), "--frames", str(frames), "--out", str(out), "--device", "cpu"]
    small = ["--batch-size", "1", "--seconds", "0", "--threads", "1"]
    return CliRunner().invoke(gpu.main, [*common, *small, *options])


@pytest.fixture(scope="module")
def report(weights: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    result = run(weights, frames, out, "--reference", str(out / "cpu.npz"))
    assert result.exit_code == 0, result.output
    return out


def test_a_run_on_a_cpu_measures_everything(report: Path) -> None:
    found = json.loads((report / "gpu.json").read_text(encoding="utf-8"))
    (rate,) = found["rates"]
    assert (rate["precision"], rate["batch_size"]) == ("exact", 1)
    assert rate["networks"] > rate["with_crops"] > 0
    assert rate["pipeline"] > 0
    assert rate["end_to_end"] > 0
    assert rate["memory_mb"] is None
    assert found["memory_limit"] > 0
    assert [stage["name"] for stage in found["stage_times"]] == [
        *("pose_detection", "pose_landmark", "hand_recrop", "hand_landmark", "face_detection", "face_landmark")
    ]
    assert found["left_out"] == []


def test_landmarks_are_compared_with_those_of_the_cpu_engine(report: Path) -> None:
    parity = json.loads((report / "gpu.json").read_text(encoding="utf-8"))["parity"]["exact"]
    parts = {part["part"]: part for part in parity["parts"]}
    assert parity["presence"] == 1
    assert parts["pose"]["both"] == parts["face"]["both"] == 2
    assert parts["face"]["errors"]["xy px"]["mean"] < 0.03


def test_the_page_names_device_conditions_and_figures(report: Path) -> None:
    page = (report / "gpu.md").read_text(encoding="utf-8")
    assert page.startswith("# Holistic in torch on the CPU\n")
    assert "2 frames (210x260)" in page
    assert f"torch {torch.__version__}" in page
    assert "| hand_landmark | exact | 1 |" in page
    assert "Left out" not in page


def test_stored_landmarks_stand_in_for_litert_and_must_be_of_these_frames(
    weights: Path, frames: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phoenix_ray.models.holistic.litert_engine.engine", None)
    reference = ["--reference", str(report / "cpu.npz")]
    result = run(weights, frames, tmp_path, *reference, "--minutes", "0")
    assert result.exit_code == 0, result.output
    assert "LiteRT" not in result.output
    result = run(weights, frames, tmp_path, *reference, "--limit", "1", "--minutes", "0")
    assert result.exit_code == 5
    assert "holds the landmarks of other frames" in result.output


def test_the_report_lists_what_there_was_no_time_or_reference_for(
    weights: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phoenix_ray.models.holistic.litert_engine.engine", None)
    result = run(weights, frames, tmp_path, "--minutes", "0")
    assert result.exit_code == 0, result.output
    left_out = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["left_out"]
    assert "there is no --reference" in left_out[0]
    assert left_out[1:] == ["exact, batch size 1: stages: time was up", "exact, batch size 1: pipeline: time was up"]
    assert "## Left out" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_the_report_lists_what_does_not_fit_into_memory_and_the_rest_is_measured(
    weights: Path, frames: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu_benchmark, "time_network", refuse)
    result = run(weights, frames, tmp_path, "--reference", str(report / "cpu.npz"))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["left_out"] == ["exact, batch size 1: stages: did not fit into the GPU's memory"]
    assert found["rates"][0]["networks"] is None
    assert found["rates"][0]["pipeline"] > 0


def test_a_folder_without_pictures_and_a_missing_device_are_errors(
    weights: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(weights, tmp_path, tmp_path).exit_code == 4
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(weights, frames, tmp_path, "--device", "cuda").exit_code == 5


def test_a_frame_is_three_billion_operations(weights: Path) -> None:
    work, halved = (count_work(weights, 468, precision) for precision in ("exact", "fp16"))
    assert sum(stage.operations for stage in halved.values()) == pytest.approx(3.06e9, rel=0.01)
    for name, stage in work.items():
        # Sums in order count the bias as one product more.
        assert halved[name].operations == pytest.approx(stage.operations, rel=0.03)
        assert halved[name].bytes_moved < stage.bytes_moved


def test_it_starts_without_ray_mediapipe_and_the_runtime_of_litert() -> None:
    watch = (
        "import sys, benchmarks.gpu; "
        "print([name for name in "
        "('ray', 'mediapipe', 'ai_edge_litert.interpreter', 'pyarrow', 'yaml', 'PIL', 'av') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_page_says_which_bars_are_met(report: Path) -> None:
    page = (report / "gpu.md").read_text(encoding="utf-8")
    assert "| exact, networks | 8,000 frames/s |" in page
    assert "| exact, landmarks | those of docs/parity.md | all met | yes |" in page


def test_the_report_lists_what_a_library_refuses(
    monkeypatch: pytest.MonkeyPatch, weights: Path, frames: Path, tmp_path: Path
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED\nwhile calling")

    monkeypatch.setattr(gpu_benchmark, "time_network", refuse)
    result = run(weights, frames, tmp_path)
    assert result.exit_code == 0, result.output
    assert "exact, batch size 1: stages: CUBLAS_STATUS_NOT_SUPPORTED\n" in (tmp_path / "gpu.md").read_text("utf-8")
