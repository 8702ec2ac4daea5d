"""What every pose model gives: a layout, an identity, and landmarks for a batch of frames.

Workers call `estimate`; `dataset.schema` turns the `LandmarkBatch` into columns by the layout alone, so a new model
needs no change anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import ModelSettings
from phoenix_ray.landmarks import Layout


@dataclass(frozen=True, slots=True)
class LandmarkBatch:
    """Landmarks of N frames.

    Attributes:
        points: Part name → float32 array (N, points of the part, axes of the part) in the order of the layout;
            x and y are normalised to the image (0..1 inside it), NaN throughout where the part is missing.
        scores: Part name → float32 array (N,): the network's presence score, NaN where its network did not run.
            Parts without a score of their own (`Part.scored` is false) have no entry.
        events: What happened on the way that a run should record, each in a line: a batch that did not fit into memory.
    """

    points: Mapping[str, NDArray[np.float32]]
    scores: Mapping[str, NDArray[np.float32]]
    events: tuple[str, ...] = ()

    def present(self, part: str) -> NDArray[np.bool_]:
        """Return a bool array (N,): where `part` was found."""
        return is_found(self.points[part])


def is_found(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a bool array (frames,): where a part (frames, points, axes) has at least one point.

    Models find a part whole; files of other tools may mask single points of it.
    """
    return np.asarray(np.any(~np.isnan(points[:, :, 0]), axis=1), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a user sees of a model in `phoenix-ray models list`.

    Attributes:
        name: Value of the setting `model.name`.
        description: One line.
        engines: Values of `model.engine` it takes beside 'auto'; empty when there is no choice.
        layouts: Names of the landmark layouts it can give.
    """

    name: str
    description: str
    engines: tuple[str, ...]
    layouts: tuple[str, ...]


class PoseModel(Protocol):
    """A model held by a worker. It is stateless: a frame's landmarks depend on that frame alone."""

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of the result."""
        ...

    @property
    def batch_size(self) -> int:
        """Frames per call at the most; shards are cut at its multiples."""
        ...

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""
        ...

    def close(self) -> None:
        """Free what the model holds."""
        ...


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What makes two runs of a model comparable; compared field by field when a dataset is resumed.

    Known without loading the model, so the driver can check a resume before it starts an actor.
    """

    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What settings decide about a model, known without loading it; the driver plans with it.

    Attributes:
        layout: Of the landmarks.
        identity: All that the landmarks depend on beside the pixels.
        batch_size: Frames per call; equals `PoseModel.batch_size` of the loaded model.
        uses_gpu: Whether a worker should be given a GPU, or a share of one.
    """

    layout: Layout
    identity: ModelIdentity
    batch_size: int
    uses_gpu: bool


@dataclass(frozen=True, slots=True)
class TrialConditions:
    """What a trial knows of the run that it decides for.

    Attributes:
        images: Frames of the source, at least one, each RGB uint8 (height, width, 3).
        video_frames: How many a worker mostly has of a video at once: of a long video, those of a shard.
        workers_per_gpu: Workers that will share a GPU.
        cpu_workers_per_gpu: Workers there would be for each GPU if they computed on the cluster's CPUs instead.
    """

    images: Sequence[NDArray[np.uint8]]
    video_frames: int
    workers_per_gpu: int
    cpu_workers_per_gpu: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial.

    Attributes:
        settings: To go on with.
        told: What speaks for them, in one line.
    """

    settings: ModelSettings
    told: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Decides what settings leave open by trying it on a worker's GPU, once for a new dataset.

    Attributes:
        candidate: What is tried; the trial needs what a worker with these settings reserves.
        otherwise: What holds where the trial fails. Equal to `candidate` where a worker would fail like the trial.
        untried: What to tell then, before the reason.
        hold: To be called on a machine like those of the workers; it can be pickled.
    """

    candidate: ModelSettings
    otherwise: ModelSettings
    untried: str
    hold: Callable[[TrialConditions], Verdict]


def frames_per_call(settings: ModelSettings, auto: int = 16) -> int:
    """Return the frames to hand to a model at once, `auto` where that is not configured.

    The default is for models that gain nothing from batches; it only bounds the frames held at once.
    """
    if not settings.enable_batching:
        return 1
    return auto if settings.batch_size == "auto" else settings.batch_size
