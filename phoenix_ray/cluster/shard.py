"""The unit of work: planned by `cluster.plan`, handed out by `cluster.scheduler`, computed by `cluster.worker`."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.sources.base import Video

FrameRange = tuple[int, int]
ShardKey = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work for one actor, committed as one file: frames `first` to `last` (exclusive) of one video."""

    video: Video
    first: int
    last: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.last - self.first

    @property
    def key(self) -> ShardKey:
        """What names the shard within a dataset."""
        return (self.video.split, self.video.video_id, self.first, self.last)

    def keeps_batches(self, batch_size: int) -> bool:
        """Whether each frame meets the neighbours in its batch that the whole video gives it."""
        return self.first % batch_size == 0 and (self.last % batch_size == 0 or self.last == self.video.frame_count)

    def __str__(self) -> str:
        frames = f"frame {self.first}" if self.frames == 1 else f"frames {self.first}-{self.last - 1}"
        return f"{self.video.split}/{self.video.video_id} {frames}"
