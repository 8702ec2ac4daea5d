"""Videos of different lengths in one array: `collate_fn` of a torch `DataLoader`, after `torch_batch` below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError
from phoenix_ray.prepare.prepared import Prepared


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Several videos, padded at the end to the longest.

    Attributes:
        points: float32 or float16 (videos, frames, points, axes): 0 where padded or missing.
        mask: bool (videos, frames, points): where a point has a value.
        lengths: int64 (videos,): frames of each.
        keys: (split, video ID) of each.
        annotations: Text of each.
    """

    points: NDArray[np.floating[Any]]
    mask: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    keys: tuple[tuple[str, str], ...]
    annotations: tuple[dict[str, str], ...]

    def split(self) -> list[NDArray[np.floating[Any]]]:
        """Return the points of each video without padding, NaN where missing: the inverse of `collate`."""
        return [
            np.where(mask[:length, :, np.newaxis], points[:length], np.nan).astype(points.dtype)
            for points, mask, length in zip(self.points, self.mask, self.lengths, strict=True)
        ]


def collate(videos: Sequence[Prepared], dtype: Literal["float32", "float16"] = "float32") -> PreparedBatch:
    """Return videos with the same points and axes as one batch.

    Raises:
        ValueError: There is no video, or two have other points or axes.
    """
    if not videos:
        raise ValueError("There is no video to collate.")
    if len({(video.chosen, video.axes) for video in videos}) > 1:
        raise ValueError("Videos of a batch must have the same points and axes.")
    lengths = np.array([len(video) for video in videos], np.int64)
    shape = (len(videos), int(lengths.max()), *videos[0].points.shape[1:])
    points, mask = np.zeros(shape, dtype), np.zeros(shape[:3], dtype=bool)
    for row, video in enumerate(videos):
        points[row, : len(video)] = np.nan_to_num(video.points)
        mask[row, : len(video)] = video.mask
    return PreparedBatch(
        points,
        mask,
        lengths,
        tuple((video.split, video.video_id) for video in videos),
        tuple(dict(video.annotation) for video in videos),
    )


def torch_batch(videos: Sequence[Prepared]) -> dict[str, Any]:
    """Return `collate`'s arrays as tensors: `points`, `mask`, `lengths`; and `keys`, `annotations` as they are.

    Raises:
        MissingExtraError: torch is not installed.
        ValueError: As `collate`.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("Batches of tensors", "torch") from None
    batch = collate(videos)
    return {
        "points": torch.from_numpy(batch.points),
        "mask": torch.from_numpy(batch.mask),
        "lengths": torch.from_numpy(batch.lengths),
        "keys": batch.keys,
        "annotations": batch.annotations,
    }
