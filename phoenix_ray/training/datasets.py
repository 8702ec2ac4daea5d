"""A dataset of landmarks as torch's loaders want it: by index, or as a stream, and padded to batches (`pad`).

Both can be pickled, forked and spawned. With both an item is a `VideoLandmarks`, or what `transform` makes of it. The
share of an epoch that each rank and loader worker reads is pure arithmetic (`take_share`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.snapshot import describe_unreadable, unreadable_in
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, coordinate_axes, image_parts
from phoenix_ray.text import printable_line


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
    videos: Sequence[VideoLandmarks], parts: Sequence[str] | None = None, axes: Sequence[str] | None = None
) -> Batch:
    """Return videos as one batch; the `collate_fn` of a loader, with other arguments through `functools.partial`.

    Args:
        videos: At least one, all of one layout.
        parts: Names of the parts in the order of their points; None takes all that are relative to the image: pose,
            left hand, right hand, face (543 points of Holistic).
        axes: Which axes; None takes x, y and z, as far as all of these parts have them.

    Raises:
        KeyError: The layout has no such part.
        ValueError: A part has no such axis.
    """
    names = list(parts) if parts is not None else list(image_parts(videos[0].layout))
    lengths = [len(video) for video in videos]
    chosen = videos[0].layout.parts_named(names)
    count = sum(len(part.points) for part in chosen)
    axes = coordinate_axes(chosen) if axes is None else axes
    points = np.zeros((len(videos), max(lengths), count, len(axes)), np.float32)
    found = np.zeros(points.shape[:3], bool)
    scored = [part.name for part in chosen if part.scored]
    scores = np.zeros((*points.shape[:2], len(scored)), np.float32)
    for row, (video, length) in enumerate(zip(videos, lengths, strict=True)):
        values = video.array(names, axes)
        # A point that is missing alone keeps its confidence, so x says whether it was found.
        there = ~np.isnan(video.array(names, ("x",)))
        found[row, :length] = there[:, :, 0]
        np.copyto(points[row, :length], values, where=there & ~np.isnan(values))
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


@dataclass(frozen=True, slots=True)
class Place:
    """A rank or worker, counted from 0, among those that share the work."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"{self.index} is none of {self.count} ranks or workers, which count from 0")


def rank_from_environment(environment: Mapping[str, str] = os.environ) -> Place:
    """Return the rank that torchrun, Ray Train, Lightning and others give their processes; rank 0 of 1 by default."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Place(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    return Place()


def order_videos(videos: int, seed: int | None, epoch: int) -> NDArray[np.int64]:
    """Return the order of an epoch: as stored where there is no seed, else shuffled anew in each epoch."""
    if seed is None:
        return np.arange(videos)
    return np.random.default_rng((seed, epoch)).permutation(videos)


def take_share(order: NDArray[np.int64], rank: Place, worker: Place, equal_ranks: bool = False) -> NDArray[np.int64]:
    """Return the videos that a worker of a rank reads, in order.

    All workers of all ranks together read each video once. Shares lie together, so that neighbours on disk are read by
    one worker, and differ by one video at the most.

    Args:
        order: All videos, the same for all ranks.
        rank: The training process.
        worker: The loader worker in it.
        equal_ranks: Leave out the last videos, fewer than there are ranks, so that all ranks make the same batches.
    """
    if equal_ranks:
        order = order[: len(order) - len(order) % rank.count]
    for place in (rank, worker):
        begin, end = (len(order) * index // place.count for index in (place.index, place.index + 1))
        order = order[begin:end]
    return order


VideoTransform = Callable[[VideoLandmarks], Any]


def as_it_is(video: VideoLandmarks) -> VideoLandmarks:
    """Return the video: the transform where none is given."""
    return video


class LandmarkDataset:
    """The videos of a dataset by index, in the order of `dataset.keys()`; any sampler of torch works with it.

    Args:
        dataset: The videos, mostly of one split and with the parts that are needed: `open(path).select(…)`.
        transform: Makes an item of a video.
        max_unreadable: Largest share of a video's frames that could not be read. Videos that lack more are left out;
            None takes them all and warns of those that lack any.

    Raises:
        ValueError: `max_unreadable` is not a share from 0 to 1.
    """

    def __init__(
        self, dataset: Dataset, transform: VideoTransform = as_it_is, max_unreadable: float | None = None
    ) -> None:
        if max_unreadable is None:
            _warn_of_unreadable(dataset)
        else:
            dataset = dataset.select(max_unreadable=max_unreadable)
        self._dataset = dataset
        self._transform = transform
        self._keys = dataset.videos().select(["split", "video_id"])

    def __len__(self) -> int:
        """Return the number of videos."""
        return int(self._keys.num_rows)

    def __getitem__(self, index: int) -> Any:
        """Return a video.

        Raises:
            IndexError: There are fewer videos.
            OutputError: It cannot be read.
        """
        row = range(len(self))[index]
        return self._transform(self._dataset.load(*(column[row].as_py() for column in self._keys.columns)))


# Loaders know a stream by this class alone; torch is not type-checked here, so mypy sees Any.
class LandmarkStream(IterableDataset):  # type: ignore[misc]
    """The videos of a dataset as a stream, each read once by the loader workers of all ranks together.

    Without a seed the videos come as they are stored, which reads each piece of a file once. With a seed they are
    shuffled; call `set_epoch` before each epoch, as with torch's DistributedSampler.

    Args:
        dataset: The videos; every rank must have opened the same ones.
        transform: Makes an item of a video.
        seed: Of the order, the same for all ranks; None leaves the videos as they are stored.
        rank: The training process; None asks torch.distributed, then the variables RANK and WORLD_SIZE.
        equal_ranks: Leave out the last videos of an epoch, fewer than there are ranks, so that all ranks make the same
            number of batches; without it a rank may have a video more than others, which would wait for it forever.
        max_unreadable: As in `LandmarkDataset`.
    """

    def __init__(
        self,
        dataset: Dataset,
        transform: VideoTransform = as_it_is,
        seed: int | None = None,
        rank: Place | None = None,
        equal_ranks: bool = False,
        max_unreadable: float | None = None,
    ) -> None:
        self._videos = LandmarkDataset(dataset, transform, max_unreadable)
        self._seed = seed
        self._rank = rank
        self._equal_ranks = equal_ranks
        # In shared memory, so that workers that persist from epoch to epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Any]:
        """Yield the videos of this worker of this rank."""
        info = get_worker_info()
        worker = Place(info.id, info.num_workers) if info else Place()
        order = order_videos(len(self._videos), self._seed, int(self._epoch))
        for index in take_share(order, self._rank or find_rank(), worker, self._equal_ranks).tolist():
            yield self._videos[index]


def _warn_of_unreadable(dataset: Dataset) -> None:
    if affected := unreadable_in(dataset.videos()):
        warnings.warn(
            printable_line(
                f"{describe_unreadable(affected)}. They are included; max_unreadable=0.1 would leave out those that "
                "lack more than a tenth of their frames, and 1 keeps all without this warning."
            ),
            stacklevel=3,
        )


def find_rank() -> Place:
    """Return the rank of this process as torch.distributed knows it, else as the environment says."""
    if distributed.is_available() and distributed.is_initialized():
        return Place(distributed.get_rank(), distributed.get_world_size())
    return rank_from_environment()
