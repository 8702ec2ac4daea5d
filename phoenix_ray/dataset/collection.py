"""What verify and statistics ask of whatever holds landmarks: a dataset of ours, or a file of another tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.landmarks import Layout

VideoKey = tuple[str, str]


class LandmarkCollection(Protocol):
    """Videos with their landmarks, looked up by (split, video ID)."""

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of all its videos."""
        ...

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        ...

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video.

        Raises:
            KeyError: There is no such video.
            OutputError: It cannot be read.
        """
        ...
