"""The videos of an export: which they are, and how the formats read them.

A format takes a video in blocks of rows (`ExportVideo.read_blocks`), so that its memory does not grow with the length
of a video. Formats that must hold whole arrays call `ExportVideo.load`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError, did_you_mean
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.layouts import Layout

Result = TypeVar("Result")


class ExportVideo:
    """A video of an export.

    Args:
        collection: Where it comes from.
        key: Its split and video ID.
        check: Called with each block before the format sees it; raises where the format cannot hold it.

    Attributes:
        split: Its split.
        video_id: The video.
        frames: Number of frames; this and the next two are known after `read_blocks` or `load`.
        fps: Frames per second, None where the source has no clock.
        annotation: Text of the source.
    """

    def __init__(
        self, collection: LandmarkCollection, key: VideoKey, check: Callable[[VideoLandmarks], None] | None = None
    ) -> None:
        self.split, self.video_id = key
        self.frames = 0
        self.fps: float | None = None
        self.annotation: Mapping[str, str] = {}
        self._collection = collection
        self._check = check
        self._only_block: VideoLandmarks | None = None
        self._was_read = False

    def read_blocks(self, use: Callable[[Iterator[VideoLandmarks]], Result]) -> Result:
        """Return what a function makes of the video, given in blocks of rows.

        A second call for a video of one block does not read it again.

        Args:
            use: Called with all blocks in order, at least one. It is called again from the start when the dataset
                changes while it is read: it must begin again whatever it writes.

        Raises:
            ConfigError: The format cannot hold these landmarks.
            OutputError: The video cannot be read; it has more frames than in an earlier call; or it lacks frames, since
                its run is not finished, and the formats of other tools number frames by their position.
        """
        if self._only_block is not None:
            return use(iter([self._only_block]))
        if isinstance(self._collection, Dataset):
            return self._collection.load_blocks(
                self.split, self.video_id, lambda blocks: use(self._checked_blocks(blocks))
            )
        # A file of another tool is in memory as a whole already.
        return use(self._checked_blocks([self._collection.load(self.split, self.video_id)]))

    def load(self) -> VideoLandmarks:
        """Return the whole video, for formats that hold its arrays in one piece.

        Raises:
            ConfigError: As `read_blocks`.
            OutputError: As `read_blocks`; or the video needs more memory than is allowed (`dataset.memory_limits`).
        """
        (video,) = self._checked_blocks([self._collection.load(self.split, self.video_id)])
        self._only_block = None
        return video

    def _checked_blocks(self, blocks: Iterable[VideoLandmarks]) -> Iterator[VideoLandmarks]:
        self._only_block, frames = None, 0
        first: VideoLandmarks | None = None
        remaining = iter(blocks)
        for block in remaining:
            if not np.array_equal(block.frame_index, np.arange(frames, frames + len(block))):
                self._refuse_gap(block, remaining)
            if self._check is not None:
                self._check(block)
            first = None if frames else block
            frames += len(block)
            self.fps, self.annotation = block.fps, block.annotation
            yield block
            del block
        if self._was_read and frames != self.frames:
            raise OutputError(
                f"{self.split}/{self.video_id} grows while it is exported: export it again when its run is over."
            )
        self._only_block, self.frames, self._was_read = first, frames, True

    def _refuse_gap(self, block: VideoLandmarks, later: Iterator[VideoLandmarks]) -> None:
        last = block.frame_index[-1]
        for block in later:
            last = block.frame_index[-1]
        name = f"{self.split}/{self.video_id}"
        if isinstance(self._collection, Dataset):
            raise OutputError(
                f"{name} has frames missing before frame {last}: finish the run first, or leave the video out with "
                "--videos."
            )
        raise OutputError(
            f"{name} has frames missing before frame {last}, by the numbers in the names of its files: make them "
            "again, or leave the video out with --videos."
        )


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """The videos of an export.

    Attributes:
        collection: Where they come from.
        keys: (split, video ID) of each, sorted.
        finished: Called after each video, once it was read, for progress.
    """

    collection: LandmarkCollection
    keys: tuple[VideoKey, ...]
    finished: Callable[[ExportVideo], None] | None = None

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of all videos."""
        return self.collection.layout

    def videos(self, check: Callable[[VideoLandmarks], None] | None = None) -> Iterator[ExportVideo]:
        """Yield each video, with `check` as in `ExportVideo`; a format reads one before it asks for the next."""
        for key in self.keys:
            video = ExportVideo(self.collection, key, check)
            yield video
            if self.finished is not None:
                self.finished(video)

    def videos_for(self, format_name: str) -> Iterator[ExportVideo]:
        """Yield each video; reading one raises ConfigError unless the format can hold its layout (`require_format`).

        The videos of a folder of files may differ in their layouts.
        """

        def check(video: VideoLandmarks) -> None:
            try:
                require_format(video.layout, format_name)
            except ConfigError as error:
                raise ConfigError(f"{video.split}/{video.video_id}: {error}") from None

        return self.videos(check)

    def by_split(self) -> Iterator[tuple[str, ExportSelection]]:
        """Yield each split with its videos."""
        for split, keys in groupby(self.keys, key=lambda key: key[0]):
            yield split, replace(self, keys=tuple(keys))


def select_for_export(
    collection: LandmarkCollection, splits: Sequence[str] | None = None, videos: Sequence[str] | None = None
) -> ExportSelection:
    """Return the videos of some splits with some IDs; None means all.

    Raises:
        ConfigError: A split or video does not exist, or no video is left.
    """
    keys = sorted(collection.keys())
    for kind, wanted, known in (
        ("split", splits, {split for split, _ in keys}),
        ("video", videos, {video_id for _, video_id in keys}),
    ):
        for name in wanted or ():
            if name not in known:
                raise ConfigError(f"There is no {kind} '{name}'.{did_you_mean(name, known)}")
    chosen = [key for key in keys if (not splits or key[0] in splits) and (not videos or key[1] in videos)]
    if not chosen:
        raise ConfigError("There is no video to export: the dataset is empty, or no video is in both selections.")
    return ExportSelection(collection, tuple(chosen))


def video_file(folder: Path, split: str, video_id: str, suffix: str) -> Path:
    """Return the file of a video, `<split>/<video ID><suffix>` with the names made harmless, and make its folder."""
    file = folder / safe_name(split) / f"{safe_name(video_id)}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
