"""Chains: the ranges of a video that must be computed one after the other, because its model follows it through time.

In mode tracking the gaps of a video that are to be computed are planned whole. `Chains` cuts each into *links* of about
`cluster.shard_frames`, one at a time: the scheduler hands out the first, and the next when that is committed, which is
when the state that it begins with is in the dataset. Links are shards like all others: they are tried again, copied,
searched for a poison frame and given up. Only their order is more.

In mode static there are no chains, and each function here returns what it was given.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.cluster.shards import ShardState, cut
from phoenix_ray.dataset.shards import Shard, VideoKey
from phoenix_ray.models.base import ModelFacts


class Chains:
    """What follows a link, for all chains of a run that have begun.

    Args:
        link_frames: Frames of a link at most; None where a shard depends on no other.
    """

    def __init__(self, link_frames: int | None = None) -> None:
        self._link_frames = link_frames
        # By the frame at which they begin. There is more than one only where a lost range is computed again.
        self._followers: dict[tuple[VideoKey, int], list[ShardState]] = {}

    def first_link(self, shard: Shard) -> Shard:
        """Return the link with which a range begins; the rest of the range follows it."""
        if self._link_frames is None or shard.frames <= self._link_frames:
            return shard
        _, last = next(cut((shard.first, shard.last), self._link_frames, batch_size=1))
        self.add(ShardState(replace(shard, first=last)))
        return replace(shard, last=last)

    def in_order(self, ranges: list[ShardState]) -> list[ShardState]:
        """Return which of some ranges that follow each other may start now; in a chain the others follow the first."""
        if self._link_frames is None:
            return ranges
        for state in ranges[1:]:
            self.add(state)
        return ranges[:1]

    def add(self, state: ShardState) -> None:
        """Let a range wait until the frame before it is committed."""
        self._followers.setdefault(_place(state.shard, state.shard.first), []).append(state)

    def goes_on(self, shard: Shard) -> bool:
        """Whether something waits for this link."""
        return _place(shard, shard.last) in self._followers

    def release(self, shard: Shard, state: NDArray[np.float32] | None) -> list[ShardState]:
        """Return the links that may start now that a shard is committed; they begin with the model's `state`."""
        released = []
        for following in self._followers.pop(_place(shard, shard.last), ()):
            link = self.first_link(following.shard)
            if link != following.shard:
                following = ShardState(link)
            following.start = state
            released.append(following)
        return released

    def cut_off(self, shard: Shard) -> Shard | None:
        """Forget all that follows a shard, which is given up, and return its range; None where nothing follows."""
        last = shard.last
        ends = [last]
        while ends:
            for following in self._followers.pop(_place(shard, ends.pop()), ()):
                ends.append(following.shard.last)
                last = max(last, following.shard.last)
        return replace(shard, first=shard.last, last=last) if last > shard.last else None

    def clear(self) -> None:
        """Forget all that follows."""
        self._followers.clear()


def link_frames(facts: ModelFacts, shard_frames: int) -> int | None:
    """Return the most frames of a link, given `cluster.shard_frames`; None where no shard depends on another."""
    if not facts.tracks:
        return None
    return sys.maxsize if facts.whole_videos else shard_frames


def shards_at_once(facts: ModelFacts) -> int:
    """Return how many shards a worker computes at once: a tracking model takes a frame of each in a batch."""
    return facts.batch_size if facts.tracks else 1


def _place(shard: Shard, frame: int) -> tuple[VideoKey, int]:
    return (shard.video.split, shard.video.video_id), frame
