"""What the benchmark asks of the package's kernels, without a GPU: stand-ins, Triton's interpreter, its compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import gpu_compile, gpu_task  # noqa: E402 - needs torch
from benchmarks.gpu_cases import CASES  # noqa: E402
from benchmarks.gpu_frames import GpuFrames  # noqa: E402
from benchmarks.gpu_measure import OWN_KERNELS, count_networks, network_calls, stages  # noqa: E402
from benchmarks.gpu_task import GpuTask, Record, usable_kernels  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorchTracking  # noqa: E402
from phoenix_ray.models.weights import ensure_installed  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The inputs of each network of a stand-in for the package's networks."""
    found: dict[str, Any] = {}

    class KernelNetworks:
        def __init__(self, weights: Path, face_points: int, device: Any, precision: str) -> None:
            assert (face_points, device) == (468, CPU)

        def __getattr__(self, name: str) -> Any:
            def look(crops: Any) -> Any:
                found[name] = crops
                torch.empty_like(crops)
                return crops + 1

            return look

    module = ModuleType("networks")
    module.__dict__["KernelNetworks"] = KernelNetworks
    monkeypatch.setitem(sys.modules, f"{OWN_KERNELS}.networks", module)
    return found


@pytest.mark.parametrize(("precision", "dtype"), [("exact", torch.float32), ("fp16", torch.float16)])
def test_networks_see_crops_as_the_kernels_cut_them(seen: dict[str, Any], precision: Any, dtype: Any) -> None:
    for call in network_calls("triton", Path(), precision, 2, CPU).values():
        call()
    for stage in stages():
        crops = seen[stage.name]
        assert crops.shape == (2 * stage.crops_per_frame, 3, stage.expects.size, stage.expects.size)
        assert crops.dtype == dtype
        assert stage.expects.lowest <= crops.min() < crops.max() <= 1


def test_kernels_are_counted_while_they_run(seen: dict[str, Any]) -> None:
    weights = ensure_installed()
    calls = network_calls("triton", weights, "exact", 2, CPU)
    work = count_networks("triton", weights, "exact", calls, 2)
    assert sum(each.operations for each in work.values()) == pytest.approx(3.06e9, rel=0.01)
    # The stand-in reads its input and writes as much; of hands there are two crops in a frame.
    assert work["hand_landmark"].bytes_moved == 2 * 2 * 3 * 224 * 224 * 4
    assert work["hand_landmark"].launches == 1


def test_users_kernels_come_first_where_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_task, "has_kernels_setting", lambda: True)
    assert usable_kernels(torch.device("cuda", 0)) == (("triton", "torch"), "")
    assert usable_kernels(CPU) == (("torch",), "they are for CUDA devices, not for cpu")
    monkeypatch.setattr(gpu_task, "has_kernels_setting", lambda: False)
    kernels, objection = usable_kernels(torch.device("cuda", 0))
    assert kernels == ("torch",)
    assert "model.kernels" in objection


def make_task(device: Any, precisions: Any = ("exact", "fp16")) -> GpuTask:
    return GpuTask(Path(), GpuFrames((), ()), device, 1, 0.0, precisions, (2,), CASES)


def test_all_networks_and_then_all_pipelines_are_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def start(task: GpuTask, what: Any, precision: str) -> float:
        started.append(getattr(what, "name", what))
        if what == "hand_recrop":
            raise RuntimeError("out of resources")
        return 1.5

    monkeypatch.setattr(gpu_compile, "usable_kernels", lambda device: (("triton", "torch"), ""))
    monkeypatch.setattr(gpu_compile, "ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(1))
    monkeypatch.setattr(gpu_compile, "start_network", start)
    monkeypatch.setattr(gpu_compile, "start_pipeline", start)
    record = Record(tmp_path, deadline=float("inf"))
    gpu_compile.run(make_task(torch.device("cuda", 0)), record)
    assert started[: 2 * len(stages())] == [stage.name for stage in stages()] * 2
    assert sorted(started[2 * len(stages()) :]) == sorted([*(case.name for case in CASES), CASES[0].name])
    (chapter,) = record.results.chapters
    assert ("network face_landmark", "fp16", "1.5") in chapter.table.rows
    assert ("pipeline tracking-468", "exact", "1.5") in chapter.table.rows
    assert sorted(record.results.left_out) == [
        f"compiling network hand_recrop, {precision}: RuntimeError: out of resources" for precision in ("exact", "fp16")
    ]


def test_a_network_is_started_once_on_a_batch(seen: dict[str, Any]) -> None:
    assert gpu_compile.start_network(make_task(CPU), "face_detection", "exact") > 0
    assert list(seen) == ["face_detection"]
    assert len(seen["face_detection"]) == 2


def test_a_pipeline_in_tracking_mode_is_started_with_and_without_states(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Tracking(HolisticTorchTracking):
        state_size = 3

        def __init__(self) -> None: ...

        def track(self, images: Any, states: Any) -> Any:
            seen.append(states)
            return None, states * 0 + 1 if len(seen) > 1 else np.ones_like(states)

        def close(self) -> None: ...

    monkeypatch.setattr(GpuTask, "load", lambda *_: Tracking())
    monkeypatch.setattr(GpuFrames, "repeated", lambda self, count: [None] * count)
    gpu_compile.start_pipeline(make_task(CPU), CASES[1], "exact")
    without, with_states = seen
    assert np.isnan(without).all()
    assert with_states.shape == (2, 3)
    assert (with_states == 1).all()


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="Triton compiles in this process")
def test_chains_of_multiply_adds_end_where_they_began() -> None:
    pytest.importorskip("triton")
    from benchmarks.gpu_chains import multiply_and_add_often

    values = torch.full((64,), 0.5)
    assert multiply_and_add_often(values, 1, 32) == 2 * 64 * 64
    assert set(values.tolist()) == {0.5}


def test_chains_are_compiled_to_multiply_adds_alone() -> None:
    pytest.importorskip("triton")
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.gpu_chains import multiply_and_add
source = ASTSource(multiply_and_add, {"values": "*fp32", "rounds": "i32", "block": "constexpr"}, {(2,): 1024})
options = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": False}
ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
print(ptx.count("fma.rn.f32"), ptx.count("mul.f32"), ptx.count("add.f32"), ptx.count(".ftz"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    # 64 steps of 8 values in each thread.
    assert done.stdout.split() == ["512", "0", "0", "0"]
