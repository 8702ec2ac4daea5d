from __future__ import annotations

import contextlib

import pytest

from phoenix_ray.config import Precision
from phoenix_ray.errors import ModelError

torch = pytest.importorskip("torch")


from phoenix_ray.models.holistic.torch_engine import device  # noqa: E402


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


@pytest.mark.parametrize(("precision", "allow_tf32"), [("exact", False), ("tf32", True), ("fp16", False)])
def test_products_are_whole_and_algorithms_fixed_within_and_as_before_after(
    precision: Precision, allow_tf32: bool
) -> None:
    before = flags()
    with contextlib.suppress(KeyError), device.numerics(precision):
        assert flags() == (allow_tf32, False, True, allow_tf32, True, True, False)
        raise KeyError
    assert flags() == before


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
