"""Holistic in the registry: which engine runs it, and what its numbers depend on.

Nothing heavy is imported before `HolisticEntry.create` knows the engine.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ConfigError, MissingExtraError
from phoenix_ray.models import provenance
from phoenix_ray.models.base import (
    ModelFacts,
    ModelIdentity,
    ModelInfo,
    PoseModel,
    Trial,
    TrialConditions,
    Verdict,
    frames_per_call,
)
from phoenix_ray.models.holistic.batching import batch_size, is_batch_size_open
from phoenix_ray.models.weights import MEDIAPIPE_VERSION, WEIGHTS, ensure_installed

# Raise an engine's with every change of `models/holistic` that moves its landmarks, so that no dataset mixes the two.
PIPELINE_VERSIONS = {"litert": "2", "torch": "3", "mediapipe": MEDIAPIPE_VERSION}


class HolisticEntry:
    """MediaPipe Holistic with 468 or 478 face points."""

    info = ModelInfo(
        name="holistic",
        description="MediaPipe Holistic, each frame on its own: 33 pose, 2 x 21 hand, 468 or 478 face points.",
        engines=("litert", "torch", "mediapipe"),
        layouts=("holistic-468", "holistic-478"),
    )

    def resolve(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with engine and device decided: torch computes on CUDA where there are GPUs."""
        engine, device = _engine(settings), settings.device
        if engine == "torch" and device == "auto":
            device = "cuda" if has_gpu else "cpu"
        return _decided(settings.model_copy(update={"engine": engine, "device": device}))

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the layout, and as identity the engine, each setting that shapes a number, each network's sha256."""
        settings = _decided(settings)
        layout = landmarks.holistic(settings.face_points)
        identity = {
            "model": self.info.name,
            "engine": settings.engine,
            "pipeline_version": PIPELINE_VERSIONS[settings.engine],
            "face_points": str(settings.face_points),
            "heatmap_kernel": str(settings.heatmap_kernel),
            "min_detection_confidence": repr(settings.min_detection_confidence),
            "min_tracking_confidence": repr(settings.min_tracking_confidence),
            **{f"weights.{weight.name}": weight.sha256 for weight in WEIGHTS if layout.name in weight.layouts},
        }
        if settings.engine != "torch" or settings.device == "cpu":
            here = settings.architecture == "auto"
            identity["architecture"] = provenance.architecture() if here else settings.architecture
        if settings.engine == "litert":
            identity["litert"] = provenance.litert_generation()
        if settings.engine != "torch":
            return ModelFacts(layout, ModelIdentity(identity), frames_per_call(settings), uses_gpu=False)
        frames = batch_size(settings)
        identity |= {"device": settings.device, "precision": settings.precision, "batch_size": str(frames)}
        return ModelFacts(layout, ModelIdentity(identity), frames, uses_gpu=settings.device in ("auto", "cuda"))

    def kernels(self, settings: ModelSettings) -> str:
        """Return processor, GPU and libraries that compute on this machine."""
        engine = _decided(settings).engine
        if engine != "torch":
            return provenance.describe_kernels((engine, "numpy", "opencv"))
        from phoenix_ray.models.holistic.torch_engine.device import device_name

        return provenance.describe_kernels(("torch", "numpy", "opencv"), device_name(settings.device))

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return the trial of torch where no setting decides for an engine and there are GPUs, else of its batch size.

        A batch size is tried on CUDA alone: elsewhere batches gain nothing.
        """
        resolved = self.resolve(settings, has_gpu=has_gpu)
        if settings.engine == settings.device == "auto" and resolved.engine == "litert" and has_gpu:
            torch = settings.model_copy(update={"engine": "torch", "device": "cuda"})
            untried = "Engine litert, since torch could not be tried on a GPU (model.engine=torch takes it untried)"
            return Trial(torch, resolved, untried, partial(_try_engine, torch, resolved))
        if resolved.engine == "torch" and resolved.device == "cuda" and is_batch_size_open(resolved):
            untried = f"Batch size {batch_size(resolved)}, since it could not be measured"
            return Trial(resolved, resolved, untried, partial(_try_batch_sizes, resolved))
        return None

    def prepare(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Install the weights, or check that the legacy package, which brings its own, is there."""
        engine = _decided(settings).engine
        if engine == "mediapipe":
            from phoenix_ray.models.mediapipe_reference import require_mediapipe

            require_mediapipe()
            return
        if engine == "torch":
            _require_torch()
        ensure_installed(settings.weights_path, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the networks."""
        settings = _decided(settings)
        if settings.engine == "mediapipe":
            from phoenix_ray.models.mediapipe_reference import MediapipeHolistic

            return MediapipeHolistic(settings)
        if settings.engine == "torch":
            _require_torch()
            from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch

            return HolisticTorch(settings, ensure_installed(settings.weights_path))
        from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert

        return HolisticLitert(settings, ensure_installed(settings.weights_path))


def _try_engine(torch: ModelSettings, litert: ModelSettings, conditions: TrialConditions) -> Verdict:
    _require_torch()
    from phoenix_ray.models.holistic.torch_engine.trial import try_engine

    return try_engine(torch, litert, ensure_installed(torch.weights_path), conditions)


def _try_batch_sizes(settings: ModelSettings, conditions: TrialConditions) -> Verdict:
    _require_torch()
    from phoenix_ray.models.holistic.torch_engine.trial import try_batch_sizes

    return try_batch_sizes(settings, ensure_installed(settings.weights_path), conditions)


def _engine(settings: ModelSettings) -> str:
    if settings.engine != "auto":
        return settings.engine
    # A GPU alone does not decide for torch: it proves itself in a trial (docs/engines.md).
    return "torch" if settings.precision != "exact" or settings.device in ("cuda", "mps") else "litert"


def _decided(settings: ModelSettings) -> ModelSettings:
    """Return the settings with an engine.

    Raises:
        ConfigError: What is asked for is another engine's.
    """
    settings = settings.model_copy(update={"engine": _engine(settings)})
    for name, default in (("precision", "exact"), ("device", "auto")):
        value = getattr(settings, name)
        if settings.engine != "torch" and value not in (default, "cpu"):
            raise ConfigError(
                f"model.{name}={value} is for engine torch, but model.engine={settings.engine}. Leave one of them out."
            )
    return settings


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("model.engine=torch", "torch")
