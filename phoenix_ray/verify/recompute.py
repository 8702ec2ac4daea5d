"""Landmarks computed afresh, video by video, in this process and without Ray: what a dataset is verified against.

The same functions as in the workers do it (`phoenix_ray.estimation`), with the settings that the dataset records. To
`verify.video_blocks` it is a collection that gives its videos in blocks, each computed when it is taken. A tracking
model's state goes from block to block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import Settings
from phoenix_ray.config_files import load
from phoenix_ray.dataset.identity import LISTING_SETTINGS, DatasetIdentity, open_recorded_source
from phoenix_ray.dataset.reader import BLOCK_ROWS, Dataset
from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.errors import ModelError, PhoenixRayError
from phoenix_ray.estimation import Estimate, estimate_frames, first_state, track_frames
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance, registry
from phoenix_ray.models.base import PoseModel, TrackingModel
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames_except, undecoded_frames
from phoenix_ray.verify.alignment import FrameList

Result = TypeVar("Result")
# What a tracking model remembers of a video; None for other models.
State = NDArray[np.float32] | None


class RecomputedCollection:
    """The videos of a source, computed when they are loaded.

    Frames whose committed rows have the status `failed` have it here too, without being decoded or estimated: they may
    be there because they kill the process that tries.

    Args:
        settings: Source, decoding and model.
        committed: The dataset that is verified.
        recorded: Where that dataset says its source lay.

    Attributes:
        source_root: Where the source lies.

    Raises:
        SourceError: The source cannot be listed.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, settings: Settings, committed: Dataset, recorded: str = "") -> None:
        # Without columns of landmarks: rows are read for their status alone.
        self._statuses = committed.select(parts=())
        self._decode = settings.decode
        source = open_recorded_source(settings.source, recorded)
        self.source_root = source.root
        self._videos = {(video.split, video.video_id): video for video in source.videos() if isinstance(video, Video)}
        self._model: PoseModel = registry.create(settings.model)

    @property
    def layout(self) -> Layout:
        """Parts, points and axes."""
        return self._model.layout

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video of the source, sorted."""
        yield from sorted(self._videos)

    def list_frames(self, split: str, video_id: str) -> FrameList:
        """Return the frames of a video, none of them decoded.

        Raises:
            KeyError: The source has no such video.
            SourceError: This machine cannot list the video's folder.
        """
        video = self._videos[split, video_id]
        return FrameList.named(frame.name for frame in undecoded_frames(video, 0, video.frame_count))

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Compute a video at once; arguments and errors are those of `load_blocks`."""
        return self._load(split, video_id, next, self._videos[split, video_id].frame_count)

    def load_blocks(self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result]) -> Result:
        """Compute a video, a block of frames whenever one is taken, and return what a function makes of the blocks.

        Raises:
            KeyError: The source or the dataset has no such video.
            PhoenixRayError: It cannot be read, or the model fails on all frames of a block.
        """
        return self._load(split, video_id, use, BLOCK_ROWS)

    def _load(
        self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result], block_rows: int
    ) -> Result:
        video = self._videos[split, video_id]
        failed = self._statuses.load_blocks(split, video_id, failed_frames)
        # Cut where the model's batches are, as shards are, so that each frame meets the neighbours it met in the run.
        rows = max(1, -(-block_rows // self._model.batch_size)) * self._model.batch_size
        frames = read_frames_except(video, failed, self._decode)
        return use(self._compute_blocks(video, frames, rows, failed))

    def _compute_blocks(
        self, video: Video, frames: Iterator[Frame], rows: int, failed: Set[int]
    ) -> Iterator[VideoLandmarks]:
        state = first_state(self._model) if isinstance(self._model, TrackingModel) else None
        for first in range(0, max(1, video.frame_count), rows):
            last = min(first + rows, video.frame_count)
            estimate = self._estimate(video, islice(frames, last - first), first, last, state)
            state = estimate.state
            yield self._to_landmarks(video, estimate, failed)

    def _estimate(self, video: Video, frames: Iterator[Frame], first: int, last: int, state: State) -> Estimate:
        try:
            if isinstance(self._model, TrackingModel) and state is not None:
                return track_frames(self._model, frames, first, last, state)
            return estimate_frames(self._model, frames, first, last)
        except PhoenixRayError:
            raise
        except Exception as error:
            which = "" if (first, last) == (0, video.frame_count) else f" from {first} to {last - 1}"
            raise ModelError(
                f"The model failed on every frame of {video.split}/{video.video_id}{which}: {error!r}"
            ) from error

    def _to_landmarks(self, video: Video, estimate: Estimate, failed: Set[int]) -> VideoLandmarks:
        # By way of rows, so that what a dataset cannot hold (a side of 40,000 pixels) is treated alike.
        records = [
            replace(record, status="failed") if record.index in failed else record for record in estimate.records
        ]
        rows = to_table(self.layout, video.split, video.video_id, records, estimate.rows)
        return from_rows(self.layout, video.split, video.video_id, rows, video.fps, video.annotation, video.fps_varies)

    def close(self) -> None:
        """Free the model."""
        self._model.close()


# How the recorded engine computes; another has its own way.
_OF_ENGINE = {"device", "precision", "kernels"}


def failed_frames(blocks: Iterable[VideoLandmarks]) -> frozenset[int]:
    """Return the numbers of the frames on which the model failed, or which killed their worker."""
    rows = (row for block in blocks for row in zip(block.frame_index.tolist(), block.status, strict=True))
    return frozenset(index for index, status in rows if status == "failed")


def recorded_settings(identity: DatasetIdentity, source: str, overrides: Sequence[str]) -> Settings:
    """Return the settings that a dataset was computed with, as far as landmarks depend on them.

    Args:
        identity: The dataset's identity.
        source: Where its source lies now; empty where it lay at first.
        overrides: `section.key=value` words that go before what is recorded.

    Raises:
        ConfigError: A word is not a setting.
    """
    # The architecture is that of the machine that recomputes, unless the dataset's is a kind that includes it.
    includes_it = identity.model.get("architecture") == provenance.architecture()
    names = ModelSettings.model_fields.keys() - (set() if includes_it else {"architecture"})
    recorded = dict(identity.model)
    if recorded.get("engine") == "torch":
        # Datasets from before there was a choice do not have it.
        recorded.setdefault("kernels", "torch")
    engines = [word for word in overrides if word.startswith("model.engine=")]
    if engines and engines[-1] != f"model.engine={recorded.get('engine')}":
        names -= _OF_ENGINE
    if any(word.startswith("model.device=") for word in overrides):
        names -= {"kernels"}
    words = [f"model.{name}={value}" for name, value in recorded.items() if name in names]
    words += [f"model.name={identity.model.get('model', 'holistic')}", f"source.signature={identity.signature}"]
    words += [f"source.{name}={value}" for name, value in identity.listing.items() if name in LISTING_SETTINGS]
    if identity.square_pixels:
        words.append("source.square_pixels=true")
    if identity.limit_frames is not None:
        words.append(f"source.limit_frames={identity.limit_frames}")
    settings = load(overrides=[*words, *overrides])
    if settings.source.path and not source:
        return settings
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"path": source or identity.source_root})}
    )
