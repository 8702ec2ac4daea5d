"""The pipeline of a batch, from frames on a device to rows of numbers there: in our kernels, or torch's operators."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import torch

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.holistic.batching import batch_size
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.kernel_choice import INTERPRETER_VARIABLE, is_interpreted, kernels_of
from phoenix_ray.models.holistic.networks import face_points_of, layout_of
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.crops import DeviceCropper
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from phoenix_ray.models.holistic.tracking import Memory

# Kernels count the places of a feature map of all frames in 32 bits; the largest map has 2^18 a frame.
MOST_FRAMES = 4096


class BatchPipeline(Protocol):
    """Computes batches on a device without a look at a value: what it launches depends on shapes alone.

    A row holds all points part by part, then the score of each scored part.
    """

    def estimate(self, frames: DeviceFrames) -> torch.Tensor:
        """Return the rows of N frames: float32 (N, columns)."""

    def track(self, frames: DeviceFrames, states: torch.Tensor, *, smooth: bool, detect: bool) -> torch.Tensor:
        """Return the rows of the next frame of N videos, each followed by the video's state after it.

        Args:
            frames: The frames.
            states: float32 (N, state_size): the states before them, in the order of `tracking.Memory.rows`.
            smooth: Whether to smooth the pose.
            detect: Whether any video has no body ROI; without such videos the detector need not run.

        Returns:
            float32 (N, columns + state_size).
        """


class OperatorPipeline:
    """The pipeline in torch's own operators; a `BatchPipeline`.

    Args:
        settings: What to compute, and how.
        weights: Folder of the `.tflite` files.
        network_device: Where the networks compute.
        device: Where all else is computed, and where frames and rows lie.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(
        self, settings: ModelSettings, weights: Path, network_device: torch.device, device: torch.device
    ) -> None:
        self._layout = layout_of(settings)
        self._face_points = face_points_of(settings)
        self._pipeline = HolisticPipeline(
            networks=TorchNetworks(
                weights, self._face_points, network_device, settings.precision, complexity=settings.complexity
            ),
            pose_anchors=torch.from_numpy(POSE_ANCHORS).to(device),
            face_anchors=torch.from_numpy(FACE_ANCHORS).to(device),
            heatmap_kernel=settings.heatmap_kernel,
            min_detection_confidence=settings.min_detection_confidence,
            min_tracking_confidence=settings.min_tracking_confidence,
        )

    def estimate(self, frames: DeviceFrames) -> torch.Tensor:
        """Return the rows of N frames: float32 (N, columns)."""
        return _join(self._pipeline.estimate(_cropper(frames)), self._layout)

    def track(self, frames: DeviceFrames, states: torch.Tensor, *, smooth: bool, detect: bool) -> torch.Tensor:
        """Return the rows and states of N videos: float32 (N, columns + state_size)."""
        memory = Memory.from_rows(states, self._face_points)
        found, memory = self._pipeline.track(_cropper(frames), memory, smooth=smooth, detect=detect)
        return torch.cat([_join(found, self._layout), memory.rows()], dim=1)


def make_pipeline(
    settings: ModelSettings, weights: Path, network_device: torch.device, device: torch.device
) -> BatchPipeline:
    """Return the pipeline that `model.kernels` asks for; arguments are those of `OperatorPipeline`.

    Raises:
        ModelError: A file of weights is missing or damaged, or Triton is, or what Triton needs.
        ConfigError: The kernels do not compute on this device, or not so many frames at once.
    """
    if kernels_of(settings, network_device.type) == "torch":
        return OperatorPipeline(settings, weights, network_device, device)
    if batch_size(settings) > MOST_FRAMES:
        raise ConfigError(
            f"model.batch_size={batch_size(settings)}: our kernels take at most {MOST_FRAMES} frames at once. Set "
            "a smaller one."
        )
    if importlib.util.find_spec("triton") is None:
        raise ModelError(
            f"model.kernels={settings.kernels} needs Triton, which is not installed here. Torch's CUDA builds for "
            "Linux bring it: install torch again from https://download.pytorch.org/whl/, or `pip install triton`. "
            "model.kernels=torch computes without it, in other launches."
        )
    if device.type == "cuda" and is_interpreted():
        raise ModelError(
            f"{INTERPRETER_VARIABLE}=1 lets kernels run in Triton's interpreter, on the CPU and a thousand times "
            f"slower: take it out of the workers' environment (`unset {INTERPRETER_VARIABLE}` before Ray starts)."
        )
    if device.type == "cuda":
        _start_triton(settings)
    from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetworks
    from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline

    face_points, precision = face_points_of(settings), settings.precision
    return KernelPipeline(
        KernelNetworks(weights, face_points, device, precision, settings.complexity),
        device,
        heatmap_kernel=settings.heatmap_kernel,
        min_detection_confidence=settings.min_detection_confidence,
        min_tracking_confidence=settings.min_tracking_confidence,
        dtype=torch.float16 if precision == "fp16" else torch.float32,
    )


def _start_triton(settings: ModelSettings) -> None:
    """Let Triton build what starts its kernels, which takes a C compiler where its cache lacks it.

    Later it would fail in the first batch, and each frame with it.

    Raises:
        ModelError: Triton cannot start kernels here.
    """
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:  # whatever a compiler, a file system or a driver brings
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"model.kernels={settings.kernels}: Triton cannot start kernels here ({reason}). It needs a C compiler "
            "(gcc, clang, or the one that CC names), Python's C headers (python3-dev), and a folder that it can write "
            "to (TRITON_CACHE_DIR, by default ~/.triton/cache). model.kernels=torch computes without them, in other "
            "launches."
        ) from error


def _cropper(frames: DeviceFrames) -> DeviceCropper:
    return DeviceCropper(frames.pixels.reshape(-1, 3), frames.table)


def _join(found: HolisticLandmarks, layout: Layout) -> torch.Tensor:
    """Return all landmarks and scores in one tensor (N, columns)."""
    parts = [getattr(found, part.name) for part in layout.parts if part.scored]
    pose, *others = (part.points for part in parts)
    points, scores = [pose, found.world, *others], [part.score for part in parts]
    return torch.cat([*(values.flatten(1) for values in points), torch.stack(scores, dim=1)], dim=1)
