"""Which videos to verify: of some splits, by ID, or a sample drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Selection:
    """What to choose; all of it where nothing is said.

    Attributes:
        splits: Only these splits.
        videos: Only these videos, each as its ID or as `split/ID`.
        sample: Only that many of the videos, drawn at random.
        seed: The same seed draws the same videos.
    """

    splits: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0

    def choose(self, keys: Iterable[VideoKey]) -> list[VideoKey]:
        """Return the chosen ones of (split, video ID), sorted, each once.

        Raises:
            ConfigError: A split or a video is not among them, or there is none at all.
        """
        chosen = sorted(set(keys))
        _require("split", self.splits, {split for split, _ in chosen})
        _require("video", self.videos, {name for key in chosen for name in _names(key)})
        if self.splits:
            chosen = [key for key in chosen if key[0] in self.splits]
        if self.videos:
            chosen = [key for key in chosen if not _names(key).isdisjoint(self.videos)]
        if not chosen:
            raise ConfigError("There is no video to compare.")
        if self.sample is not None and self.sample < len(chosen):
            chosen = sorted(random.Random(self.seed).sample(chosen, self.sample))
        return chosen


def _names(key: VideoKey) -> set[str]:
    split, video_id = key
    return {video_id, f"{split}/{video_id}"}


def _require(what: str, wanted: Iterable[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise ConfigError(f"Neither side has a {what} {name!r}.{did_you_mean(name, known)}")
