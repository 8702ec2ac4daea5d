"""All models by name, and what is known of each before it is loaded.

The driver asks for `facts` to plan a run and to judge a resume; each worker calls `create`. To add a model, write a
module with a `ModelEntry` and add it to the table below.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Protocol

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import ModelFacts, ModelInfo, PoseModel, Trial
from phoenix_ray.models.heads.entry import EntryWithHeads
from phoenix_ray.models.holistic.entry import HOLISTIC, POSE_ALONE, HolisticEntry
from phoenix_ray.models.keypoint_rcnn import KeypointRcnnEntry
from phoenix_ray.models.onnx.entry import onnx_entry
from phoenix_ray.models.provenance import MACHINE_FIELDS
from phoenix_ray.models.synthetic import SyntheticEntry


class ModelEntry(Protocol):
    """A model in the registry, not loaded. The functions of this module with the same names document the verbs."""

    @property
    def info(self) -> ModelInfo:
        """Name, description, engines, layouts."""

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with every 'auto' decided that depends on whether workers have GPUs."""

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return the trial that decides in place of `resolve_auto`, None where settings or the lack of GPUs decide."""

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return what these settings determine. A pure function of settings and machine; it loads nothing."""

    def kernels(self, settings: ModelSettings) -> str:
        """Return a line of `provenance.describe_kernels`. Called on a worker, after the model is loaded."""

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Make sure that `create` can succeed on this machine: install weights, check optional packages."""

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the model."""


_ENTRIES: dict[str, ModelEntry] = {
    entry.info.name: entry
    for entry in (HolisticEntry(HOLISTIC), HolisticEntry(POSE_ALONE), KeypointRcnnEntry(), SyntheticEntry())
}


def available() -> tuple[ModelInfo, ...]:
    """Return every model, in the order in which to show them."""
    return tuple(entry.info for entry in _ENTRIES.values())


def model_name(settings: ModelSettings) -> str:
    """Return the model's name as an identity records it: that in the manifest where `model.name` is its path.

    Raises:
        ConfigError: There is no such model or engine.
    """
    return _find(settings).info.name


def resolve_auto(settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
    """Return the settings with every 'auto' decided that depends on whether workers have GPUs.

    The driver calls it once, before `facts`: a run must be planned and identified by what its workers will do, and the
    driver's own machine may have other devices than theirs.

    Args:
        settings: The user's settings.
        has_gpu: Whether workers will have GPUs: the cluster has some, and `cluster.num_gpus` does not forbid them.

    Raises:
        ConfigError: There is no such model or engine, or settings contradict each other.
    """
    return _find(settings).resolve_auto(settings, has_gpu=has_gpu)


def trial(settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
    """Return the trial on a worker's GPU that decides 'auto', None where `resolve_auto` decides without one.

    Raises:
        ConfigError: There is no such model or engine, or settings contradict each other.
    """
    return _find(settings).trial(settings, has_gpu=has_gpu)


def facts(settings: ModelSettings) -> ModelFacts:
    """Return layout, identity, batch size and need of a GPU without loading the model.

    Raises:
        ConfigError: There is no such model or engine, or settings contradict each other.
    """
    return _find(settings).facts(settings)


def kernels(settings: ModelSettings) -> str:
    """Return processor, GPU and libraries that compute on this machine, in a line that partitions record.

    Raises:
        ConfigError: There is no such model or engine.
        ModelError: This machine lacks the device that the settings ask for.
    """
    return _find(settings).kernels(settings)


def refuse_other_machine(settings: ModelSettings, recorded: Mapping[str, str], layout: Layout | None = None) -> None:
    """Raise ModelError where this machine would compute other landmarks than those that a dataset records.

    Args:
        settings: The run's settings, with every 'auto' decided.
        recorded: `ModelFacts.identity` as the dataset records it.
        layout: The dataset's layout; its order is the order of the columns, which no field of the identity has.
    """
    node = platform.node()
    try:
        found = facts(settings.model_copy(update={"architecture": "auto"}))
    except ConfigError as error:
        raise ModelError(
            f"{node} cannot find the model as the run's start did: {error} Every node needs the manifest and its file: "
            "share their folder (model.weights_path), or add them there with `phoenix-ray models add`."
        ) from None
    here = found.identity
    differing = [name for name in recorded if not _same(name, here.get(name), recorded[name])]
    listed = ", ".join(f"{name}: {recorded[name]} → {here.get(name, 'none')}" for name in differing)
    if not MACHINE_FIELDS.isdisjoint(differing):
        raise ModelError(
            f"{node} would compute other landmarks than the dataset has ({listed}). Run on machines of the "
            "same kind with the same packages, or give this kind an output of its own (model.architecture names it)."
        )
    if not differing and layout is not None and found.layout != layout:
        differing, listed = ["layout"], "its parts, points or the values of its heads are others, or in another order"
    if differing:
        raise ModelError(
            f"{node} has another model '{settings.name}' than the dataset ({listed}). Put the same version of "
            "phoenix_ray there, and the same manifest and file (`phoenix-ray models add`, or a shared "
            "model.weights_path)."
        )


def _same(name: str, here: str | None, recorded: str) -> bool:
    """Return whether a field of an identity is this machine's; a processor is also of the kind that includes its."""
    return here == recorded or (name == "architecture" and recorded == provenance.architecture())


def ensure_ready(settings: ModelSettings, announce: Callable[[str], None] = print) -> None:
    """Install what the model needs on this machine. `announce` receives a line when that takes a download.

    Raises:
        ConfigError: There is no such model or engine.
        MissingExtraError: The engine's packages are not installed.
        ModelError: Weights are damaged or cannot be installed.
    """
    _find(settings).ensure_ready(settings, announce)


def create(settings: ModelSettings) -> PoseModel:
    """Load the model, and install its weights first where they are missing. Raises what `ensure_ready` raises."""
    return _find(settings).create(settings)


def _find(settings: ModelSettings) -> ModelEntry:
    entry = _ENTRIES.get(settings.name) or onnx_entry(settings, tuple(_ENTRIES))
    if settings.engine not in ("auto", *entry.info.engines):
        choices = ", ".join(("auto", *entry.info.engines))
        raise ConfigError(
            f"Model '{settings.name}' has no engine '{settings.engine}' (model.engine): it has {choices}."
        )
    return EntryWithHeads(entry, settings) if settings.heads else entry
