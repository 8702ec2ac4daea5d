"""Any model of the registry with heads: what `model.heads` adds to its layout and identity, and how it is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import Head, Layout
from phoenix_ray.layouts.layout import FRAME_COLUMNS
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import ModelFacts, ModelInfo, OverlappingModel, PoseModel, TrackingModel, Trial
from phoenix_ray.models.heads.networks import TFLITE_SUFFIX
from phoenix_ray.models.onnx.catalog import LocatedManifest, find_manifest
from phoenix_ray.models.onnx.entry import refuse_other_file
from phoenix_ray.models.onnx.manifest import HeadManifest
from phoenix_ray.models.onnx.network_identity import processor
from phoenix_ray.models.onnx.portable import PORTABLE, architecture_for
from phoenix_ray.models.onnx.session import require_onnxruntime
from phoenix_ray.setting_types import Section

if TYPE_CHECKING:
    from phoenix_ray.models.registry import ModelEntry

# Raise it with every change of `models/heads` that moves a number.
PIPELINE_VERSION = "1"
# Fields of a manifest that move no number: texts for people, the file, whose sha256 is recorded, and what has one value
# for all heads.
_NOT_COMPARED = frozenset(
    {
        *("name", "description", "license", "source", "weights", "fp16", "kind", "head"),
        *("input.resize", "input.padding", "input.position", "input.multiple_of"),
    }
)


class _Located(NamedTuple):
    manifest: HeadManifest
    place: LocatedManifest

    @property
    def head(self) -> Head:
        decoder = self.manifest.decoder
        return Head(self.manifest.head, self.manifest.crop.part, decoder.classes, tuple(decoder.values))

    @property
    def path(self) -> Path:
        return self.place.network

    @property
    def library(self) -> str:
        return "litert" if self.path.suffix == TFLITE_SUFFIX else "onnxruntime"


class EntryWithHeads:
    """A model and the heads that the settings name; a `registry.ModelEntry`.

    Args:
        entry: The model.
        settings: `heads` and `weights_path` are used.

    Raises:
        ConfigError: There is no such manifest, it describes another kind of network, or two heads have the same prefix.
    """

    def __init__(self, entry: ModelEntry, settings: ModelSettings) -> None:
        self._entry = entry
        self._heads = _locate(settings)

    @property
    def info(self) -> ModelInfo:
        """That of the model."""
        return self._entry.info

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return what the model decides, and an architecture on which it and the heads can agree."""
        resolved = self._entry.resolve_auto(settings, has_gpu=has_gpu)
        networks = [located.path for located in self._heads if located.library == "onnxruntime"]
        if networks and settings.architecture == "auto":
            architecture = architecture_for(networks)
            if resolved.architecture == "auto" or architecture != PORTABLE:
                resolved = resolved.model_copy(update={"architecture": architecture})
        return resolved

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return the model's trial, which runs without heads: they compute on the CPU whatever it decides."""
        return self._entry.trial(settings, has_gpu=has_gpu)

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the model's facts with the heads in layout and identity.

        Raises:
            ConfigError: A head's part is not in the model's layout, or its columns are there already.
        """
        facts = self._entry.facts(settings)
        identity = dict(facts.identity)
        libraries = {located.library for located in self._heads}
        if "litert" in libraries:
            here = settings.architecture == "auto"
            identity.setdefault("architecture", provenance.architecture() if here else settings.architecture)
            identity.setdefault("litert", provenance.litert_generation())
        if "onnxruntime" in libraries:
            # Its sums depend on more of the processor than LiteRT's.
            identity["architecture"] = processor(settings)
            identity.setdefault("onnxruntime", provenance.onnxruntime_generation())
            identity.setdefault("threads", str(settings.threads))
        # The names with which `verify --recompute` finds the heads again.
        identity["heads"] = f"[{', '.join(located.manifest.name for located in self._heads)}]"
        identity["heads_version"] = PIPELINE_VERSION
        for located in self._heads:
            identity[f"weights.{located.manifest.head}"] = located.manifest.weights.sha256
            identity |= _flat(located.manifest, f"head.{located.manifest.head}.")
        return replace(facts, layout=self._layout(facts.layout), identity=identity)

    def kernels(self, settings: ModelSettings) -> str:
        """Return the model's kernels with the libraries of the heads."""
        libraries = sorted({"opencv", *(located.library for located in self._heads)})
        return provenance.with_libraries(self._entry.kernels(settings), libraries)

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Make the model ready, and check the files of the heads."""
        self._entry.ensure_ready(settings, announce)
        for located in self._heads:
            _check_file(located)

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load model and heads."""
        from phoenix_ray.models.heads import model as with_heads

        for located in self._heads:
            _check_file(located)
        model = self._entry.create(settings)
        layout = self._layout(model.layout)
        heads = [
            with_heads.LoadedHead(
                located.head, layout.part(located.head.part), located.manifest, located.path, settings
            )
            for located in self._heads
        ]
        if isinstance(model, TrackingModel):
            return with_heads.TrackingModelWithHeads(model, layout, heads)
        if isinstance(model, OverlappingModel):
            return with_heads.OverlappingModelWithHeads(model, layout, heads)
        return with_heads.ModelWithHeads(model, layout, heads)

    def _layout(self, layout: Layout) -> Layout:
        return add_heads(layout, [located.head for located in self._heads])


