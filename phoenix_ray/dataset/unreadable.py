"""Videos with frames that could not be read: truncated uploads, damaged files, missing pictures.

Such a frame has a row like any other, with status `unreadable`, so nothing is missing from a dataset and no run fails.
Whoever reports on a dataset or trains with it asks here which videos are affected, and how badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

# Column of `videos.parquet`: rows of the video with status `unreadable`.
UNREADABLE_COLUMN = "frames_unreadable"
_NAMED_VIDEOS = 3


class UnreadableVideo(NamedTuple):
    """A video, its number of frames, and how many of them could not be read (at least one)."""

    split: str
    video_id: str
    frames: int
    unreadable: int

    @property
    def share(self) -> float:
        """Share of the frames that could not be read, above 0 and at most 1."""
        return self.unreadable / self.frames


def unreadable_in(videos: pa.Table) -> list[UnreadableVideo]:
    """Return the videos with unreadable frames, sorted by split and ID.

    Args:
        videos: The columns `split`, `video_id`, `frames` and `frames_unreadable` of `videos.parquet`, and any others.
    """
    affected = videos.filter(pc.greater(videos.column(UNREADABLE_COLUMN), 0))
    columns = ("split", "video_id", "frames", UNREADABLE_COLUMN)
    rows = zip(*(affected.column(name).to_pylist() for name in columns), strict=True)
    return sorted(UnreadableVideo(*values) for values in rows)


def describe_unreadable(videos: Sequence[UnreadableVideo]) -> str:
    """Return one line that counts the videos and names the worst, "" where there are none."""
    if not videos:
        return ""
    worst = sorted(videos, key=lambda video: (-video.share, video.split, video.video_id))[:_NAMED_VIDEOS]
    named = [f"{video.split}/{video.video_id} ({video.unreadable:,} of {video.frames:,} frames)" for video in worst]
    more = [f"{len(videos) - len(worst):,} more"] if len(videos) > len(worst) else []
    count = "1 video" if len(videos) == 1 else f"{len(videos):,} videos"
    return f"{count} partly unreadable: {', '.join([*named, *more])}"
