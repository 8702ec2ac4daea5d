"""Who reads which videos of an epoch: pure arithmetic over ranks and loader workers, for `LandmarkStream`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Place:
    """One of several that share the work.

    Attributes:
        index: Which one, from 0.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"{self.index} is none of {self.count} ranks or workers, which count from 0")


def rank_from_environment(environment: Mapping[str, str] = os.environ) -> Place:
    """Return the rank that torchrun, Ray Train, Lightning and others tell their processes; the only one by default."""
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
