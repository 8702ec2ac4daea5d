from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import gpu_suite
from benchmarks.gpu_results import Conditions, GpuReport, Rate, StageTime
from benchmarks.machine import Machine
from benchmarks.parity_report import ParityReport
from benchmarks.results import judge, read_bars
from benchmarks.suites import Request
from phoenix_ray.errors import MissingExtraError, ModelError

ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763606060000000040001f61738550000000049454e44ae426082"
)
SPEEDS = {
    "exact, networks, ÷ what one H200 should reach": 8_000 / 8_000,
    "exact, end to end, ÷ what one H200 should reach": 3_000 / 6_000,
}


def make_report(device: str) -> GpuReport:
    conditions = Conditions(
        date="2026-01-01",
        machine=Machine("Imaginary CPU", 16, "Linux", 0.1),
        device=device,
        versions={"torch": "2.13.0"},
        frames="2 frames (210x260)",
        face_points=468,
        threads=16,
    )
    rates = [Rate("exact", 8, 4_000.0, 3_900.0, 2_000.0, 1_500.0), Rate("exact", 512, 8_000.0, 7_800.0, None, 3_000.0)]
    stage = StageTime("hand_landmark", "exact", 512, 40.0, 3.0, 30.0, 1e9, 1e8, 20.0)
    parity = {"exact": ParityReport("CPU engine", "torch", "holistic-468", ())}
    left_out = ["fp16, batch size 8: pipeline: time was up"]
    return GpuReport(conditions, 4e12, {"exact": 5e13}, rates, [stage], parity, left_out)


def test_what_was_measured_becomes_findings() -> None:
    found = gpu_suite.to_findings(make_report("NVIDIA T4 (15 GB)"))
    assert found.frames.startswith("NVIDIA T4 (15 GB), torch 2.13.0. 2 frames (210x260); 468 face points")
    rates, _, stages, *_ = found.tables
    assert [row[:3] for row in rates.rows] == [("exact", "8", "4,000"), ("exact", "512", "8,000")]
    assert stages.rows == [("hand_landmark", "exact", "512", "40.0", "20.0", "50%")]
    assert "Left out: fp16, batch size 8: pipeline: time was up." in found.notes
    assert json.loads(json.dumps(asdict(found)))["raw"]["parity"]["exact"]["layout"] == "holistic-468"


def test_speeds_are_judged_on_the_device_that_they_are_for() -> None:
    for device, speeds in (("NVIDIA T4 (15 GB)", {}), ("NVIDIA H200 (140 GB)", SPEEDS)):
        quantities = gpu_suite.quantities(make_report(device))
        assert {name: spread.median for name, spread in quantities.items() if "H200" in name} == speeds
    met = {result.bar.quantity: result.met for result in judge(quantities, read_bars("gpu"))}
    # fp16 was not measured.
    assert [met[name] for name in SPEEDS] == [True, False]
    assert list(met.values()).count(None) == 1


def test_landmarks_are_judged_on_any_device() -> None:
    quantities = gpu_suite.quantities(make_report("NVIDIA T4 (15 GB)"))
    # A report without a part misses the bar that something was compared.
    assert quantities["bars of parity that exact landmarks miss"].median == 1


def test_the_installed_weights_and_the_frames_of_the_benchmark_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks import gpu_benchmark
    from phoenix_ray.models.holistic.torch_engine import engine

    asked: list[object] = []

    class Measured:
        def __init__(self, *arguments: object) -> None:
            asked.extend(arguments)

        def run(self, *_: object) -> list[GpuReport]:
            return [make_report("the first"), make_report("the last")]

    picture = tmp_path / "source" / "video" / "1.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(ONE_PIXEL)
    monkeypatch.setattr(gpu_benchmark, "GpuBenchmark", Measured)
    monkeypatch.setattr(engine, "choose_device", torch.device)
    monkeypatch.setattr(gpu_suite, "ensure_installed", lambda announce: tmp_path / "weights")
    monkeypatch.setattr("phoenix_ray.models.registry.ensure_ready", lambda *_: None)
    request = Request(tmp_path / "source", 1, 1, 1, False, 1, tmp_path, tmp_path, print)
    assert gpu_suite.run(request).frames.startswith("the last")
    assert asked[:4] == [tmp_path / "weights", torch.device("cuda"), 468, [ONE_PIXEL]]


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"\[torch\]"):
        gpu_suite.check_machine()


def test_without_cuda_the_program_for_other_devices_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"sees no CUDA device here.*python -m benchmarks\.gpu"):
        gpu_suite.check_machine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu_suite.check_machine()
