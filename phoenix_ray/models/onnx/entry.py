"""Networks in ONNX files in the registry: what their settings and manifests determine before they are loaded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import ModelFacts, ModelInfo, PoseModel, Trial
from phoenix_ray.models.onnx.boxes import box_rule
from phoenix_ray.models.onnx.catalog import LocatedManifest, find_manifest
from phoenix_ray.models.onnx.manifest import DetectorManifest, NetworkFile, PoseManifest
from phoenix_ray.models.onnx.network_identity import ENGINE, network_identity
from phoenix_ray.models.onnx.network_layout import layout_of_manifest
from phoenix_ray.models.onnx.portable import architecture_for
from phoenix_ray.models.onnx.session import frames_at_once, require_onnxruntime
from phoenix_ray.models.weights import ensure_installed

# Settings of other models → what the manifest has in their place; whoever changes them expects an effect.
_OF_OTHER_MODELS = {
    "kernels": "onnxruntime has its own",
    "complexity": "take the manifest of a larger or smaller network",
    "min_tracking_confidence": "missing_below in the manifest says when a part is missing",
}


class OnnxEntry:
    """A network of the user's, by its manifest; a `registry.ModelEntry`.

    Args:
        located: Its manifest.

    Raises:
        ConfigError: The manifest is not that of a network that finds points, or names no known layout.
    """

    def __init__(self, located: LocatedManifest) -> None:
        if not isinstance(located.manifest, PoseManifest):
            raise ConfigError(
                f"{located.path} describes a {located.manifest.kind}, not a model that finds points (model.name)."
            )
        self._located = located
        self._manifest = located.manifest
        self._layout = layout_of_manifest(located.manifest)
        self.info = ModelInfo(self._manifest.name, self._manifest.description, (ENGINE,), (self._layout.name,))

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with engine, device, box and architecture decided.

        A GPU is taken if there is one and the onnxruntime where the run starts is the one for CUDA.
        """
        device = settings.device
        if device == "auto":
            device = "cuda" if has_gpu and _is_for_cuda() else "cpu"
        decided = {"engine": ENGINE, "device": device, "box": box_rule(self._manifest, settings)}
        resolved = settings.model_copy(update=decided)
        self._check(resolved)
        if device == "cpu" and settings.architecture == "auto":
            detector = self._located_detector(resolved)
            networks = [self._path(resolved), *([detector[1].network] if detector else [])]
            resolved = resolved.model_copy(update={"architecture": architecture_for(networks)})
        return resolved

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return None: there is nothing to try."""

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the facts; the identity holds every field of the manifests that moves a landmark."""
        self._check(settings)
        identity = network_identity(self._manifest, self._file(settings), self._detector(settings), settings)
        return ModelFacts(self._layout, identity, frames_at_once(settings), settings.device == "cuda")

    def kernels(self, settings: ModelSettings) -> str:
        """Return processor, GPU and libraries that compute on this machine."""
        from phoenix_ray.models.onnx.providers import gpu_name

        litert = ("litert",) if box_rule(self._manifest, settings) == "blazepose" else ()
        return provenance.describe_kernels(("onnxruntime", "numpy", "opencv", *litert), gpu_name(settings.device))

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Check that onnxruntime is installed and the files are those of the manifests; install the box's weights."""
        require_onnxruntime()
        self._check(settings)
        refuse_other_file(self._located, self._file(settings), self._path(settings))
        detector = self._located_detector(settings)
        if detector is not None:
            manifest, located = detector
            refuse_other_file(located, manifest.weights, located.network)
        if box_rule(self._manifest, settings) == "blazepose":
            ensure_installed(settings, announce)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the network."""
        from phoenix_ray.models.onnx.engine import OnnxModel

        self.ensure_ready(settings, print)
        return OnnxModel(self._manifest, self._path(settings), settings)

    def _check(self, settings: ModelSettings) -> None:
        """Raise ConfigError where settings contradict each other or the manifest."""
        name = self._manifest.name
        if settings.mode != "static":
            raise ConfigError(
                f"model.mode={settings.mode}, but {name} sees each frame on its own: only MediaPipe's models track. "
                "Leave model.mode out, or use model.name=holistic or blazepose."
            )
        for field, instead in _OF_OTHER_MODELS.items():
            if getattr(settings, field) != ModelSettings.model_fields[field].default:
                raise ConfigError(
                    f"model.{field} is for MediaPipe's models, but model.name={name}. Leave it out: {instead}."
                )
        box = box_rule(self._manifest, settings)
        if box != "blazepose" and settings.min_detection_confidence != _default("min_detection_confidence"):
            raise ConfigError(
                f"model.min_detection_confidence is for model.box=blazepose, but model.box={box}. Leave it out: a "
                "detector's manifest has min_score, and the model's missing_below."
            )
        if settings.detector and box != "detector":
            raise ConfigError(
                f"model.detector={settings.detector}, but model.box={box}. Use model.box=detector, or leave it out."
            )
        if settings.precision == "tf32" and settings.device != "cuda":
            raise ConfigError(
                f"model.precision=tf32 is for NVIDIA's GPUs, but model.device={settings.device}. Use "
                "model.device=cuda, or model.precision=exact."
            )
        self._file(settings)
        self._located_detector(settings)

    def _file(self, settings: ModelSettings) -> NetworkFile:
        """Return the manifest's file for `model.precision`; raise ConfigError where it names none."""
        if settings.precision != "fp16":
            return self._manifest.weights
        if self._manifest.fp16 is None:
            raise ConfigError(
                f"model.precision=fp16, but {self._located.path} names no file in half precision (fp16). Convert the "
                "network and add its file to the manifest, or use model.precision=exact."
            )
        return self._manifest.fp16

    def _path(self, settings: ModelSettings) -> Path:
        half = self._located.fp16_network if settings.precision == "fp16" else None
        return half or self._located.network

    def _detector(self, settings: ModelSettings) -> DetectorManifest | None:
        found = self._located_detector(settings)
        return found[0] if found else None

    def _located_detector(self, settings: ModelSettings) -> tuple[DetectorManifest, LocatedManifest] | None:
        """Return the detector, None where the box needs none; raise ConfigError where there is no such manifest."""
        if box_rule(self._manifest, settings) != "detector":
            return None
        from phoenix_ray.models.onnx.detector_boxes import find_detector

        return find_detector(settings)


