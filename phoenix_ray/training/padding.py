"""Videos of unequal length as one batch of tensors, with lengths and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks, image_parts


@dataclass(frozen=True, slots=True)
class Batch:
    """Some videos, padded to the longest of them.

    Attributes:
        keys: Split and video ID of each.
        points: float32 (videos, frames, points, axes); 0 where a point was not found and after the end.
        found: bool (videos, frames, points): where `points` holds a landmark.
        scores: float32 (videos, frames, parts): presence scores in the order of the parts, 0 where the network did not
            run and after the end.
        lengths: int64 (videos,): frames of each.
        annotations: `gloss`, `translation`, `signer` and others of each.
    """

    keys: tuple[tuple[str, str], ...]
    points: torch.Tensor
    found: torch.Tensor
    scores: torch.Tensor
    lengths: torch.Tensor
    annotations: tuple[Mapping[str, str], ...]

    def inside(self) -> torch.Tensor:
        """Return a bool tensor (videos, frames): true up to the end of each video. Attention masks often want `~`."""
        frames = torch.arange(self.points.shape[1], device=self.lengths.device)
        return frames[None, :] < self.lengths[:, None]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return replace(
            self,
            points=self.points.to(device, non_blocking=non_blocking),
            found=self.found.to(device, non_blocking=non_blocking),
            scores=self.scores.to(device, non_blocking=non_blocking),
            lengths=self.lengths.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; what a loader with `pin_memory=True` calls."""
        return replace(
            self,
            points=self.points.pin_memory(),
            found=self.found.pin_memory(),
            scores=self.scores.pin_memory(),
            lengths=self.lengths.pin_memory(),
        )


def pad(
    videos: Sequence[VideoLandmarks], parts: Sequence[str] | None = None, axes: Sequence[str] = IMAGE_AXES
) -> Batch:
    """Return videos as one batch; the `collate_fn` of a loader, with other arguments through `functools.partial`.

    Args:
        videos: At least one, all of one layout.
        parts: Names of the parts in the order of their points; None takes all that are relative to the image: pose,
            left hand, right hand, face (543 points of Holistic).
        axes: Which axes.

    Raises:
        KeyError: The layout has no such part.
        ValueError: A part has no such axis.
    """
    names = list(parts) if parts is not None else list(image_parts(videos[0].layout))
    lengths = [len(video) for video in videos]
    count = sum(len(videos[0].layout.part(name).points) for name in names)
    points = np.zeros((len(videos), max(lengths), count, len(axes)), np.float32)
    found = np.zeros(points.shape[:3], bool)
    scored = [name for name in names if videos[0].layout.part(name).scored]
    scores = np.zeros((*points.shape[:2], len(scored)), np.float32)
    for row, (video, length) in enumerate(zip(videos, lengths, strict=True)):
        values = video.array(names, axes)
        found[row, :length] = ~np.isnan(values[:, :, 0])
        np.copyto(points[row, :length], values, where=~np.isnan(values))
        for column, name in enumerate(scored):
            scores[row, :length, column] = np.nan_to_num(video.scores[name])
    return Batch(
        tuple((video.split, video.video_id) for video in videos),
        torch.from_numpy(points),
        torch.from_numpy(found),
        torch.from_numpy(scores),
        torch.tensor(lengths, dtype=torch.int64),
        tuple(video.annotation for video in videos),
    )
