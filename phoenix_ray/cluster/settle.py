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
from phoenix_ray.models.base import Trial


def settle_model(
    settings: Settings,
    storage: Storage,
    resources: Callable[[], Mapping[str, float]],
    hold_trial: Callable[[Trial], ModelSettings],
) -> Settings:
    """Return the settings with the model's engine, device and batch size decided.

    A resumed dataset keeps its recorded settings, whatever the new machines have; it is never refused for what would be
    tried or measured now. A new one takes what the cluster has, after a trial where the model asks for one.

    Args:
        settings: As the user gave them.
        storage: The output.
        resources: Gives the cluster's resources; asked only for a dataset that may use GPUs.
        hold_trial: Gives the model's settings that a trial decides for.
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
    trial = None if recorded else registry.trial(model, has_gpu=has_gpu)
    decided = hold_trial(trial) if trial else registry.resolve_auto(model, has_gpu=has_gpu)
    return settings.model_copy(update={"model": decided})


def _as_recorded(model: ModelSettings, recorded: DatasetIdentity) -> ModelSettings:
    """Return the settings with what is recorded in the place of each 'auto'."""
    names = [name for name in ("engine", "device", "architecture", "batch_size") if getattr(model, name) == "auto"]
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
