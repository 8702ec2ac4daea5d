"""A model and its heads as one model: the heads look at the frames in which the model found their part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Head, Layout, Part
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, OverlappingModel, PendingBatch, PoseModel, TrackingModel
from phoenix_ray.models.heads.crops import Image, Points, cut_square, square_around
from phoenix_ray.models.heads.head_reader import HeadReader
from phoenix_ray.models.heads.outputs import Floats
from phoenix_ray.models.onnx.manifest import HeadManifest

# Inputs that are in memory at once: 12 MB of EmoNet's.
CROPS_AT_ONCE = 16


class LoadedHead:
    """A head that is ready to look.

    Args:
        head: What the layout says of it.
        part: The part that it looks at.
        manifest: Its crop, input and decoder.
        path: Its network's file.
        settings: Threads.

    Raises:
        MissingExtraError, ModelError: As `HeadReader`.
    """

    def __init__(self, head: Head, part: Part, manifest: HeadManifest, path: Path, settings: ModelSettings) -> None:
        self.head = head
        self._part = part
        self._manifest = manifest
        self._reader = HeadReader(manifest, path, settings)

    def look(self, images: Sequence[Image], points: Points) -> Floats:
        """Return a row for each of N frames, float32 (N, `Head.width`), NaN where the part is missing.

        Args:
            images: RGB images, each uint8 (height, width, 3).
            points: The part's points, float32 (N, points, axes).
        """
        rows = np.full((len(images), self.head.width), np.nan, np.float32)
        form, scale = self._manifest.input, self._manifest.crop.scale
        squares = [square_around(self._part, of_frame) for of_frame in points]
        found = [row for row, square in enumerate(squares) if square is not None]
        for first in range(0, len(found), CROPS_AT_ONCE):
            some = found[first : first + CROPS_AT_ONCE]
            crops = [
                cut_square(images[row], square, scale, form) for row in some if (square := squares[row]) is not None
            ]
            rows[some] = self._reader.read(crops)
        return rows


class ModelWithHeads:
    """A `PoseModel` whose batches also hold what heads say.

    Args:
        model: Finds the landmarks.
        layout: Its layout with the heads.
        heads: The heads, loaded.
    """

    def __init__(self, model: PoseModel, layout: Layout, heads: Sequence[LoadedHead]) -> None:
        self.layout = layout
        self.batch_size = model.batch_size
        self._model = model
        self._heads = heads

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return landmarks and heads of RGB images, each uint8 (height, width, 3); sizes may differ."""
        return self._look(images, self._model.estimate(images))

    def close(self) -> None:
        """Free model and heads."""
        self._heads = ()
        self._model.close()

    def _look(self, images: Sequence[NDArray[np.uint8]], batch: LandmarkBatch) -> LandmarkBatch:
        found = {loaded.head.name: loaded.look(images, batch.points[loaded.head.part]) for loaded in self._heads}
        return replace(batch, heads=found)


class OverlappingModelWithHeads(ModelWithHeads):
    """An `OverlappingModel` whose batches also hold what heads say: they look while the device computes the next."""

    def __init__(self, model: OverlappingModel, layout: Layout, heads: Sequence[LoadedHead]) -> None:
        super().__init__(model, layout, heads)
        self._overlapping = model

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> PendingBatch:
        """Begin a batch; see `OverlappingModel`."""
        return _PendingHeads(self._overlapping.begin(images), partial(self._look, images))


@dataclass(frozen=True, slots=True)
class _PendingHeads:
    """A `PendingBatch` of landmarks, at which heads look when it is taken."""

    pending: PendingBatch
    look: Callable[[LandmarkBatch], LandmarkBatch]

    def result(self) -> LandmarkBatch:
        return self.look(self.pending.result())

    def abandon(self) -> None:
        self.pending.abandon()


class TrackingModelWithHeads(ModelWithHeads):
    """A `TrackingModel` whose batches also hold what heads say. Heads remember nothing: the states are the model's."""

    def __init__(self, model: TrackingModel, layout: Layout, heads: Sequence[LoadedHead]) -> None:
        super().__init__(model, layout, heads)
        self.state_size = model.state_size
        self._tracker = model

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return landmarks and heads of the next frame of each video, and the states after it; see `TrackingModel`."""
        batch, after = self._tracker.track(images, states)
        return self._look(images, batch), after
