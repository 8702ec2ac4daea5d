"""Landmarks computed afresh, video by video, in this process and without Ray: what a dataset is verified against.

The same function as in the workers does it (`phoenix_ray.estimation`), with the settings that the dataset records. To
`verify.walk` it is a collection like any other, whose videos are computed when they are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from phoenix_ray.config import ModelSettings, Settings
from phoenix_ray.config_files import load
from phoenix_ray.dataset.identity import DatasetIdentity, open_recorded_source
from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks, from_rows
from phoenix_ray.errors import ModelError, PhoenixRayError
from phoenix_ray.estimation import estimate_frames
from phoenix_ray.landmarks import Layout
from phoenix_ray.models import registry
from phoenix_ray.models.base import PoseModel
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.undecoded import read_frames_but


class RecomputedCollection:
    """The videos of a source, computed when they are loaded.

    Frames whose committed rows have the status `failed` have it here too, without being decoded or estimated: they may
    be there because they kill the process that tries.

    Args:
        settings: Source, decoding and model.
        committed: The dataset that is verified.
        recorded: Where that dataset says its source lay.

    Raises:
        SourceError: The source cannot be listed.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, settings: Settings, committed: LandmarkCollection, recorded: str = "") -> None:
        self._committed = committed
        self._decode = settings.decode
        listing = open_recorded_source(settings.source, recorded).videos()
        self._videos = {(video.split, video.video_id): video for video in listing if isinstance(video, Video)}
        self._model: PoseModel = registry.create(settings.model)

    @property
    def layout(self) -> Layout:
        """Parts, points and axes."""
        return self._model.layout

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video of the source, sorted."""
        yield from sorted(self._videos)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Compute a video.

        Raises:
            KeyError: The source or the dataset has no such video.
            PhoenixRayError: It cannot be read, or the model fails on all its frames.
        """
        video = self._videos[split, video_id]
        failed = failed_frames(self._committed.load(split, video_id))
        try:
            frames = read_frames_but(video, failed, self._decode)
            estimate = estimate_frames(self._model, frames, 0, video.frame_count)
        except PhoenixRayError:
            raise
        except Exception as error:
            raise ModelError(f"The model failed on every frame of {split}/{video_id}: {error!r}") from error
        # By way of rows, so that what a dataset cannot hold (a side of 40,000 pixels) is treated alike.
        records = [replace(one, status="failed") if one.index in failed else one for one in estimate.records]
        rows = to_table(self.layout, split, video_id, records, estimate.rows)
        return from_rows(self.layout, split, video_id, rows, video.fps, video.annotation, video.fps_varies)

    def close(self) -> None:
        """Free the model."""
        self._model.close()


def failed_frames(video: VideoLandmarks) -> frozenset[int]:
    """Return the numbers of the frames on which the model failed, or which killed their worker."""
    rows = zip(video.frame_index.tolist(), video.status, strict=True)
    return frozenset(index for index, status in rows if status == "failed")


def recorded_settings(identity: DatasetIdentity, source: str, overrides: Sequence[str]) -> Settings:
    """Return the settings that a dataset was computed with, as far as landmarks depend on them.

    Args:
        identity: Of the dataset.
        source: Where its source lies now; empty where it lay at first.
        overrides: `section.key=value` words that go before what is recorded.

    Raises:
        ConfigError: A word is no setting.
    """
    # The architecture is that of the machine that recomputes, whatever the dataset's is.
    names = ModelSettings.model_fields.keys() - {"architecture"}
    words = [f"model.{name}={value}" for name, value in identity.model.items() if name in names]
    words += [f"model.name={identity.model.get('model', 'holistic')}", f"source.signature={identity.signature}"]
    if identity.limit_frames is not None:
        words.append(f"source.limit_frames={identity.limit_frames}")
    settings = load(overrides=[*words, *overrides])
    if settings.source.path and not source:
        return settings
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"path": source or identity.source_root})}
    )
