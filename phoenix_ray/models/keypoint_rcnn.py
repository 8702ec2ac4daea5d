"""Torchvision's KeypointRCNN in the registry: what its settings determine before it is loaded, and its weights.

Its weights are not ours to ship and lie in no package: the user brings torchvision's file COCO_V1. Like torchvision we
know it by its name, which ends with the first eight digits of its sha256. `keypoint_rcnn_network` runs the network.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from phoenix_ray.errors import ConfigError, MissingExtraError, ModelError
from phoenix_ray.layouts import COCO_17
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import ModelFacts, ModelInfo, PoseModel, frames_per_call
from phoenix_ray.models.weights import weights_folder

KEYPOINT_RCNN_ENGINE = "torchvision"
# `KeypointRCNN_ResNet50_FPN_Weights.COCO_V1` of torchvision 0.28: 226 MB, keypoint AP 65.0 on COCO.
KEYPOINT_RCNN_FILE = "keypointrcnn_resnet50_fpn_coco-fc266e95.pth"
KEYPOINT_RCNN_URL = f"https://download.pytorch.org/models/{KEYPOINT_RCNN_FILE}"
# The first digits of its sha256; `torch.hub` checks these, too.
SHA256_BEGINS = "fc266e95"
# Raise it with every change of this package that moves a landmark of the model.
_PIPELINE_VERSION = "1"
# A frame of 210x260 becomes 800x992: 134 GFLOP. More at once are no faster on a CPU.
_BATCH_ON_GPU, _BATCH_ON_CPU = 8, 1


class KeypointRcnnEntry:
    """KeypointRCNN with a ResNet-50 and a feature pyramid; a `registry.ModelEntry`."""

    info = ModelInfo(
        name="keypointrcnn",
        description="Torchvision's KeypointRCNN (ResNet-50 FPN): the 17 points of COCO's body. Slow on a CPU. Bring "
        "its weights yourself (docs/models.md).",
        engines=(KEYPOINT_RCNN_ENGINE,),
        layouts=(COCO_17.name,),
    )

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with engine and device decided."""
        if settings.mode == "tracking":
            raise ConfigError("model.mode=tracking is for holistic and blazepose: keypointrcnn estimates each frame.")
        if settings.precision != "exact":
            raise ConfigError(f"model.precision={settings.precision} is not for keypointrcnn, which computes exactly.")
        if settings.kernels != "auto":
            raise ConfigError(f"model.kernels={settings.kernels} is for MediaPipe's models: leave it out.")
        if settings.device == "mps":
            raise ConfigError("model.device=mps is not for keypointrcnn: use cpu or cuda.")
        device = ("cuda" if has_gpu else "cpu") if settings.device == "auto" else settings.device
        return settings.model_copy(update={"engine": KEYPOINT_RCNN_ENGINE, "device": device})

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> None:
        """Return None: there is nothing to try."""

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the facts. Unlike those of other engines, they need the packages on the driver, for their versions.

        Raises:
            MissingExtraError: torch or torchvision is not installed here.
        """
        _require_packages()
        on_cpu = settings.device == "cpu"
        here = settings.architecture == "auto"
        size = keypoint_rcnn_batch_size(settings)
        identity = {
            "model": self.info.name,
            "engine": KEYPOINT_RCNN_ENGINE,
            "pipeline_version": _PIPELINE_VERSION,
            "min_detection_confidence": repr(settings.min_detection_confidence),
            "weights": SHA256_BEGINS,
            **({"architecture": provenance.vector_architecture() if here else settings.architecture} if on_cpu else {}),
            "device": settings.device,
            "batch_size": str(size),
            "torch": _release("torch"),
            "torchvision": _release("torchvision"),
        }
        return ModelFacts(COCO_17, identity, size, uses_gpu=settings.device in ("auto", "cuda"))

    def kernels(self, settings: ModelSettings) -> str:
        """Return processor, GPU and libraries that compute on this machine."""
        from phoenix_ray.models.holistic.torch_engine.device import device_name

        return provenance.describe_kernels(("torch", "torchvision", "numpy"), device_name(settings.device))

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:  # noqa: ARG002
        """Check that the packages are installed and the weights are there and whole."""
        _require_packages()
        find_keypoint_rcnn(settings)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the network."""
        _require_packages()
        from phoenix_ray.models.keypoint_rcnn_network import KeypointRcnn

        return KeypointRcnn(settings, find_keypoint_rcnn(settings))


def keypoint_rcnn_batch_size(settings: ModelSettings) -> int:
    """Return the frames per call."""
    return frames_per_call(settings, _BATCH_ON_CPU if settings.device == "cpu" else _BATCH_ON_GPU)


def find_keypoint_rcnn(settings: ModelSettings) -> Path:
    """Return the file of weights in the weights folder.

    Raises:
        ModelError: It is not there, cannot be read, or holds other bytes.
    """
    path = weights_folder(settings.weights_path) / KEYPOINT_RCNN_FILE
    if not path.exists():
        raise ModelError(
            f"{path} is not there. Fetch {KEYPOINT_RCNN_URL} (226 MB; torchvision states no licence for it), and "
            f"`phoenix-ray models install --from {KEYPOINT_RCNN_FILE}`."
        )
    _check(path)
    return path


def install_keypoint_rcnn(source: str, folder: Path) -> Path:
    """Copy the user's file of weights into the weights folder, and return its path there.

    Raises:
        ModelError: It cannot be read, holds other bytes, or cannot be copied.
    """
    given, target = Path(source).expanduser(), folder / KEYPOINT_RCNN_FILE
    _check(given)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given, temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ModelError(f"{given} cannot be copied to {folder}: {error.strerror}.") from None
    return target


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    if not digest.hexdigest().startswith(SHA256_BEGINS):
        raise ModelError(
            f"{path} is not torchvision's file or is damaged: its sha256 is {digest.hexdigest()}, which should begin "
            f"with {SHA256_BEGINS}. Fetch it again: {KEYPOINT_RCNN_URL}."
        )


def _require_packages() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision")):
        raise MissingExtraError("model.name=keypointrcnn", "torchvision")


def _release(package: str) -> str:
    """Return the version of an installed package without the name of its build, `+cpu` or `+cu128`."""
    return importlib.metadata.version(package).partition("+")[0]
