"""What names videos and the work on them: videos, their versions, and shards.

`cluster.plan` makes shards, `cluster.worker` computes them, `partitions.write_partition` commits each as one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from phoenix_ray.dataset.json_records import FiniteNumber, Flag, FrameNumber, Texts
from phoenix_ray.sources.base import Video

# Split and video ID.
VideoKey = tuple[str, str]
# First frame and end of the frames, exclusive.
FrameRange = tuple[int, int]
# What names a shard within a dataset: split, video ID, first frame, end.
ShardKey = tuple[str, str, int, int]


class Version(NamedTuple):
    """One content of a video: rows of different versions never mix."""

    signature: str
    frame_count: int


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
        """Whether each frame shares its batch with the same frames as when the video is computed whole."""
        return self.first % batch_size == 0 and (self.last % batch_size == 0 or self.last == self.video.frame_count)

    def __str__(self) -> str:
        frames = f"frame {self.first}" if self.frames == 1 else f"frames {self.first}-{self.last - 1}"
        return f"{self.video.split}/{self.video.video_id} {frames}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVideo:
    """What the dataset records of a video, as its source described it when its frames were read.

    Attributes:
        split: Split of the video.
        video_id: ID of the video, unique within the split.
        frame_count: Number of frames of the whole video.
        signature: The source's signature of its content.
        fps: Frames per second; None where the source has no clock, the average where the rate varies.
        annotation: Text that belongs to the video.
        fps_varies: Whether the frame rate varies; None where an earlier version wrote the file and did not look.
    """

    split: str
    video_id: str
    frame_count: FrameNumber
    signature: str
    fps: FiniteNumber | None
    annotation: Texts
    fps_varies: Flag | None = None

    @property
    def key(self) -> VideoKey:
        """Split and video ID."""
        return (self.split, self.video_id)

    @property
    def version(self) -> Version:
        """Which content of the video it is."""
        return Version(self.signature, self.frame_count)


def recorded_fields(video: Video | RecordedVideo) -> dict[str, Any]:
    """Return the fields of `RecordedVideo` of a video, to make one of its subclasses."""
    return {
        "split": video.split,
        "video_id": video.video_id,
        "frame_count": video.frame_count,
        "signature": video.signature,
        "fps": video.fps,
        "annotation": dict(video.annotation),
        "fps_varies": video.fps_varies,
    }
