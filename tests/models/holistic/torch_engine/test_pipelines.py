from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic import elementary
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert, HolisticLitertTracking
from phoenix_ray.models.holistic.tracking import Memory
from phoenix_ray.setting_types import Precision
from tests.golden.astronaut import LEFT_HAND, View, render

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton", reason="kernels need Triton, which exists for Linux alone")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402 - needs torch
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch, HolisticTorchTracking  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.kernels.launching import recording  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.pipelines import OperatorPipeline, make_pipeline  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames  # noqa: E402
from tests.models.holistic.torch_engine.kernels.exact_interpreter import make_exact  # noqa: E402
from tests.models.holistic.torch_engine.kernels.large_tiles import in_large_tiles, takes_minutes  # noqa: E402

Image = NDArray[np.uint8]
CPU = torch.device("cpu")
COLUMNS = sum(len(part.points) * len(part.axes) + part.scored for part in layouts.holistic(468).parts)
SUMS_ARE_THOSE_OF_LITERT = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
# What a batch may launch, and how much it may read and write (issue 18).
MOST_LAUNCHES, MOST_BYTES = 400, 300e6
# Operators that set memory aside or look at it in another shape; they launch nothing.
NO_LAUNCH = {
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_like",
    "flatten",
    "permute",
    "prim",
    "reshape",
    "select",
    "slice",
} | {
    "split",
    "squeeze",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
}


def in_interpreter(**changes: Any) -> ModelSettings:
    return ModelSettings(engine="torch", device="cpu", kernels="triton", **changes)


class Operators(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Counts torch's operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, name = str(operator).split(".")[:2]
        self.names["prim" if namespace == "prim" else name] += 1
        return operator(*args, **(kwargs or {}))


@pytest.fixture
def _own_tables() -> Iterator[None]:
    """Tables of fake tensors must not be found by other tests."""
    elementary.powers_of_two.cache_clear()
    yield
    elementary.powers_of_two.cache_clear()


@pytest.mark.usefixtures("_own_tables")
@pytest.mark.parametrize("step", ["static", "with the detector", "without the detector"])
@pytest.mark.parametrize("precision", ["exact", "fp16"])
def test_a_whole_batch_is_a_few_hundred_launches_of_ours_and_no_other_operator(
    weights: Path, precision: Precision, step: str
) -> None:
    frames, state_size = 128, Memory.numbers(468)
    with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True):
        pipeline = make_pipeline(in_interpreter(precision=precision), weights, CPU, CPU)
        pixels = torch.empty(frames * 210 * 260 * 3, dtype=torch.uint8)
        some = DeviceFrames(pixels, torch.empty((3, frames), dtype=torch.int64))
        states = torch.empty((frames, state_size))

        def compute() -> Any:
            if step == "static":
                return pipeline.estimate(some)
            return pipeline.track(some, states, smooth=True, detect=step == "with the detector")

        compute()  # Brings constants, once.
        with recording() as launches, Operators() as operators:
            rows = compute()
    assert rows.shape == (frames, COLUMNS + (0 if step == "static" else state_size))
    assert operators.names.keys() <= NO_LAUNCH
    assert len(launches) <= MOST_LAUNCHES
    assert sum(launch.bytes_moved for launch in launches) <= MOST_BYTES * frames


@pytest.fixture
def _exactly_interpreted() -> Iterator[None]:
    """Kernels in the interpreter, with the roundings of a GPU and in tiles larger than a GPU's."""
    make_exact()
    with in_large_tiles(), np.errstate(all="ignore"):
        yield


def frame_of(astronaut: Image, step: int = 0) -> Image:
    return render(astronaut, View(230 + 3 * step, 160 + 2 * step, 300, width=150, height=140))


