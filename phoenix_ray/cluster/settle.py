"""What `auto` means for a run: decided once, by the driver, before anything is planned or identified by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from phoenix_ray.config import ModelSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.models import registry
from phoenix_ray.models.base import BatchProbe


def settle_model(settings: Settings, storage: Storage, resources: Callable[[], Mapping[str, float]]) -> Settings:
    """Return the settings with the model's engine and device decided.

    A dataset that was begun goes on with what it was begun with, its batch size too, so that a resume on other machines
    is no other dataset. A new one takes what the cluster has.

    Args:
        settings: As the user gave them.
        storage: The output.
        resources: Gives the cluster's resources; asked only for a new dataset that may use GPUs.
    """
    model, recorded = settings.model, _recorded(storage)
    if (
        recorded
        and recorded.model.get("model") == model.name
        and model.engine in ("auto", recorded.model.get("engine"))
    ):
        return settings.model_copy(update={"model": _as_recorded(model, recorded)})
    may_use_gpus = model.engine in ("auto", "torch") and settings.cluster.num_gpus != 0
    has_gpu = may_use_gpus and resources().get("GPU", 0) > 0
    return settings.model_copy(update={"model": registry.resolve(model, has_gpu=has_gpu)})


def settle_batch_size(settings: Settings, storage: Storage, measure: Callable[[Settings, BatchProbe], int]) -> Settings:
    """Return the settings with the batch size decided where that takes a measurement.

    Only for a new dataset, and only where the model offers a measurement for these settings: what was begun keeps the
    size that `settle_model` found recorded, and is never refused for what would be measured now.

    Args:
        settings: As `settle_model` returns them.
        storage: The output.
        measure: Measures with what the model offers, and returns the batch size.
    """
    probe = registry.batch_probe(settings.model)
    if probe is None or _recorded(storage):
        return settings
    model = settings.model.model_copy(update={"batch_size": measure(settings, probe)})
    return settings.model_copy(update={"model": model})


def _as_recorded(model: ModelSettings, recorded: DatasetIdentity) -> ModelSettings:
    """Return the settings with what is recorded in the place of each 'auto'."""
    names = [name for name in ("engine", "device", "batch_size") if getattr(model, name) == "auto"]
    chosen: dict[str, Any] = {name: recorded.model[name] for name in names if name in recorded.model}
    size = chosen.pop("batch_size", "")
    # What is no size is left out here, and refused when the dataset is opened.
    if re.fullmatch(r"[1-9][0-9]{0,8}", size):
        chosen["batch_size"] = int(size)
    return model.model_copy(update=chosen)


def _recorded(storage: Storage) -> DatasetIdentity | None:
    """Return the identity of a dataset that was begun; what is wrong with it is told when the dataset is opened."""
    try:
        return read_identity(storage)
    except OutputError:
        return None
