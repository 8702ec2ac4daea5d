"""Each network in torch against LiteRT, on crops of a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.litert_engine.engine import WarpCropper
from phoenix_ray.models.holistic.litert_engine.networks import LitertNetworks
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    POSE_LANDMARKS,
    NetworkSpec,
)
from phoenix_ray.setting_types import Precision
from tests.models.holistic.floats import float32

torch = pytest.importorskip("torch")

from torch import fx, nn  # noqa: E402 - needs torch
from torch.nn import functional  # noqa: E402

from phoenix_ray.models.holistic.torch_engine.graph import build_module  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.layers import by_library  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks, to_half_precision  # noqa: E402

Crops = NDArray[np.uint8]
CPU = torch.device("cpu")
BATCH_SIZES = (1, 3)
# Sums are LiteRT's on x86-64 with AVX2 or AVX-512; elsewhere tolerances hold.
SUMS_ARE_THOSE_OF_LITERT = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@dataclass(frozen=True)
class Case:
    """A network, and how far its outputs may be from LiteRT's: the largest error as a share of their range."""

    name: str
    expects: NetworkSpec
    tolerance: float
    face_points: int = 468

    def __str__(self) -> str:
        return self.expects.file.removesuffix(".tflite")


CASES = (
    Case("pose_detection", POSE_DETECTION, 3e-6),
    Case("pose_landmark", POSE_LANDMARK, 3e-5),
    Case("hand_recrop", HAND_RECROP, 2e-6),
    Case("hand_landmark", HAND_LANDMARK, 3e-6),
    Case("face_detection", FACE_DETECTION, 3e-6),
    Case("face_landmark", FACE_LANDMARK[468], 3e-6),
    Case("face_landmark", FACE_LANDMARK[478], 1e-5, face_points=478),
)


@pytest.fixture(scope="module")
def crops(astronaut: Crops) -> Callable[[NetworkSpec, int], Crops]:
    """Crops of face, body and hands from whole to near."""

    def make(expects: NetworkSpec, count: int) -> Crops:
        step = np.arange(count, dtype=np.float32)
        side = 150 + 400 * step / count
        roi = Rect(220 + step % 5, 130 + 60 * step / count, side, side, 0.1 * (step % 7) - 0.3)
        return WarpCropper([astronaut]).crop(np.zeros(count, np.int64), Rect(*map(float32, roi)), expects)

    return make


@pytest.fixture(scope="module")
def litert(weights: Path) -> dict[int, LitertNetworks]:
    return {face_points: LitertNetworks(weights, face_points, threads=1) for face_points in (468, 478)}


@pytest.fixture(scope="module")
def exact(weights: Path) -> dict[int, TorchNetworks]:
    return {face_points: TorchNetworks(weights, face_points, CPU, "exact") for face_points in (468, 478)}


