"""Holistic in the registry: which engine runs it, and what its numbers depend on.

Nothing heavy is imported before `HolisticEntry.create` knows the engine.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import ModelFacts, ModelIdentity, ModelInfo, PoseModel, frames_per_call
from phoenix_ray.models.weights import MEDIAPIPE_VERSION, WEIGHTS, ensure_installed

# Raise it with every change of `models/holistic` that moves a landmark, so that no dataset mixes the two.
PIPELINE_VERSION = "1"


class HolisticEntry:
    """MediaPipe Holistic with 468 or 478 face points."""

    info = ModelInfo(
        name="holistic",
        description="MediaPipe Holistic, each frame on its own: 33 pose, 2 x 21 hand, 468 or 478 face points.",
        engines=("litert", "mediapipe"),
        layouts=("holistic-468", "holistic-478"),
    )

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the layout, and as identity the engine, each setting that shapes a number, each network's sha256."""
        layout = landmarks.holistic(settings.face_points)
        engine = _resolve(settings)
        identity = {
            "model": self.info.name,
            "engine": engine,
            "pipeline_version": MEDIAPIPE_VERSION if engine == "mediapipe" else PIPELINE_VERSION,
            "face_points": str(settings.face_points),
            "heatmap_kernel": str(settings.heatmap_kernel),
            "min_detection_confidence": repr(settings.min_detection_confidence),
            "min_tracking_confidence": repr(settings.min_tracking_confidence),
            **{f"weights.{weight.name}": weight.sha256 for weight in WEIGHTS if layout.name in weight.layouts},
        }
        return ModelFacts(layout, ModelIdentity(identity), frames_per_call(settings), uses_gpu=False)

    def prepare(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Install the weights, or check that the legacy package, which brings its own, is there."""
        if _resolve(settings) == "mediapipe":
            from phoenix_ray.models.mediapipe_reference import require_mediapipe

            require_mediapipe()
        else:
            ensure_installed(settings.weights_path, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the networks."""
        if _resolve(settings) == "mediapipe":
            from phoenix_ray.models.mediapipe_reference import MediapipeHolistic

            return MediapipeHolistic(settings)
        from phoenix_ray.models.holistic.litert import HolisticLitert

        return HolisticLitert(settings, ensure_installed(settings.weights_path))


def _resolve(settings: ModelSettings) -> str:
    return "litert" if settings.engine == "auto" else settings.engine
