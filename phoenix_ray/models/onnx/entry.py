"""Networks in ONNX files in the registry: what their settings and manifests determine before they are loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.layouts import LAYOUTS, Layout, Part
from phoenix_ray.layouts.coco import IMAGE_AXES
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import ModelFacts, ModelInfo, PoseModel, Trial, frames_per_call
from phoenix_ray.models.onnx.catalog import LocatedManifest, find_manifest
from phoenix_ray.models.onnx.manifest import NetworkFile, PoseManifest
from phoenix_ray.setting_types import Section

ENGINE = "onnx"
# Raise it with every change of `models/onnx` that moves a landmark.
PIPELINE_VERSION = "1"
# Texts for people: they change no landmark.
_NOT_COMPARED = {"name", "description", "license", "source", "weights", "fp16", "kind"}


class OnnxEntry:
    """A network of the user's, by its manifest; a `registry.ModelEntry`.

    Args:
        located: Its manifest.
    """

    def __init__(self, located: LocatedManifest) -> None:
        if not isinstance(located.manifest, PoseManifest):
            raise ConfigError(
                f"{located.path} describes a {located.manifest.kind}, not a model that finds points (model.name)."
            )
        self._located = located
        self._manifest = located.manifest
        self.info = ModelInfo(
            self._manifest.name, self._manifest.description, (ENGINE,), (layout_of_manifest(self._manifest).name,)
        )

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with engine, device and box decided."""
        device = ("cuda" if has_gpu else "cpu") if settings.device == "auto" else settings.device
        box = self._manifest.box if settings.box == "auto" else settings.box
        return settings.model_copy(update={"engine": ENGINE, "device": device, "box": box})

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return None: there is nothing to try."""

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the facts; the identity holds every field of the manifest that moves a landmark."""
        identity = {
            "model": self._manifest.name,
            "engine": ENGINE,
            "pipeline_version": PIPELINE_VERSION,
            "box": self._manifest.box if settings.box == "auto" else settings.box,
            "architecture": provenance.architecture() if settings.architecture == "auto" else settings.architecture,
            "device": settings.device,
            "weights": self._file().sha256,
            **dict(_flat(self._manifest, _NOT_COMPARED)),
        }
        return ModelFacts(
            layout_of_manifest(self._manifest), identity, frames_per_call(settings), settings.device == "cuda"
        )

    def kernels(self, settings: ModelSettings) -> str:  # noqa: ARG002 - the protocol has it
        """Return processor and libraries that compute on this machine."""
        return provenance.describe_kernels(("onnxruntime", "numpy", "opencv"))

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:  # noqa: ARG002
        """Check that onnxruntime is installed and the network's file is the manifest's."""
        from phoenix_ray.models.onnx.session import require_onnxruntime

        require_onnxruntime()
        path = self._located.folder / (self._file().file or f"{self._manifest.name}.onnx")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read ({error.strerror}): add it with `phoenix-ray models add`."
            ) from None
        if found != self._file().sha256:
            raise ModelError(f"{path} has the sha256 {found}; its manifest {self._located.path} says another.")

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the network."""
        from phoenix_ray.models.onnx.engine import OnnxModel

        self.ensure_ready(settings, print)
        path = self._located.folder / (self._file().file or f"{self._manifest.name}.onnx")
        return OnnxModel(self._manifest, path, settings)

    def _file(self) -> NetworkFile:
        return self._manifest.weights


def onnx_entry(settings: ModelSettings, others: Sequence[str] = ()) -> OnnxEntry:
    """Return the entry of the network that `model.name` names; raise ConfigError where there is none."""
    return OnnxEntry(find_manifest(settings.name, settings.weights_path, others))


def layout_of_manifest(manifest: PoseManifest) -> Layout:
    """Return the layout of a network's landmarks; raise ConfigError where the manifest names one that is not known."""
    if isinstance(manifest.layout, str):
        if manifest.layout not in LAYOUTS:
            raise ConfigError(f"The manifest of {manifest.name}: there is no layout '{manifest.layout}'.")
        return LAYOUTS[manifest.layout]
    parts = (Part(part.name, part.points, IMAGE_AXES, part.edges) for part in manifest.layout.parts)
    return Layout(manifest.layout.name, tuple(parts))


def _flat(section: Section, without: set[str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and text of each field of a section and the sections in it."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name in without and not prefix:
            continue
        if isinstance(value, Section):
            yield from _flat(value, without, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
