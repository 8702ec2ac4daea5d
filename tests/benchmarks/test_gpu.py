from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from tests.golden.astronaut import View, render

torch = pytest.importorskip("torch")

from benchmarks import gpu, gpu_limits, gpu_probe, gpu_speed  # noqa: E402 - needs torch
from benchmarks.gpu_measure import BatchFlow, count_work  # noqa: E402
from benchmarks.gpu_results import GpuResults  # noqa: E402
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


def options(weights: Path, frames: Path, out: Path, **others: Any) -> gpu.Options:
    chosen: dict[str, Any] = {
        "limit": 2,
        "references": None,
        "seconds": 0.0,
        "device": "cpu",
        "precisions": (),
        "batch_sizes": (1,),
    }
    chosen |= {"cases": ("static-468",), "threads": 1, "commit": "abc"} | others
    return gpu.Options(weights=weights, frames=frames, out=out, **chosen)


def run(options: gpu.Options, *others: str) -> Result:
    return CliRunner().invoke(gpu.main, [*options.arguments(), *others])


def results_in(folder: Path) -> GpuResults:
    return GpuResults.from_json((folder / "gpu.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(weights: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report to which each step has added its part."""
    out = tmp_path_factory.mktemp("out")
    chosen = options(weights, frames, out, references=out / "references", cases=("static-468", "tracking-468"))
    gpu.begin(chosen)
    with pytest.MonkeyPatch.context() as patch:
        some = gpu_probe.layer_shapes(chosen.task())[::40]
        patch.setattr(gpu_probe, "layer_shapes", lambda task: some)
        patch.setattr(gpu_limits, "CPU_MATRIX", 64)
        patch.setattr(gpu_limits, "CPU_COPY_BYTES", 2**16)
        for step in gpu.STEPS:
            result = run(chosen, "--step", step)
            assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
def test_steps_add_up_to_one_page(report: Path) -> None:
    found = results_in(report)
    assert [chapter.title for chapter in found.chapters] == [
        *("Quotients", "Sums out of order", "Order of sums", "Landmarks against the CPU engine", "Landmarks, judged"),
        *("The device's limits", "Frames per second", "Networks against the roofline", "Kernels of a batch"),
    ]
    page = (report / "gpu.md").read_text(encoding="utf-8")
    assert page.startswith("# Holistic in torch on the CPU\n")
    assert "2 frames (210x260) of 1 videos" in page
    assert f"torch {torch.__version__}" in page
    assert "Commit abc." in page
    assert page.index("## Bars") < page.index("## Frames per second") < page.index("## Order of sums")
    # On a CPU nothing but the package's kernels, which are for CUDA, is left out.
    assert all("kernels of this package: " in reason for reason in found.left_out)


@pytest.mark.slow
def test_all_rates_are_measured(report: Path) -> None:
    found = results_in(report)
    (rate,) = found.rates
    assert (rate.kernels, rate.precision, rate.batch_size) == ("torch", "exact", 1)
    for speed in (rate.networks, rate.pipeline, rate.tracking, rate.end_to_end):
        assert speed is not None
        assert speed > 0
    assert rate.replayed is None
    assert rate.memory_mb is None
    assert rate.network_work is not None
    assert rate.network_work.launches > 0
    if rate.pipeline_work is not None:
        assert rate.pipeline_work.launches > rate.network_work.launches
    assert found.limits is not None
    assert found.limits.decoding > 0
    stages = next(chapter for chapter in found.chapters if chapter.title == "Networks against the roofline")
    assert [row[0] for row in stages.table.rows] == [
        *("pose_detection", "pose_landmark", "hand_recrop", "hand_landmark", "face_detection", "face_landmark")
    ]


@pytest.mark.slow
def test_landmarks_have_the_bits_of_the_cpu_engine(report: Path) -> None:
    compared = results_in(report).data["parity"]
    assert [(each["case"], each["identical"], each["repeated"]) for each in compared] == [
        ("static-468", 1, 1),
        ("tracking-468", 1, None),
    ]
    for each in compared:
        parts = {part["part"]: part for part in each["report"]["parts"]}
        assert parts["pose"]["both"] == parts["face"]["both"] == 2
    assert "| exact, landmarks, static-468 | those of docs/parity.md | all met | yes |" in (
        (report / "gpu.md").read_text(encoding="utf-8")
    )


@pytest.mark.slow
def test_stored_landmarks_stand_in_for_litert_and_must_be_of_these_frames(
    weights: Path, frames: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phoenix_ray.models.holistic.litert_engine.engine", None)
    chosen = options(weights, frames, tmp_path, references=report / "references", limit=1)
    assert run(chosen, "--step", "parity").exit_code == 0
    chosen = options(weights, frames, tmp_path)
    assert run(chosen, "--step", "parity").exit_code == 0
    _, of_others, none = results_in(tmp_path).left_out[:2] + results_in(tmp_path).left_out[-1:]
    assert "holds the landmarks of other frames" in of_others
    assert "landmarks of the CPU engine, static-468: " in none
    assert "Error" in none


def test_without_time_everything_is_listed_as_left_out(weights: Path, frames: Path, tmp_path: Path) -> None:
    chosen = options(weights, frames, tmp_path)
    for step in ("parity", "speed", "profile"):
        assert run(chosen, "--step", step, "--until", "0").exit_code == 0
    left_out = results_in(tmp_path).left_out
    assert "landmarks of the CPU engine, static-468: time was up" in left_out
    assert "the device's limits: time was up" in left_out
    assert "profile, torch: time was up" in left_out
    assert "## Left out" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_what_fails_is_listed_and_the_rest_is_measured(
    weights: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def refuse(*_: object) -> None:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED\nwhile calling")

    monkeypatch.setattr(gpu_limits, "CPU_MATRIX", 64)
    monkeypatch.setattr(gpu_speed, "network_calls", lack_memory)
    monkeypatch.setattr(gpu_speed, "_time_tracking", refuse)
    assert run(options(weights, frames, tmp_path), "--step", "speed").exit_code == 0
    found = results_in(tmp_path)
    assert "torch, exact, batch size 1: networks: did not fit into the GPU's memory" in found.left_out
    assert "torch, exact, batch size 1: tracking: RuntimeError: CUBLAS_STATUS_NOT_SUPPORTED" in found.left_out
    assert found.rates[0].networks is None
    assert found.rates[0].pipeline is not None


def test_each_step_runs_in_a_process_of_its_own_and_one_that_dies_or_hangs_ends_alone(
    weights: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def start(command: list[str], log: IO[str], seconds: float) -> int | None:
        asked.append(command)
        step = command[command.index("--step") + 1]
        assert seconds <= 60 * gpu.STEPS[step] + gpu.GRACE
        log.write("illegal memory access\n" if step == "probe" else "")
        return {"probe": -6, "parity": None}.get(step, 0)

    chosen = options(weights, frames, tmp_path, precisions=("exact", "fp16"), cases=("static-468", "static-478"))
    monkeypatch.setattr("benchmarks.gpu_conditions.describe_commit", lambda: "of Git")
    monkeypatch.setattr(gpu, "run_process", start)
    began = time.time()
    gpu.run_steps(chosen, minutes=1)
    assert [command[command.index("--step") + 1] for command in asked] == list(gpu.STEPS)
    for command, share in zip(asked, gpu.STEPS.values(), strict=True):
        assert float(command[command.index("--until") + 1]) == pytest.approx(began + 60 * share, abs=20)
        context = gpu.main.make_context("gpu", command[3:])
        assert context.params["cases"] == chosen.cases
        assert context.params["precisions"] == chosen.precisions
        assert context.params["weights"] == weights
    assert results_in(tmp_path).left_out == [
        "probe: the step ended with exit code -6: illegal memory access",
        "parity: the step was stopped 45 s after its time was up: ",
    ]


def test_a_step_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(alive)!r}).touch()"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with (tmp_path / "log").open("w") as log:
        assert gpu.run_process([sys.executable, "-c", parent], log, 1.5) is None
        assert gpu.run_process([sys.executable, "-c", "raise SystemExit(3)"], log, 60) == 3
    time.sleep(4)
    assert not alive.exists()


def test_a_folder_without_pictures_and_a_missing_device_are_errors(
    weights: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(options(weights, tmp_path, tmp_path)).exit_code == 4
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(options(weights, frames, tmp_path, device="cuda")).exit_code == 5


def test_a_frame_is_three_billion_operations(weights: Path) -> None:
    work, halved = (count_work(weights, 468, precision) for precision in ("exact", "fp16"))
    assert sum(stage.operations for stage in halved.values()) == pytest.approx(3.06e9, rel=0.01)
    for name, stage in work.items():
        # Sums in order count the bias as one product more.
        assert halved[name].operations == pytest.approx(stage.operations, rel=0.03)
        assert halved[name].bytes_moved < stage.bytes_moved
        assert stage.launches > halved[name].launches


def test_operations_are_the_same_in_inference_mode(weights: Path) -> None:
    count_work.cache_clear()
    with torch.inference_mode():
        inside = count_work(weights, 468, "exact")
    count_work.cache_clear()
    assert count_work(weights, 468, "exact") == inside


def test_batches_overlap_where_a_model_can_begin_the_next() -> None:
    happened: list[str] = []

    class Pending:
        def __init__(self, name: str) -> None:
            self.name = name

        def result(self) -> None:
            happened.append(f"result {self.name}")

    class Overlapping:
        batch_size = 1

        def begin(self, images: list[str]) -> Pending:
            happened.append(f"begin {images[0]}")
            return Pending(images[0])

    model: Any = Overlapping()
    flow = BatchFlow(model)
    batches: Any = (["a"], ["b"])
    for batch in batches:
        flow.put(batch)
    flow.drain()
    assert happened == ["begin a", "begin b", "result a", "result b"]


def test_it_starts_without_ray_mediapipe_and_the_runtime_of_litert() -> None:
    watch = (
        "import sys, benchmarks.gpu, benchmarks.gpu_probe, benchmarks.gpu_parity, benchmarks.gpu_profile; "
        "print([name for name in "
        "('ray', 'mediapipe', 'ai_edge_litert.interpreter', 'pyarrow', 'yaml', 'PIL', 'av') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_figures_survive_a_second_process(report_like: GpuResults) -> None:
    assert GpuResults.from_json(report_like.to_json()) == report_like
    assert json.loads(report_like.to_json())["data"]["rates"][0]["kernels"] == "triton"


@pytest.fixture
def report_like() -> GpuResults:
    from tests.benchmarks.test_gpu_report import make_results

    return make_results("NVIDIA H200 (140 GB)")
