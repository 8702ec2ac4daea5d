"""The engine `mediapipe`: the legacy `mp.solutions`; the reference of every other engine.

`holistic.entry` creates it for `model.engine=mediapipe`; `benchmarks.parity` and the golden files compare against it.
It needs the extra [mediapipe], which pins numpy<2 and therefore needs its own environment (`make reference`).

Even with `static_image_mode=True` MediaPipe keeps the hand and face regions of the previous image and reuses them where
they fit, so its results depend on the order of calls. `reset()` before each image rebuilds the graph and prevents that,
at about double the time. In tracking mode it is reset before each video.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.layouts import BLAZEPOSE, Part
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, frames_per_call
from phoenix_ray.models.holistic.batching import tracking_batch_size
from phoenix_ray.models.holistic.networks import layout_of
from phoenix_ray.models.weight_files import MEDIAPIPE_VERSION, WEIGHTS
from phoenix_ray.models.weights import ensure_installed, write_whole

# Field of MediaPipe's result that holds each part.
_RESULT_FIELDS = {
    "pose": "pose_landmarks",
    "pose_world": "pose_world_landmarks",
    "left_hand": "left_hand_landmarks",
    "right_hand": "right_hand_landmarks",
    "face": "face_landmarks",
}

# MediaPipe's graph file asks for a heat-map window of 7. Its Python layer copies the graph through protobuf and loses
# options of types that were never imported, so the default of 9 applies, unless this module was imported first.
_KERNEL_OPTIONS = "mediapipe.calculators.util.refine_landmarks_from_heatmap_calculator_pb2"


class MediapipeHolistic:
    """MediaPipe Holistic, or Pose alone, reset before each image.

    MediaPipe does not return the networks' presence scores: `LandmarkBatch.scores` is NaN throughout.

    Raises:
        MissingExtraError: MediaPipe is not installed.
        ModelError: Another version is installed, this process can no longer use the configured heat-map kernel, or
            MediaPipe's folder has another pose network than our engines, and none can be put there.
    """

    def __init__(self, settings: ModelSettings) -> None:
        require_mediapipe()
        _choose_heatmap_kernel(settings.heatmap_kernel)
        _bring_pose_network(settings)
        self.layout = layout_of(settings)
        self.batch_size = frames_per_call(settings)
        self._graph = _make_graph(settings)

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""
        return self._to_batch([self._process(image) for image in images])

    def _to_batch(self, results: Sequence[Any]) -> LandmarkBatch:
        points = {
            part.name: np.array(
                [_points(part, getattr(result, _RESULT_FIELDS[part.name])) for result in results], np.float32
            ).reshape(len(results), len(part.points), len(part.axes))
            for part in self.layout.parts
        }
        unknown = np.full(len(results), np.nan, np.float32)
        return LandmarkBatch(points, {part.name: unknown for part in self.layout.parts if part.scored})

    def close(self) -> None:
        """Stop MediaPipe's graph."""
        self._graph.close()

    def _process(self, image: NDArray[np.uint8]) -> Any:
        self._graph.reset()
        return self._graph.process(np.ascontiguousarray(image))


class MediapipeHolisticTracking(MediapipeHolistic):
    """MediaPipe Holistic with `static_image_mode=False`, like a fresh instance for each video; a `TrackingModel`.

    MediaPipe gives no access to what it remembers, so a state only says which frame of which video came last, and no
    other process can go on from it.
    """

    state_size = 2

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.batch_size = tracking_batch_size(settings)
        # A number drawn for the last video that was begun, and its frames so far.
        self._last = (0, 0)

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of a video, and its state after it.

        Args:
            images: One RGB image, uint8 (height, width, 3).
            states: float32 (1, 2).

        Raises:
            ModelError: The state is not that after the last frame that this model has seen.
        """
        if len(images) != 1:
            raise ValueError(f"engine mediapipe tracks one video at a time, not {len(images)}")
        video, frames = self._last
        if np.isnan(states).all():
            self._graph.reset()
            # float32 holds integers of 24 bits exactly.
            video, frames = secrets.randbelow(1 << 24), 0
        elif states[0].tolist() != [video, frames]:
            raise ModelError(
                "model.engine=mediapipe cannot go on in the middle of a video, since MediaPipe keeps what it remembers "
                "to itself. Take another engine."
            )
        result = self._graph.process(np.ascontiguousarray(images[0]))
        self._last = (video, frames + 1)
        return self._to_batch([result]), np.array([self._last], np.float32)


def require_mediapipe() -> None:
    """Raise MissingExtraError if MediaPipe is not installed, ModelError if it is another version."""
    if importlib.util.find_spec("mediapipe") is None:
        raise MissingExtraError("model.engine=mediapipe", "mediapipe")
    found = importlib.metadata.version("mediapipe")
    if found != MEDIAPIPE_VERSION:
        raise ModelError(
            f"model.engine=mediapipe needs mediapipe {MEDIAPIPE_VERSION}, but {found} is installed, which gives other "
            f"landmarks or has no `solutions`: pip install mediapipe=={MEDIAPIPE_VERSION}"
        )


def _make_graph(settings: ModelSettings) -> Any:
    options = {
        "static_image_mode": settings.mode == "static",
        "smooth_landmarks": settings.smooth_landmarks,
        "model_complexity": settings.complexity,
        "min_detection_confidence": settings.min_detection_confidence,
        "min_tracking_confidence": settings.min_tracking_confidence,
    }
    if settings.name == BLAZEPOSE.name:
        from mediapipe.python.solutions.pose import Pose

        return Pose(**options)
    from mediapipe.python.solutions.holistic import Holistic

    return Holistic(refine_face_landmarks=settings.face_points == 478, **options)


def _bring_pose_network(settings: ModelSettings) -> None:
    """Put a pose network that the wheel lacks where MediaPipe looks for it, which would download it unchecked.

    At its address for lite there has been another network since 2023 (docs/models.md).
    """
    for weight in WEIGHTS:
        if not (weight.url and weight.is_needed(settings)):
            continue
        spec = importlib.util.find_spec("mediapipe")
        if spec is None or spec.origin is None:
            raise MissingExtraError("model.engine=mediapipe", "mediapipe")
        target = Path(spec.origin).parents[1] / weight.member
        if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == weight.sha256:
            continue
        if target.exists():
            raise ModelError(
                f"{target} is another network than that of model.complexity={settings.complexity}. MediaPipe may have "
                "downloaded it: delete it, and the next run puts the right one there."
            )
        source = ensure_installed(settings) / weight.file_name
        try:
            write_whole(target, source.read_bytes())
        except OSError as error:
            raise ModelError(
                f"MediaPipe looks for the network of model.complexity={settings.complexity} at {target}, where it "
                f"cannot be written ({error.strerror}): copy {source} there."
            ) from None


def _choose_heatmap_kernel(kernel: int) -> None:
    if kernel == 7:
        importlib.import_module(_KERNEL_OPTIONS)
    elif _KERNEL_OPTIONS in sys.modules:
        raise ModelError(
            f"This process can no longer use model.heatmap_kernel=9: {_KERNEL_OPTIONS} has been imported "
            "(model.heatmap_kernel=7 does that), which sets 7 until the process ends. Use another process."
        )


def _points(part: Part, found: Any) -> list[list[float]]:
    if found is None:
        return [[np.nan] * len(part.axes)] * len(part.points)
    return [[getattr(point, axis) for axis in part.axes] for point in found.landmark]
