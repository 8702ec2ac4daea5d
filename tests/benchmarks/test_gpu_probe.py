from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from benchmarks import gpu_probe  # noqa: E402 - needs torch
from benchmarks.gpu_cases import CASES  # noqa: E402
from benchmarks.gpu_frames import GpuFrames  # noqa: E402
from benchmarks.gpu_measure import OWN_KERNELS  # noqa: E402
from benchmarks.gpu_probe import LayerShape, fused_multiply_add, kernel_sums, library_sums  # noqa: E402
from benchmarks.gpu_task import GpuTask, Record  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.layers import Convolution, in_order  # noqa: E402
from phoenix_ray.models.weights import ensure_installed  # noqa: E402

CPU = torch.device("cpu")
FLOATS = st.floats(-1e3, 1e3, width=32)
DENSE = LayerShape(False, 2, 5, (7, 9), 6, (3, 4), (3, 2), (2, 2), (0, 0), (1, 1))
DEPTHWISE = LayerShape(True, 1, 6, (8, 6), 6, (4, 3), (3, 3), (2, 2), (1, 1), (1, 1))


@pytest.fixture
def own_kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the package's kernels that adds up as they do: torch's layers in order, which run on a CPU."""

    def compute(features: Any, weight: Any, layer: Any, out: Any, groups: int) -> None:
        made = in_order(
            Convolution(
                weight.numpy(), layer.bias.numpy(), layer.taps.stride[::-1], layer.taps.padding[::-1], groups=groups
            )
        )
        out.copy_(made(features.transpose(2, 3)).transpose(2, 3))

    def convolve(features: Any, layer: Any, ending: Any, out: Any) -> None:
        rows, columns = layer.taps.size
        weight = layer.weight.reshape(rows, columns, features.shape[1], -1).permute(3, 2, 1, 0).contiguous()
        compute(features, weight, layer, out, groups=1)

    def convolve_depthwise(features: Any, layer: Any, ending: Any, out: Any) -> None:
        rows, columns = layer.taps.size
        compute(features, layer.weight.reshape(-1, 1, columns, rows), layer, out, groups=features.shape[1])

    module = ModuleType("convolutions")
    module.__dict__.update(convolve=convolve, convolve_depthwise=convolve_depthwise)
    monkeypatch.setitem(sys.modules, f"{OWN_KERNELS}.convolutions", module)
    return module


@given(FLOATS, FLOATS, FLOATS)
def test_a_multiply_add_is_rounded_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    found = fused_multiply_add(a, b, c)
    spacing = [Fraction(float(np.nextafter(found, np.float32(way)))) for way in (-np.inf, np.inf)]
    assert all(abs(exact - Fraction(float(found))) <= abs(exact - neighbour) for neighbour in spacing)


@pytest.mark.parametrize("shape", [DENSE, DEPTHWISE], ids=str)
def test_sums_in_order_are_recognised_and_others_are_not(
    own_kernels: ModuleType, shape: LayerShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.inference_mode():
        found, expected = kernel_sums(shape, 2, CPU)
        assert found.shape == (min(3, 2 * shape.crops), shape.outputs, 12)
        np.testing.assert_array_equal(found, expected)

        def add_up_in_double(features: Any, layer: Any, ending: Any, out: Any) -> None:
            rows, columns = shape.window
            groups = shape.channels if shape.is_depthwise else 1
            if shape.is_depthwise:
                weight = layer.weight.reshape(-1, 1, columns, rows).transpose(2, 3)
            else:
                weight = layer.weight.reshape(rows, columns, shape.channels, -1).permute(3, 2, 0, 1)
            taps = layer.taps
            out.copy_(
                torch.nn.functional.conv2d(
                    features.double(), weight.double(), layer.bias.double(), taps.stride, taps.padding, 1, groups
                )
            )

        for name in ("convolve", "convolve_depthwise"):
            monkeypatch.setattr(own_kernels, name, add_up_in_double)
        found, expected = kernel_sums(shape, 2, CPU)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert 0.1 < (found == expected).mean() < 1


def test_torch_adds_up_in_order_on_a_cpu() -> None:
    with torch.inference_mode():
        found, expected = library_sums(DENSE, 3, CPU)
    assert found.shape == (3, 6, 12)
    np.testing.assert_array_equal(found, expected)
    assert library_sums(DEPTHWISE, 3, CPU)[0].size == 0


def make_task(cases: Any = CASES[:1]) -> GpuTask:
    frames = GpuFrames((), ())
    return GpuTask(ensure_installed(), frames, CPU, 1, 0.0, ("exact",), (1,), cases)


def test_shapes_are_those_of_all_networks_that_run() -> None:
    static, attention = (set(gpu_probe.layer_shapes(make_task(cases))) for cases in (CASES[:1], (CASES[2],)))
    assert any(shape.channels == 3 and shape.outputs == 16 and shape.window == (3, 3) for shape in static)
    assert attention - static
    for shape in static:
        for length, made, window, stride, padding, dilation in zip(
            shape.cells, shape.output_cells, shape.window, shape.stride, shape.padding, shape.dilation, strict=True
        ):
            assert made == (length + 2 * padding - dilation * (window - 1) - 1) // stride + 1
    # Of hands there are two crops in a frame.
    assert {shape.crops for shape in static} == {1, 2}


def test_the_report_counts_shapes_in_order_and_names_the_others(
    own_kernels: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_probe, "layer_shapes", lambda task: [DENSE, DEPTHWISE])
    monkeypatch.setattr(gpu_probe, "_objection_to_own", lambda device: "")

    def swap(features: Any, layer: Any, ending: Any, out: Any) -> None:
        out.fill_(0)

    monkeypatch.setattr(own_kernels, "convolve", swap)
    record = Record(tmp_path, deadline=float("inf"))
    gpu_probe.run(make_task(), record)
    tables = {chapter.title: chapter.table.rows for chapter in record.results.chapters}
    assert tables["Order of sums"] == [
        ("torch's products", "1", "1", "1", "100.0%"),
        ("kernels of this package", "1", "2", "1", "0.0%"),
    ]
    assert tables["Sums out of order"] == [
        ("kernels of this package", "1", "dense 3x2, 5 to 6 channels, 3x4 cells", "0.0%")
    ]
    assert [row[2] for row in tables["Quotients"]] == ["100.0%"] * 3


def test_kernels_that_are_missing_are_a_reason_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{OWN_KERNELS}.convolutions", None)
    assert "halted" in gpu_probe._objection_to_own(torch.device("cuda"))
    assert gpu_probe._objection_to_own(CPU) == "they are for CUDA devices, not for cpu"
