from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from phoenix_ray.errors import DeviceLostError, ModelError
from phoenix_ray.setting_types import Precision

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.torch_engine import device  # noqa: E402 - needs torch


def flags() -> tuple[bool, ...]:
    return (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def precisions() -> tuple[str, ...]:
    return (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cudnn.rnn.fp32_precision,
    )


@pytest.mark.parametrize(("precision", "allow_tf32"), [("exact", False), ("tf32", True), ("fp16", False)])
def test_products_are_whole_and_algorithms_fixed_within_and_as_before_after(
    precision: Precision, allow_tf32: bool
) -> None:
    before = flags()
    with contextlib.suppress(KeyError), device.numerics(precision):
        assert flags() == (allow_tf32, False, True, allow_tf32, True, True, False)
        assert set(precisions()) == {"tf32" if allow_tf32 else "ieee"}
        raise KeyError
    assert flags() == before


@pytest.fixture
def _switches_put_back() -> Iterator[None]:
    names = precisions()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    for switch, name in zip(switches, names, strict=True):
        switch.fp32_precision = name


@pytest.mark.usefixtures("_switches_put_back")
@pytest.mark.parametrize("precision", ["exact", "tf32"])
def test_a_process_that_has_used_the_newer_switches_gets_whole_products_and_its_own_back(precision: Precision) -> None:
    """A look at an older switch raises "mix of the legacy and new APIs" after that."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        flags()
    before = precisions()
    with device.numerics(precision):
        assert set(precisions()) == {"tf32" if precision == "tf32" else "ieee"}
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert precisions() == before


def test_auto_takes_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert device.choose_device("auto").type == expected
    assert device.choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_a_missing_device_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None if visible is None else "13.0")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    reason = "a build without CUDA" if visible is None else "CUDA_VISIBLE_DEVICES hides all"
    with pytest.raises(ModelError, match=rf"model.device=cuda: .*{reason}.*model.device=cpu"):
        device.choose_device("cuda")
    with pytest.raises(ModelError, match=r"model.device=mps: .*model.device=cpu"):
        device.choose_device("mps")


@pytest.mark.parametrize(
    "environment",
    [
        {"NVIDIA_TF32_OVERRIDE": "1"},
        {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
        {"TORCH_BLAS_PREFER_CUBLASLT": "1", "CUBLAS_EMULATE_SINGLE_PRECISION": "1"},
    ],
)
def test_variables_that_change_products_are_refused_in_exact_and_reported_elsewhere(
    environment: dict[str, str],
) -> None:
    with pytest.raises(ModelError) as caught:
        device.misleading_environment("exact", environment)
    lines = device.misleading_environment("fp16", environment)
    assert len(lines) == len(environment)
    for name in environment:
        assert f"{name}=1: " in str(caught.value)
        assert any(line.startswith(f"{name}=1: ") for line in lines)
    assert f"`unset {' '.join(environment)}` before Ray starts" in str(caught.value)


@pytest.mark.parametrize("value", ["0", ""])
def test_variables_that_are_switched_off_harm_nothing(value: str) -> None:
    environment = dict.fromkeys(device.MISLEADING_VARIABLES, value)
    assert device.misleading_environment("exact", environment) == ()
    assert device.misleading_environment("fp16", environment) == ()


def test_tf32_that_is_forbidden_from_outside_is_reported_where_it_is_asked_for() -> None:
    (line,) = device.misleading_environment("tf32", {"NVIDIA_TF32_OVERRIDE": "0"})
    assert "do not use TF32, though model.precision=tf32 asks for it" in line


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
]
LOST = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    torch.AcceleratorError("CUDA error: unknown error"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
]
OTHERS = [
    RuntimeError("shape '[3]' is invalid for input of size 2"),
    ValueError("out of memory, says something else"),
    RuntimeError("out of resource: shared memory, Required: 300000, Hardware limit: 232448."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_whatever_a_library_says_of_too_little_memory_halves_a_batch(error: Exception) -> None:
    assert device.is_out_of_memory(error)
    with pytest.raises(type(error)) as caught, device.device_errors():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", LOST, ids=str)
def test_errors_after_which_nothing_computes_cost_the_process(error: Exception) -> None:
    assert not device.is_out_of_memory(error)
    message = r"cannot use its GPU any more .*a run replaces the worker"
    with pytest.raises(DeviceLostError, match=message) as caught, device.device_errors():
        raise error
    assert "Compile with" not in str(caught.value)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_are_the_frames(error: Exception) -> None:
    assert not device.is_out_of_memory(error)
    with pytest.raises(type(error)) as caught, device.device_errors():
        raise error
    assert caught.value is error
