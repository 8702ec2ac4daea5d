"""Shares of a dataset: which videos an element of an array computes (`run.share`).

The share of a video follows from its split and ID alone, so it is the same however the source is listed and whoever
asks. What is committed is seen by all shares: an array with another number of elements finishes the same dataset.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.dataset.shards import name_key

_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Share:
    """The share number `index`, from 0, of `count` shares that have about the same number of videos."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share | None:
        """Return the share that `run.share` asks for, as the settings have checked it: None for all videos."""
        if not text:
            return None
        index, _, count = text.partition("/")
        return cls(int(index), int(count))

    def holds(self, split: str, video_id: str) -> bool:
        """Whether a video belongs to this share; it belongs to exactly one of `count`."""
        return int.from_bytes(name_key(split, video_id)[:_HASH_BYTES], "big") % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
