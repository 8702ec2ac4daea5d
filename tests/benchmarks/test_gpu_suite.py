from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_suite
from benchmarks.results import judge, read_bars
from benchmarks.suites import Request
from phoenix_ray.errors import MissingExtraError, ModelError
from tests.benchmarks.test_gpu_report import make_results

ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763606060000000040001f61738550000000049454e44ae426082"
)
SPEEDS = {
    "exact, networks, ÷ the device's bar": 9_000 / 8_000,
    "fp16, networks, ÷ the device's bar": 10_000 / 12_000,
    "exact, end to end, ÷ the device's bar": 1.0,
    "exact, tracking, ÷ the device's bar": 0.95 / 0.9,
}


def test_what_was_measured_becomes_findings() -> None:
    found = gpu_suite.to_findings(make_results("NVIDIA T4 (15 GB)"))
    assert found.frames.startswith("NVIDIA T4 (15 GB), torch 2.11.0. 2 frames (210x260); 16 threads decode")
    bars, rates, _ = found.tables
    assert [row[0] for row in bars.rows] == ["exact, landmarks, static-468"]
    assert [row[:3] for row in rates.rows] == [
        *(("triton", "exact", "128"), ("torch", "exact", "128"), ("triton", "fp16", "256"))
    ]
    assert "Left out: profile, torch: time was up." in found.notes
    assert json.loads(json.dumps(asdict(found)))["raw"]["limits"]["memory"] == 4e12


def test_speeds_are_judged_on_devices_that_have_bars() -> None:
    for device, speeds in (("NVIDIA T4 (15 GB)", {}), ("NVIDIA H200 (140 GB)", SPEEDS)):
        quantities = gpu_suite.quantities(make_results(device))
        found = {name: spread.median for name, spread in quantities.items() if "÷" in name}
        assert found == pytest.approx(speeds)
    met = {result.bar.quantity: result.met for result in judge(quantities, read_bars("gpu"))}
    assert [met[name] for name in SPEEDS] == [True, False, True, True]
    assert met["bars of parity that exact landmarks miss"] is True


def test_the_installed_weights_and_the_frames_of_the_benchmark_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from benchmarks import gpu

    asked: list[Any] = []

    def measure(options: gpu.Options, minutes: float) -> None:
        asked.append(options)
        options.out.mkdir(parents=True)
        (options.out / "gpu.json").write_text(make_results("the device").to_json(), encoding="utf-8")

    picture = tmp_path / "source" / "video" / "1.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(ONE_PIXEL)
    monkeypatch.setattr(gpu, "run_steps", measure)
    monkeypatch.setattr(gpu_suite, "ensure_installed", lambda announce: tmp_path / "weights")
    monkeypatch.setattr("phoenix_ray.models.registry.ensure_ready", lambda *_: None)
    request = Request(tmp_path / "source", 1, 1, 1, False, 1, tmp_path, tmp_path, print)
    assert gpu_suite.run(request).frames.startswith("the device")
    (options,) = asked
    assert (options.weights, options.frames, options.device) == (
        *(tmp_path / "weights", tmp_path / "source"),
        "cuda",
    )


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