def add_heads(layout: Layout, heads: Sequence[Head]) -> Layout:
    """Return a layout with heads, named `<layout>+<head>`.

    Raises:
        ConfigError: It has no part that a head looks at, none whose places are in the picture, or the columns of a head
            are there already.
    """
    parts = {part.name: part for part in layout.parts if {"x", "y"} <= set(part.axes) and part.scored}
    taken = Counter(name for part in layout.parts for name in (*part.columns(), f"{part.name}_score"))
    taken.update(FRAME_COLUMNS)
    for head in heads:
        if head.part not in parts:
            raise ConfigError(
                f"The head '{head.name}' looks at the part '{head.part}' (crop.part of its manifest), which the model "
                f"does not find in pictures: its layout {layout.name} has {', '.join(parts)}. Choose another model "
                "(model.name), or leave the head out of model.heads."
            )
        taken.update(head.columns())
    if twice := [name for name, times in taken.items() if times > 1]:
        raise ConfigError(
            f"model.heads: the column {twice[0]} would be there twice. Give a head another prefix: the field 'head' of "
            "its manifest."
        )
    return replace(layout, name="+".join((layout.name, *(head.name for head in heads))), heads=tuple(heads))


def _locate(settings: ModelSettings) -> tuple[_Located, ...]:
    found: list[_Located] = []
    for name in settings.heads:
        place = find_manifest(name, settings.weights_path, kind="head")
        if isinstance(place.manifest, HeadManifest):
            found.append(_Located(place.manifest, place))
    prefixes = Counter(located.manifest.head for located in found)
    for prefix, times in prefixes.items():
        if times > 1:
            names = ", ".join(located.manifest.name for located in found if located.manifest.head == prefix)
            raise ConfigError(
                f"model.heads: {names} all write the columns {prefix}_…. Take one of them, or give one another prefix "
                "in a manifest of your own: its field 'head'."
            )
    return tuple(found)


def _check_file(located: _Located) -> None:
    """Raise where the file of a head, or what runs it, is not on this machine."""
    if located.library == "onnxruntime":
        require_onnxruntime()
    refuse_other_file(located.place, located.manifest.weights, located.path)


def _flat(section: Section, prefix: str) -> dict[str, str]:
    """Return the name and text of each field that moves a number, of a section and of those in it."""
    return {f"{prefix}{name}": text for name, text in _fields(section)}


def _fields(section: Section, prefix: str = "") -> Iterator[tuple[str, str]]:
    for field in type(section).model_fields:
        name, value = f"{prefix}{field}", getattr(section, field)
        if name in _NOT_COMPARED:
            continue
        if isinstance(value, Section):
            yield from _fields(value, f"{name}.")
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield from _fields(inner, f"{name}.{key}.")
        else:
            yield name, str(value)
