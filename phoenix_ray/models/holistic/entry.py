"""Holistic and Pose in the registry: their engines, which settings choose which, and what their numbers depend on.

Nothing heavy is imported before a method of an engine needs it: the driver plans without torch, LiteRT or MediaPipe.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from phoenix_ray.errors import ConfigError, MissingExtraError
from phoenix_ray.layouts import BLAZEPOSE
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import (
    ModelFacts,
    ModelInfo,
    PoseModel,
    Trial,
    TrialConditions,
    TrialDecision,
    frames_per_call,
)
from phoenix_ray.models.holistic.batching import batch_size, is_batch_size_open, tracking_batch_size
from phoenix_ray.models.holistic.kernel_choice import kernels_of
from phoenix_ray.models.holistic.networks import layout_of
from phoenix_ray.models.weight_files import MEDIAPIPE_VERSION, WEIGHTS
from phoenix_ray.models.weights import ensure_installed

_ENGINES = ("litert", "torch", "mediapipe")
HOLISTIC = ModelInfo(
    name="holistic",
    description="MediaPipe Holistic, static or tracking: 33 pose, 2 x 21 hand, 468 or 478 face points.",
    engines=_ENGINES,
    layouts=("holistic-468", "holistic-478"),
)
POSE_ALONE = ModelInfo(
    name="blazepose",
    description="MediaPipe Pose, static or tracking: the 33 points of Holistic's pose, without hands and face.",
    engines=_ENGINES,
    layouts=(BLAZEPOSE.name,),
)


class HolisticEntry:
    """A model of MediaPipe; a `registry.ModelEntry`.

    Attributes:
        info: `HOLISTIC` or `POSE_ALONE`.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with engine and device decided: torch computes on CUDA where there are GPUs."""
        engine = _choose_engine(settings)
        device = engine.choose_device(settings, has_gpu)
        return settings.model_copy(update={"engine": engine.name, "device": device})

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return the trial of the chosen engine: of torch in place of litert, or of a batch size for torch."""
        resolved = self.resolve_auto(settings, has_gpu=has_gpu)
        return _choose_engine(resolved).trial(settings, resolved, has_gpu)

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the facts; the identity holds the engine, settings that shape a number, and each network's sha256."""
        engine = _choose_engine(settings)
        layout = layout_of(settings)
        identity = {
            "model": self.info.name,
            "engine": engine.name,
            "pipeline_version": engine.pipeline_version,
            **({"face_points": str(settings.face_points)} if self.info is HOLISTIC else {}),
            # Datasets from before there was a choice do not have it.
            **({"complexity": str(settings.complexity)} if settings.complexity != 1 else {}),
            "heatmap_kernel": str(settings.heatmap_kernel),
            "min_detection_confidence": repr(settings.min_detection_confidence),
            "min_tracking_confidence": repr(settings.min_tracking_confidence),
            **_mode(settings),
            **{f"weights.{weight.name}": weight.sha256 for weight in WEIGHTS if weight.is_needed(settings)},
            **engine.identity(settings),
        }
        tracks = settings.mode == "tracking"
        whole_videos = tracks and engine.name == "mediapipe"
        return ModelFacts(
            layout, identity, engine.batch_size(settings), engine.uses_gpu(settings), tracks, whole_videos
        )

    def kernels(self, settings: ModelSettings) -> str:
        """Return processor, GPU and libraries that compute on this machine."""
        engine = _choose_engine(settings)
        return provenance.describe_kernels((*engine.libraries(settings), "numpy", "opencv"), engine.gpu_name(settings))

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Check the engine's packages and install its weights."""
        _choose_engine(settings).ensure_ready(settings, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the networks."""
        return _choose_engine(settings).create(settings)


class _Engine:
    """What the entry asks of an engine. The defaults are right for engines that compute on CPUs alone.

    Attributes:
        name: Value of `model.engine`, and the library's name in `provenance`.
        pipeline_version: Raise it with every change of `models/holistic` that moves this engine's landmarks, so that no
            dataset mixes old and new ones.
    """

    name: ClassVar[str]
    pipeline_version: ClassVar[str]

    def check(self, settings: ModelSettings) -> None:
        """Raise ConfigError where the settings ask for something that only another engine can do."""
        for name, possible in (("precision", ("exact",)), ("device", ("auto", "cpu")), ("kernels", ("auto",))):
            value = getattr(settings, name)
            if value not in possible:
                raise ConfigError(
                    f"model.{name}={value} is for engine torch, but model.engine={self.name}. Leave one of them out."
                )

    def choose_device(self, settings: ModelSettings, has_gpu: bool) -> str:  # noqa: ARG002 - for engines on GPUs
        """Return `model.device` with 'auto' decided where the engine's numbers depend on it."""
        return settings.device

    def trial(self, settings: ModelSettings, resolved: ModelSettings, has_gpu: bool) -> Trial | None:
        """Return what to try on a GPU before a new dataset is begun; `resolved` is what runs if nothing is tried."""

    def identity(self, settings: ModelSettings) -> Mapping[str, str]:
        """Return the identity fields that this engine adds, in the order in which datasets record them."""
        return _architecture(settings)

    def libraries(self, settings: ModelSettings) -> tuple[str, ...]:  # noqa: ARG002 - for engines with a choice
        """Return the libraries that run the networks, as `provenance` names them."""
        return (self.name,)

    def batch_size(self, settings: ModelSettings) -> int:
        """Return the frames per call, in tracking mode the videos per call."""
        return tracking_batch_size(settings) if settings.mode == "tracking" else frames_per_call(settings)

    def uses_gpu(self, settings: ModelSettings) -> bool:  # noqa: ARG002 - for engines on GPUs
        """Return whether a worker needs a GPU."""
        return False

    def gpu_name(self, settings: ModelSettings) -> str:  # noqa: ARG002 - for engines on GPUs
        """Return the name of the GPU that computes on this machine, empty for the CPU."""
        return ""

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Install the weights."""
        ensure_installed(settings, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the engine."""
        raise NotImplementedError


class _Litert(_Engine):
    name = "litert"
    pipeline_version = "2"

    def trial(self, settings: ModelSettings, resolved: ModelSettings, has_gpu: bool) -> Trial | None:
        """Return the trial of torch where no setting decides for an engine and there are GPUs."""
        if settings.mode == "tracking" or not (settings.engine == settings.device == "auto" and has_gpu):
            return None
        torch = settings.model_copy(update={"engine": "torch", "device": "cuda"})
        notice = "Engine litert, since torch could not be tried on a GPU (model.engine=torch takes it untried)"
        return Trial(torch, resolved, notice, partial(_try_engine, torch, resolved))

    def identity(self, settings: ModelSettings) -> Mapping[str, str]:
        return {**_architecture(settings), "litert": provenance.litert_generation()}

    def create(self, settings: ModelSettings) -> PoseModel:
        from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert, HolisticLitertTracking

        engine = HolisticLitertTracking if settings.mode == "tracking" else HolisticLitert
        return engine(settings, ensure_installed(settings))


class _Torch(_Engine):
    name = "torch"
    pipeline_version = "3"

    def check(self, settings: ModelSettings) -> None:
        """Refuse kernels that do not compute on the device; what else the device cannot do, `create` refuses."""
        kernels_of(settings, settings.device)

    def choose_device(self, settings: ModelSettings, has_gpu: bool) -> str:
        if settings.device != "auto":
            return settings.device
        return "cuda" if has_gpu else "cpu"

    def trial(self, settings: ModelSettings, resolved: ModelSettings, has_gpu: bool) -> Trial | None:  # noqa: ARG002
        """Return the trial of batch sizes on CUDA; on other devices batches gain nothing."""
        if settings.mode == "tracking" or resolved.device != "cuda" or not is_batch_size_open(resolved):
            return None
        notice = f"Batch size {batch_size(resolved)}, since it could not be measured"
        return Trial(resolved, resolved, notice, partial(_try_batch_sizes, resolved))

    def identity(self, settings: ModelSettings) -> Mapping[str, str]:
        return {
            **(_architecture(settings) if settings.device == "cpu" else {}),
            "device": settings.device,
            "precision": settings.precision,
            "batch_size": str(batch_size(settings)),
            # Datasets from before there was a choice do not have it, and those that a CPU computes.
            **({"kernels": "triton"} if self._has_own_kernels(settings) else {}),
        }

    def libraries(self, settings: ModelSettings) -> tuple[str, ...]:
        return ("torch", "triton") if self._has_own_kernels(settings) else ("torch",)

    @staticmethod
    def _has_own_kernels(settings: ModelSettings) -> bool:
        return kernels_of(settings, settings.device) == "triton"

    def batch_size(self, settings: ModelSettings) -> int:
        return batch_size(settings)

    def uses_gpu(self, settings: ModelSettings) -> bool:
        return settings.device in ("auto", "cuda")

    def gpu_name(self, settings: ModelSettings) -> str:
        from phoenix_ray.models.holistic.torch_engine.device import device_name

        return device_name(settings.device)

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        _require_torch()
        super().ensure_ready(settings, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        _require_torch()
        from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch, HolisticTorchTracking

        engine = HolisticTorchTracking if settings.mode == "tracking" else HolisticTorch
        return engine(settings, ensure_installed(settings))


class _Mediapipe(_Engine):
    name = "mediapipe"
    pipeline_version = MEDIAPIPE_VERSION

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:  # noqa: ARG002
        """Check that the legacy package is installed; it brings its own weights."""
        from phoenix_ray.models.mediapipe_reference import require_mediapipe

        require_mediapipe()

    def create(self, settings: ModelSettings) -> PoseModel:
        from phoenix_ray.models.mediapipe_reference import MediapipeHolistic, MediapipeHolisticTracking

        return (MediapipeHolisticTracking if settings.mode == "tracking" else MediapipeHolistic)(settings)


def _choose_engine(settings: ModelSettings) -> _Engine:
    """Return the engine that the settings name, or that 'auto' means for their device, precision and kernels.

    Raises:
        ConfigError: The settings ask for something that only another engine can do.
    """
    match settings.engine:
        case "torch":
            engine: _Engine = _Torch()
        case "mediapipe":
            engine = _Mediapipe()
        case "litert":
            engine = _Litert()
        case "auto":
            # A GPU alone does not decide for torch: torch has to pass a trial first (docs/engines.md).
            asks_for_torch = settings.precision != "exact" or settings.kernels != "auto"
            is_for_torch = asks_for_torch or settings.device in ("cuda", "mps")
            engine = _Torch() if is_for_torch else _Litert()
    engine.check(settings)
    return engine


def _mode(settings: ModelSettings) -> dict[str, str]:
    """Return the identity fields of tracking mode; datasets without them are static."""
    if settings.mode == "static":
        return {}
    return {"mode": settings.mode, "smooth_landmarks": str(settings.smooth_landmarks).lower()}


def _architecture(settings: ModelSettings) -> dict[str, str]:
    here = settings.architecture == "auto"
    return {"architecture": provenance.architecture() if here else provenance.without_vectors(settings.architecture)}


def _try_engine(torch: ModelSettings, litert: ModelSettings, conditions: TrialConditions) -> TrialDecision:
    _require_torch()
    from phoenix_ray.models.holistic.torch_engine.trial import try_engine

    return try_engine(torch, litert, ensure_installed(torch), conditions)


def _try_batch_sizes(settings: ModelSettings, conditions: TrialConditions) -> TrialDecision:
    _require_torch()
    from phoenix_ray.models.holistic.torch_engine.trial import try_batch_sizes

    return try_batch_sizes(settings, ensure_installed(settings), conditions)


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("model.engine=torch", "torch")
