"""The models there are, and what is known of one before it is loaded.

The driver asks for layout, identity and batch size to plan a run and to judge a resume; each worker calls `create`.
A further model is one file with a `ModelEntry`, and one line in the table here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Protocol

from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ConfigError, ModelError, did_you_mean
from phoenix_ray.landmarks import Layout
from phoenix_ray.models.base import ModelFacts, ModelIdentity, ModelInfo, PoseModel, Trial
from phoenix_ray.models.holistic.entry import HolisticEntry
from phoenix_ray.models.provenance import MACHINE_FIELDS
from phoenix_ray.models.synthetic import SyntheticEntry


class ModelEntry(Protocol):
    """A model by name, not loaded."""

    @property
    def info(self) -> ModelInfo:
        """Name, description, engines, layouts."""
        ...

    def resolve(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
        """Return the settings with every 'auto' decided that depends on whether workers have GPUs."""
        ...

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return what these settings decide: a pure function that loads nothing."""
        ...

    def kernels(self, settings: ModelSettings) -> str:
        """Return what computes on this machine: `models.provenance.describe_kernels`."""
        ...

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
        """Return what is to be tried on a GPU before `resolve` decides, None where settings or the lack of GPUs do."""
        ...

    def prepare(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Make sure that `create` can succeed on this machine: install weights, check optional packages."""
        ...

    def create(self, settings: ModelSettings) -> PoseModel:
        """Load the model."""
        ...


_ENTRIES: dict[str, ModelEntry] = {entry.info.name: entry for entry in (HolisticEntry(), SyntheticEntry())}


def available() -> tuple[ModelInfo, ...]:
    """Return every model, in the order in which to show them."""
    return tuple(entry.info for entry in _ENTRIES.values())


def resolve(settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:
    """Return the settings with every 'auto' decided that depends on whether workers have GPUs.

    The driver calls it once, before anything else here: what a run is identified and planned by must be what its
    workers do, and the driver's own machine may have other devices than theirs.

    Args:
        settings: As the user gave them.
        has_gpu: Whether workers are to have GPUs: the cluster has some, and `cluster.num_gpus` does not forbid them.

    Raises:
        ConfigError: There is no such model or engine, or settings contradict each other.
    """
    return _find(settings).resolve(settings, has_gpu=has_gpu)


def trial(settings: ModelSettings, *, has_gpu: bool) -> Trial | None:
    """Return what decides 'auto' by trying it on a worker's GPU, None where `resolve` needs no trial.

    Args:
        settings: As the user gave them.
        has_gpu: As for `resolve`.

    Raises:
        ConfigError: There is no such model or engine, or settings contradict each other.
    """
    return _find(settings).trial(settings, has_gpu=has_gpu)


def layout(settings: ModelSettings) -> Layout:
    """Return the layout of the landmarks; ConfigError when there is no such model or engine."""
    return _find(settings).facts(settings).layout


def identity(settings: ModelSettings) -> ModelIdentity:
    """Return what makes two runs of the model comparable; ConfigError when there is no such model or engine."""
    return _find(settings).facts(settings).identity


def kernels(settings: ModelSettings) -> str:
    """Return processor, GPU and libraries that compute on this machine, in a line that partitions record.

    Raises:
        ConfigError: There is no such model or engine.
        ModelError: This machine lacks the device that is asked for.
    """
    return _find(settings).kernels(settings)


def refuse_other_machine(settings: ModelSettings, recorded: Mapping[str, str]) -> None:
    """Raise ModelError where this machine would compute other landmarks than those that a dataset records.

    Args:
        settings: Of the run, with every 'auto' decided.
        recorded: `ModelIdentity.fields` of the dataset.
    """
    here = identity(settings.model_copy(update={"architecture": "auto"})).fields
    differing = [name for name in MACHINE_FIELDS if name in recorded and here.get(name) != recorded[name]]
    if differing:
        listed = ", ".join(f"{name}: {recorded[name]} → {here.get(name, 'none')}" for name in differing)
        raise ModelError(
            f"{platform.node()} would compute other landmarks than the dataset has ({listed}). Run on machines of one "
            "kind with the same packages, or give this kind an output of its own (model.architecture names the kind)."
        )


def batch_size(settings: ModelSettings) -> int:
    """Return the frames per call; ConfigError when there is no such model or engine."""
    return _find(settings).facts(settings).batch_size


def uses_gpu(settings: ModelSettings) -> bool:
    """Return whether the engine runs on a GPU; ConfigError when there is no such model or engine."""
    return _find(settings).facts(settings).uses_gpu


def prepare(settings: ModelSettings, announce: Callable[[str], None] = print) -> None:
    """Install what the model needs on this machine, telling `announce` in a line when that takes a download.

    Raises:
        ConfigError: There is no such model or engine.
        MissingExtraError: The engine's packages are not installed.
        ModelError: Weights are damaged or cannot be installed.
    """
    _find(settings).prepare(settings, announce)


def create(settings: ModelSettings) -> PoseModel:
    """Load the model, installing its weights first where this machine lacks them; raises what `prepare` raises."""
    return _find(settings).create(settings)


def _find(settings: ModelSettings) -> ModelEntry:
    entry = _ENTRIES.get(settings.name)
    if entry is None:
        raise ConfigError(
            f"There is no model '{settings.name}' (model.name).{did_you_mean(settings.name, _ENTRIES)} "
            f"Models: {', '.join(_ENTRIES)}."
        )
    if settings.engine not in ("auto", *entry.info.engines):
        choices = ", ".join(("auto", *entry.info.engines))
        raise ConfigError(
            f"Model '{settings.name}' has no engine '{settings.engine}' (model.engine): it has {choices}."
        )
    return entry