@takes_minutes
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SUMS_ARE_THOSE_OF_LITERT, reason="LiteRT adds up in another order on this processor")
@pytest.mark.usefixtures("_exactly_interpreted")
def test_a_frame_through_all_kernels_has_the_landmarks_of_the_cpu_engine_bit_for_bit(
    weights: Path, astronaut: Image
) -> None:
    frame = render(astronaut, LEFT_HAND[2])
    expected = HolisticLitert(ModelSettings(), weights).estimate([frame])
    found = HolisticTorch(in_interpreter(batch_size=1), weights).estimate([frame])
    assert found.present("face").all()
    assert found.present("left_hand").all()
    assert_same_bits(found, expected)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SUMS_ARE_THOSE_OF_LITERT, reason="LiteRT adds up in another order on this processor")
@pytest.mark.usefixtures("_exactly_interpreted")
def test_a_pose_that_kernels_follow_and_its_state_are_those_of_the_cpu_engine_bit_for_bit(
    all_weights: Path, astronaut: Image
) -> None:
    tracked: dict[str, Any] = {"name": "blazepose", "complexity": 0, "mode": "tracking"}
    cpu_engine = HolisticLitertTracking(ModelSettings(**tracked), all_weights)
    unknown = np.full((1, cpu_engine.state_size), np.nan, np.float32)
    _, state = cpu_engine.track([frame_of(astronaut)], unknown)
    expected, after = cpu_engine.track([frame_of(astronaut, 1)], state)
    model = HolisticTorchTracking(in_interpreter(**tracked, batch_size=1), all_weights)
    found, state = model.track([frame_of(astronaut, 1)], state)
    assert found.present("pose").all()
    assert_same_bits(found, expected)
    np.testing.assert_array_equal(state, after)


def assert_same_bits(some: LandmarkBatch, others: LandmarkBatch) -> None:
    for name, points in others.points.items():
        np.testing.assert_array_equal(some.points[name], points, err_msg=name)
    for name, scores in others.scores.items():
        np.testing.assert_array_equal(some.scores[name], scores, err_msg=name)


def test_torchs_operators_compute_unless_kernels_are_asked_for(weights: Path) -> None:
    for kernels in ("auto", "torch"):
        settings = ModelSettings.model_validate({"engine": "torch", "device": "cpu", "kernels": kernels})
        assert isinstance(make_pipeline(settings, weights, CPU, CPU), OperatorPipeline)
    assert not isinstance(make_pipeline(in_interpreter(), weights, CPU, CPU), OperatorPipeline)


def test_without_the_interpreter_triton_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ConfigError, match=r"model\.kernels=triton is for CUDA devices, but model\.device is cpu"):
        make_pipeline(in_interpreter(), weights, CPU, CPU)


def test_more_frames_at_once_than_kernels_count_are_refused(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.batch_size=5000: our kernels take at most 4096 frames at once"):
        make_pipeline(in_interpreter(batch_size=5000), weights, CPU, CPU)


def test_triton_that_is_missing_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *others: None if name == "triton" else real(name, *others)
    )
    settings = ModelSettings(engine="torch", device="cuda")
    device = torch.device("cuda", 0)
    with pytest.raises(ModelError, match=r"model\.kernels=auto needs Triton.*model\.kernels=torch computes without it"):
        make_pipeline(settings, weights, device, device)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable"),
        PermissionError(13, "Permission denied", "/nobody/.triton"),
    ],
)
def test_what_triton_lacks_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, weights: Path, error: Exception
) -> None:
    class Driver:
        def get_current_target(self) -> None:
            raise error

    active = triton.runtime.driver
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(type(active), "active", property(lambda _: Driver()))
    device = torch.device("cuda", 0)
    with pytest.raises(ModelError) as raised:
        make_pipeline(ModelSettings(engine="torch", device="cuda"), weights, device, device)
    assert str(error) in str(raised.value)
    assert all(way in str(raised.value) for way in ("CC", "python3-dev", "TRITON_CACHE_DIR", "model.kernels=torch"))


def test_the_interpreter_is_refused_on_a_gpu(weights: Path) -> None:
    device = torch.device("cuda", 0)
    with pytest.raises(ModelError, match=r"`unset TRITON_INTERPRET` before Ray starts"):
        make_pipeline(ModelSettings(engine="torch", device="cuda"), weights, device, device)