def onnx_entry(settings: ModelSettings, others: Sequence[str] = ()) -> OnnxEntry:
    """Return the entry of the network that `model.name` names.

    Args:
        settings: Name the network.
        others: Names of models without a manifest.

    Raises:
        ConfigError: There is no such network, or it has the name of another model.
    """
    located = find_manifest(settings.name, settings.weights_path, others, kind="pose")
    if located.manifest.name in others:
        raise ConfigError(
            f"{located.path} is called '{located.manifest.name}' (name), as a model of phoenix_ray is: a later run "
            "would find that one. Choose another name."
        )
    return OnnxEntry(located)


def refuse_other_file(located: LocatedManifest, file: NetworkFile, path: Path) -> None:
    """Raise ModelError where a network's file is missing on this machine, or is another than its manifest's."""
    way_out = f"Every node needs the file: `phoenix-ray models add` puts it there ({located.manifest.source})."
    if not file.sha256:
        raise ModelError(
            f"The network of {located.manifest.name} is not on {platform.node()}: its manifest {located.path} names no "
            f"sha256 yet. {way_out}"
        )
    try:
        digest = hashlib.sha256()
        with path.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"{path} cannot be read on {platform.node()} ({error.strerror}). {way_out}") from None
    found = digest.hexdigest()
    if found != file.sha256:
        raise ModelError(
            f"{path} on {platform.node()} has the sha256 {found}, but its manifest {located.path} says {file.sha256} "
            f"(weights.sha256). {way_out}"
        )


def _is_for_cuda() -> bool:
    return next(iter(importlib.metadata.distributions(name="onnxruntime-gpu")), None) is not None


def _default(field: str) -> object:
    return ModelSettings.model_fields[field].default