def outputs(networks: Any, case: Case, crops: Any) -> list[NDArray[np.float32]]:
    with torch.inference_mode():
        result = getattr(networks, case.name)(crops)
    flat = [result] if not isinstance(result, tuple) else [*result]
    return [np.asarray(array) for part in flat for array in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_are_those_of_litert_at_every_batch_size(
    case: Case,
    crops: Callable[[NetworkSpec, int], Crops],
    litert: dict[int, LitertNetworks],
    exact: dict[int, TorchNetworks],
) -> None:
    images = crops(case.expects, max(BATCH_SIZES))
    expected = outputs(litert[case.face_points], case, images)
    for count in BATCH_SIZES:
        results = outputs(exact[case.face_points], case, torch.from_numpy(images[:count]))
        for result, reference in zip(results, expected, strict=True):
            assert result.dtype == np.float32
            assert result.shape == (count, *reference.shape[1:])
            if SUMS_ARE_THOSE_OF_LITERT:
                np.testing.assert_array_equal(result, reference[:count])
            # Single values have hardly a range of their own.
            extent = max(float(np.ptp(reference)), 1.0)
            assert np.abs(result - reference[:count]).max() <= case.tolerance * extent


@pytest.mark.parametrize("precision", ["exact", "tf32", "fp16"])
def test_a_library_adds_up_all_channels_of_the_file_dead_ones_included(weights: Path, precision: Precision) -> None:
    whole = build_module(tflite.read((weights / HAND_LANDMARK.file).read_bytes(), HAND_LANDMARK.outputs), by_library)
    expected = sum(layer.weight.numel() for layer in whole.modules() if isinstance(layer, nn.Conv2d))
    own: Any = TorchNetworks(weights, 468, CPU, precision)._hand_landmark
    numbers = [
        *own._module.parameters(),
        *(buffer for name, buffer in own._module.named_buffers() if name.endswith("factors")),
    ]
    assert sum(tensor.numel() for tensor in numbers) >= expected


@pytest.mark.parametrize("complexity", [0, 2])
def test_lite_and_heavy_are_those_of_litert(
    complexity: int, all_weights: Path, crops: Callable[[NetworkSpec, int], Crops]
) -> None:
    case = Case("pose_landmark", POSE_LANDMARKS[complexity], 3e-5)
    images = crops(case.expects, 3)
    expected = outputs(LitertNetworks(all_weights, 0, 1, complexity), case, images)
    exact = TorchNetworks(all_weights, 0, CPU, "exact", complexity=complexity)
    for result, reference in zip(outputs(exact, case, torch.from_numpy(images)), expected, strict=True):
        if SUMS_ARE_THOSE_OF_LITERT:
            np.testing.assert_array_equal(result, reference)
        assert np.abs(result - reference).max() <= case.tolerance * max(float(np.ptp(reference)), 1.0)


@pytest.mark.parametrize("case", [CASES[2], CASES[4]], ids=str)
def test_a_batch_of_64_is_no_different(
    case: Case,
    crops: Callable[[NetworkSpec, int], Crops],
    litert: dict[int, LitertNetworks],
    exact: dict[int, TorchNetworks],
) -> None:
    images = crops(case.expects, 64)
    expected = outputs(litert[468], case, images)
    for result, reference in zip(outputs(exact[468], case, torch.from_numpy(images)), expected, strict=True):
        if SUMS_ARE_THOSE_OF_LITERT:
            np.testing.assert_array_equal(result, reference)
        assert np.abs(result - reference).max() <= case.tolerance * np.ptp(reference)


def test_sums_in_any_order_are_near(
    weights: Path, crops: Callable[[NetworkSpec, int], Crops], exact: dict[int, TorchNetworks]
) -> None:
    case = CASES[4]
    images = torch.from_numpy(crops(case.expects, 2))
    by_libraries = TorchNetworks(weights, 468, CPU, "exact", by_library)
    for result, reference in zip(outputs(by_libraries, case, images), outputs(exact[468], case, images), strict=True):
        assert np.abs(result - reference).max() <= case.tolerance * np.ptp(reference)


@pytest.mark.parametrize("case", CASES[4:], ids=str)
def test_half_precision_is_near_and_gives_single_precision(
    case: Case, weights: Path, crops: Callable[[NetworkSpec, int], Crops], exact: dict[int, TorchNetworks]
) -> None:
    images = torch.from_numpy(crops(case.expects, 1))
    expected = outputs(exact[case.face_points], case, images)
    results = outputs(TorchNetworks(weights, case.face_points, CPU, "fp16"), case, images)
    differences = [np.abs(result - reference).max() for result, reference in zip(results, expected, strict=True)]
    assert max(differences) > 0
    for result, reference, difference in zip(results, expected, differences, strict=True):
        assert result.dtype == np.float32
        assert difference <= 0.01 * max(float(np.ptp(reference)), float(np.abs(reference).max()), 1.0)


def test_missing_and_damaged_weights_are_named_with_the_way_out(weights: Path, tmp_path: Path) -> None:
    for file in weights.glob("*.tflite"):
        (tmp_path / file.name).symlink_to(file)
    damaged = tmp_path / HAND_RECROP.file
    whole = damaged.read_bytes()
    damaged.unlink()
    with pytest.raises(ModelError, match=rf"{HAND_RECROP.file} cannot be read.*phoenix-ray models install"):
        TorchNetworks(tmp_path, 468, CPU, "exact")
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=rf"{HAND_RECROP.file} is damaged.*phoenix-ray models install"):
        TorchNetworks(tmp_path, 468, CPU, "exact")


def test_an_operator_that_is_not_known_is_named_with_its_file(weights: Path, tmp_path: Path) -> None:
    for file in weights.glob("*.tflite"):
        (tmp_path / file.name).symlink_to(file)
    changed = tmp_path / FACE_LANDMARK[478].file
    whole = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(whole.replace(b"TransformLandmarks", b"TransformSomething"))
    with pytest.raises(ModelError, match=rf"{FACE_LANDMARK[478].file}.*operator TransformSomething is not known"):
        TorchNetworks(tmp_path, 478, CPU, "exact")


def test_half_precision_spares_the_layers_that_give_outputs() -> None:
    layers = nn.ModuleDict({"first": nn.Conv2d(1, 2, 1), "second": nn.Conv2d(2, 2, 1), "last": nn.Conv2d(2, 1, 1)})
    graph = fx.Graph()
    images = graph.placeholder("images")
    features = graph.call_module("second", (graph.call_module("first", (images,)),))
    graph.output([graph.call_function(functional.relu, (graph.call_module("last", (features,)),)), features])
    module = to_half_precision(fx.GraphModule(layers, graph))
    kept = {name: layer.weight.dtype for name, layer in module.named_children()}
    assert kept == {"first": torch.float16, "second": torch.float32, "last": torch.float32}
    assert [output.dtype for output in module(torch.ones(1, 1, 2, 2, dtype=torch.float16))] == [torch.float32] * 2
