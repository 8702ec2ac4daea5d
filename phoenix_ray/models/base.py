"""What every pose model provides: a layout, an identity, and landmarks for a batch of frames.

Workers call `estimate`; `dataset.schema` turns the `LandmarkBatch` into columns by the layout alone, so a new model
needs no change anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings


@dataclass(frozen=True, slots=True)
class LandmarkBatch:
    """Landmarks of N frames.

    Attributes:
        points: Part name → float32 array (N, points of the part, axes of the part) in the order of the layout;
            x and y are normalised to the image (0..1 inside it), NaN throughout where the part is missing.
        scores: Part name → float32 array (N,): the network's presence score, NaN where its network did not run.
            Parts without a score of their own (`Part.scored` is false) have no entry.
        events: Incidents that the run should record, one line each, such as a batch that did not fit into memory.
        heads: Head → float32 array (N, `Head.width`): logits, values, quality; NaN throughout where its part is
            missing. Empty for a layout without heads.
    """

    points: Mapping[str, NDArray[np.float32]]
    scores: Mapping[str, NDArray[np.float32]]
    events: tuple[str, ...] = ()
    heads: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def present(self, part: str) -> NDArray[np.bool_]:
        """Return a bool array (N,): where `part` was found."""
        return is_found(self.points[part])


def is_found(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a bool array (frames,): where a part (frames, points, axes) has at least one point.

    Models find all points of a part or none; files of other tools may mask single points.
    """
    return np.asarray(np.any(~np.isnan(points[:, :, 0]), axis=1), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `phoenix-ray models list` shows of a model.

    Attributes:
        name: Value of the setting `model.name`.
        description: One line.
        engines: Values that `model.engine` accepts beside 'auto'; empty when there is no choice.
        layouts: Names of the landmark layouts that the model can return.
    """

    name: str
    description: str
    engines: tuple[str, ...]
    layouts: tuple[str, ...]


class PoseModel(Protocol):
    """A model loaded in a worker.

    Unless it is a `TrackingModel`, a frame's landmarks depend on that frame alone.
    """

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of the result."""

    @property
    def batch_size(self) -> int:
        """The largest number of frames per call; shards are cut at its multiples."""

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""

    def close(self) -> None:
        """Release memory and devices. Called once; the model is not used afterwards."""


class PendingBatch(Protocol):
    """A batch that a model has begun."""

    def result(self) -> LandmarkBatch:
        """Wait for the batch and return what `estimate` would have. Raises what that raises. Called once."""

    def abandon(self) -> None:
        """Give the batch up, so that the model can take others; harmless after `result`."""


@runtime_checkable
class OverlappingModel(PoseModel, Protocol):
    """A model that takes a batch while it still computes the one before, on a device that works by itself.

    It takes no more than that: two batches at a time.
    """

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> PendingBatch:
        """Begin a batch of at most `batch_size` images. Raises what `estimate` raises, now or with the result."""


@runtime_checkable
class TrackingModel(PoseModel, Protocol):
    """A model whose landmarks of a frame depend on that frame and on the frames of its video before.

    What it remembers of a video is a row of numbers, its *state*, which the caller keeps from frame to frame. So frames
    of many videos go through the model together, and a worker goes on where another has stopped.
    """

    @property
    def state_size(self) -> int:
        """Numbers in a state. Before the first frame of a video all are NaN."""

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of each of N videos, and the states of the videos after it.

        A video's result does not depend on the other videos. The arguments are left as they are, so that a call that
        fails may be repeated.

        Args:
            images: RGB images, each uint8 (height, width, 3), at most `batch_size`; sizes may differ.
            states: float32 (N, state_size): the state of each video before its frame.
        """


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What settings determine about a model before it is loaded; the driver plans with it.

    Attributes:
        layout: Layout of the landmarks.
        identity: Everything that the landmarks depend on beside the pixels, by name. A resume compares it field by
            field with what the dataset recorded.
        batch_size: Frames per call; equals `PoseModel.batch_size` of the loaded model.
        uses_gpu: Whether a worker should be given a GPU, or a share of one.
        tracks: Whether the loaded model is a `TrackingModel`.
        whole_videos: Whether it has to compute each video in one go, because no other process can go on from its state.
    """

    layout: Layout
    identity: Mapping[str, str]
    batch_size: int
    uses_gpu: bool
    tracks: bool = False
    whole_videos: bool = False


@dataclass(frozen=True, slots=True)
class TrialConditions:
    """What a trial needs to know about the run that it decides for.

    Attributes:
        images: Frames of the source, at least one, each RGB uint8 (height, width, 3).
        video_frames: Typical number of frames that a worker gets of a video at once: of a long video, those of a shard.
        workers_per_gpu: Workers that will share a GPU.
        cpu_workers_per_gpu: Workers that the cluster's CPUs could hold for each GPU, if they computed instead.
    """

    images: Sequence[NDArray[np.uint8]]
    video_frames: int
    workers_per_gpu: int
    cpu_workers_per_gpu: float


@dataclass(frozen=True, slots=True)
class TrialDecision:
    """The result of a trial.

    Attributes:
        settings: The settings that the run takes.
        reason: Why, in one line for the user.
    """

    settings: ModelSettings
    reason: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Decides what settings leave to 'auto' by trying it on a worker's GPU, once for a new dataset.

    Attributes:
        candidate: The settings to try; the trial reserves the resources of a worker with these settings.
        fallback: The settings that the run takes if the trial fails. Equal to `candidate` where a worker would fail
            just as the trial did.
        fallback_notice: Names the fallback in a message to the user, which goes on with the reason of the failure.
        run: Runs the trial; called on a machine like those of the workers. It can be pickled.
    """

    candidate: ModelSettings
    fallback: ModelSettings
    fallback_notice: str
    run: Callable[[TrialConditions], TrialDecision]


def frames_per_call(settings: ModelSettings, auto: int = 16) -> int:
    """Return how many frames to pass to a model at once, `auto` where the settings leave it open.

    The default is for models that gain nothing from batches; it only bounds the frames in memory.
    """
    if not settings.enable_batching:
        return 1
    return auto if settings.batch_size == "auto" else settings.batch_size
