"""What an export takes: some videos of a collection, one at a time.

Formats iterate over a `Selection` and hold one video at once, so memory does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError, did_you_mean
from phoenix_ray.landmarks import Layout

_HOLISTIC_PARTS = {"pose": 33, "left_hand": 21, "right_hand": 21, "face": 468}


@dataclass(frozen=True, slots=True)
class Selection:
    """Videos to export.

    Attributes:
        collection: Where they come from.
        keys: (split, video ID) of each, sorted.
        finished: Called after each video with its number of frames, for progress.
    """

    collection: LandmarkCollection
    keys: tuple[VideoKey, ...]
    finished: Callable[[int], None] | None = None

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of all videos."""
        return self.collection.layout

    def videos(self) -> Iterator[VideoLandmarks]:
        """Yield each video.

        Raises:
            OutputError: A video cannot be read, or has gaps because it is not finished; the formats of other tools
                number frames by their position.
        """
        for split, video_id in self.keys:
            video = self.collection.load(split, video_id)
            if not np.array_equal(video.frame_index, np.arange(len(video))):
                raise OutputError(
                    f"{split}/{video_id} has frames missing before frame {video.frame_index[-1]}: finish the run "
                    "first, or leave the video out with --videos."
                )
            yield video
            if self.finished is not None:
                self.finished(len(video))

    def holistic_videos(self, format_name: str, axes: str = "xyz") -> Iterator[VideoLandmarks]:
        """Yield each video after checking that it has Holistic's points (`require_holistic`): files may differ.

        Raises:
            ConfigError: A video's layout is not Holistic's.
            OutputError: As `videos`.
        """
        for video in self.videos():
            try:
                require_holistic(video.layout, format_name, axes)
            except ConfigError as error:
                raise ConfigError(f"{video.split}/{video.video_id}: {error}") from None
            yield video

    def by_split(self) -> Iterator[tuple[str, Selection]]:
        """Yield each split with its videos."""
        for split, keys in groupby(self.keys, key=lambda key: key[0]):
            yield split, replace(self, keys=tuple(keys))


def select(
    collection: LandmarkCollection, splits: Sequence[str] | None = None, videos: Sequence[str] | None = None
) -> Selection:
    """Return the videos of some splits with some IDs; None means all.

    Raises:
        ConfigError: A split or video does not exist, or no video is left.
    """
    keys = sorted(collection.keys())
    for word, wanted, known in (
        ("split", splits, {split for split, _ in keys}),
        ("video", videos, {video_id for _, video_id in keys}),
    ):
        for name in wanted or ():
            if name not in known:
                raise ConfigError(f"There is no {word} '{name}'.{did_you_mean(name, known)}")
    chosen = [key for key in keys if (not splits or key[0] in splits) and (not videos or key[1] in videos)]
    if not chosen:
        raise ConfigError("There is no video to export: the dataset is empty, or no video is in both selections.")
    return Selection(collection, tuple(chosen))


def require_holistic(layout: Layout, format_name: str, axes: str = "xyz") -> None:
    """Check that a layout has the pose, hands and face of MediaPipe Holistic, as most formats of the field want.

    Raises:
        ConfigError: A part is missing, or has other points or too few axes.
    """
    parts = {part.name: part for part in layout.parts}
    for name, points in _HOLISTIC_PARTS.items():
        found = parts.get(name)
        if found is None or len(found.points) < points:
            raise ConfigError(
                f"The format '{format_name}' needs MediaPipe Holistic's landmarks; the layout {layout.name} has "
                f"{'no' if found is None else len(found.points)} points of '{name}', not {points}. The formats npz, "
                "csv and webdataset take any layout."
            )
        if found.axes[: len(axes)] != tuple(axes):
            raise ConfigError(
                f"The format '{format_name}' needs {', '.join(axes)} of each point; '{name}' has "
                f"{', '.join(found.axes)}. The formats coco, openpose, mska and twostream need x and y, and npz, csv "
                "and webdataset take any layout."
            )
