"""What `auto` means for a run: decided once, by the driver, before anything is planned or identified by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.models import registry


def settle_model(settings: Settings, storage: Storage, resources: Callable[[], Mapping[str, float]]) -> Settings:
    """Return the settings with the model's engine and device decided.

    A dataset that was begun goes on with what it was begun with, so that a resume on other machines is no other
    dataset. A new one takes what the cluster has.

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
        names = [name for name in ("engine", "device") if name in recorded.model]
        chosen = {name: recorded.model[name] for name in names if getattr(model, name) == "auto"}
        return settings.model_copy(update={"model": model.model_copy(update=chosen)})
    may_use_gpus = model.engine in ("auto", "torch") and settings.cluster.num_gpus != 0
    has_gpu = may_use_gpus and resources().get("GPU", 0) > 0
    return settings.model_copy(update={"model": registry.resolve(model, has_gpu=has_gpu)})


def _recorded(storage: Storage) -> DatasetIdentity | None:
    """Return the identity of a dataset that was begun; what is wrong with it is told when the dataset is opened."""
    try:
        return read_identity(storage)
    except OutputError:
        return None
