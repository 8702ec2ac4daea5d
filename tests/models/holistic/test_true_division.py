"""No tensor is divided by a number: on CUDA that is a multiplication by the reciprocal, which moves the last bit.

The whole batch goes through the pipeline on torch's device `meta`, which computes shapes alone and keeps devices apart
as CUDA does: a number that became a tensor on the CPU is seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - needs torch

from phoenix_ray.models.holistic.arrays import divide  # noqa: E402
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS  # noqa: E402
from phoenix_ray.models.holistic.pipeline import HolisticPipeline  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.crops import DeviceCropper  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks  # noqa: E402

META = torch.device("meta")
DIVISIONS = ("aten.div.", "aten.div_.", "aten.true_divide", "aten.floor_divide")
FRAMES, HEIGHT, WIDTH = 3, 260, 210


class RefuseDivisionByNumber(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Fails on a division that CUDA turns into a multiplication; counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.divisions = 0

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if str(operator).startswith(DIVISIONS):
            self.divisions += 1
            dividend, divisor = arguments[:2]
            assert isinstance(divisor, torch.Tensor), f"{operator} by the number {divisor}"
            assert divisor.device == dividend.device, f"{operator} by a number on device {divisor.device}"
        return operator(*arguments, **(options or {}))


@pytest.mark.parametrize("face_points", [468, 478])
def test_nothing_in_the_pipeline_is_divided_by_a_number(weights: Path, face_points: int) -> None:
    pixels = torch.empty((FRAMES * HEIGHT * WIDTH, 3), dtype=torch.uint8, device=META)
    images = DeviceCropper(pixels, torch.empty((3, FRAMES), dtype=torch.int64, device=META))
    pipeline = HolisticPipeline(
        networks=TorchNetworks(weights, face_points, META, "exact"),
        pose_anchors=torch.from_numpy(POSE_ANCHORS).to(META),
        face_anchors=torch.from_numpy(FACE_ANCHORS).to(META),
        heatmap_kernel=9,
        min_detection_confidence=0.5,
        min_tracking_confidence=0.5,
    )
    with torch.inference_mode(), RefuseDivisionByNumber() as mode:
        found = pipeline.estimate(images)
    assert found.face.points.shape == (FRAMES, face_points, 3)
    assert mode.divisions > 50


@pytest.mark.parametrize("divisor", [3, torch.tensor(3.0)], ids=["a number", "a tensor on the CPU"])
def test_the_check_sees_what_cuda_multiplies(divisor: Any) -> None:
    values = torch.ones(3, device=META)
    with RefuseDivisionByNumber(), pytest.raises(AssertionError, match=r"by (the|a) number"):
        values / divisor


def test_divide_passes_the_check() -> None:
    with RefuseDivisionByNumber() as mode:
        divide(torch.ones(3, device=META), 3)
    assert mode.divisions == 1
