"""How many frames go through the torch engine at once: known to the driver, which need not have torch.

`engines` plans with it, `torch_engine` keeps to it. It may depend on settings only, never on the machine: landmarks
depend on it in their last digits, and all workers of a run must agree.
"""

from __future__ import annotations

from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import frames_per_call

# A PHOENIX video has 116 frames on average, so most go through in one batch: the 3,200 operations of a batch take as
# long to launch as dozens of frames to compute. With frames of 210x260 the tensors of such a batch take 2 GB.
GPU_BATCH_SIZE = 128
# On a CPU more frames at once are no faster, only larger.
CPU_BATCH_SIZE = 8
# Batches that are not full come in this many sizes: kernels are chosen anew for each, which takes a GPU seconds.
SIZES_OF_BATCHES = 16


def batch_size(settings: ModelSettings) -> int:
    """Return the frames per call."""
    return frames_per_call(settings, CPU_BATCH_SIZE if settings.device == "cpu" else GPU_BATCH_SIZE)


def padded_count(count: int, size: int) -> int:
    """Return the frames that are computed for `count` frames, in batches of up to `size`: some for nothing."""
    step = max(1, size // SIZES_OF_BATCHES)
    return -(-count // step) * step
