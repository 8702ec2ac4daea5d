from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.cluster.settle import settle_batch_size, settle_model
from phoenix_ray.config import ClusterSettings, ModelSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity, open_dataset
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.errors import FingerprintMismatchError
from phoenix_ray.models import registry
from phoenix_ray.models.base import BatchProbe


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "output"))


def begin(storage: Storage, **model: str) -> None:
    open_dataset(storage, DatasetIdentity("holistic-468", {"model": "holistic", **model}))


def gpus(count: float = 8.0) -> dict[str, float]:
    return {"CPU": 64.0, "GPU": count}


def never_asked() -> dict[str, float]:
    raise AssertionError("the cluster need not be asked")


TORCH = Settings(model=ModelSettings(engine="torch"))


@pytest.mark.parametrize(("there", "device"), [(8.0, "cuda"), (0.0, "cpu")])
def test_torch_computes_on_the_gpus_that_the_cluster_has(storage: Storage, there: float, device: str) -> None:
    assert settle_model(TORCH, storage, lambda: gpus(there)).model.device == device


def test_torch_that_is_asked_for_goes_on_with_the_device_it_began_with(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    assert settle_model(TORCH, storage, never_asked).model.device == "cuda"


def test_a_new_dataset_without_gpus_runs_on_cpus(storage: Storage) -> None:
    assert settle_model(Settings(), storage, lambda: gpus(0)).model.engine == "litert"


def test_gpus_that_are_forbidden_are_not_taken(storage: Storage) -> None:
    settings = Settings(cluster=ClusterSettings(num_gpus=0))
    assert settle_model(settings, storage, never_asked).model.engine == "litert"


def test_a_dataset_goes_on_with_the_engine_it_was_begun_with(storage: Storage) -> None:
    begin(storage, engine="litert")
    assert settle_model(Settings(), storage, never_asked).model.engine == "litert"


def test_a_dataset_of_a_gpu_goes_on_with_its_device(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    settled = settle_model(Settings(), storage, never_asked).model
    assert (settled.engine, settled.device) == ("torch", "cuda")


def test_an_engine_that_is_asked_for_is_taken_whatever_was_recorded(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    settings = Settings(model=ModelSettings(engine="litert"))
    assert settle_model(settings, storage, never_asked).model.engine == "litert"


def test_another_model_does_not_take_over_an_engine(storage: Storage) -> None:
    begin(storage, engine="torch")
    settings = Settings(model=ModelSettings(name="synthetic"))
    assert settle_model(settings, storage, lambda: gpus(0)).model.name == "synthetic"


ON_GPU = Settings(model=ModelSettings(engine="torch", device="cuda"))


def begin_with(storage: Storage, settings: Settings) -> None:
    open_dataset(storage, DatasetIdentity("holistic-468", registry.identity(settings.model).fields))


def never_measured(settings: Settings, probe: BatchProbe) -> int:
    raise AssertionError("nothing is to be measured")


def with_model(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update=changes)})


def test_the_batch_size_of_a_new_dataset_on_gpus_is_measured_and_becomes_its_identity(storage: Storage) -> None:
    settled = settle_batch_size(ON_GPU, storage, lambda settings, probe: 96)
    assert settled == with_model(ON_GPU, batch_size=96)
    assert registry.identity(settled.model).fields["batch_size"] == "96"


@pytest.mark.parametrize("change", [{"engine": "litert", "device": "auto"}, {"device": "cpu"}, {"batch_size": 32}])
def test_nothing_is_measured_where_the_settings_decide(storage: Storage, change: dict[str, object]) -> None:
    settings = with_model(ON_GPU, **change)
    assert settle_batch_size(settings, storage, never_measured) == settings


@pytest.mark.parametrize("settings", [Settings(), TORCH, ON_GPU])
def test_a_resume_takes_the_size_that_was_measured_and_measures_nothing(storage: Storage, settings: Settings) -> None:
    begin_with(storage, with_model(ON_GPU, batch_size=96))
    resumed = settle_batch_size(settle_model(settings, storage, never_asked), storage, never_measured)
    assert resumed.model.batch_size == 96
    begin_with(storage, resumed)


def test_a_size_that_is_given_is_not_replaced_by_the_recorded_one(storage: Storage) -> None:
    begin_with(storage, with_model(ON_GPU, batch_size=96))
    given = with_model(ON_GPU, batch_size=32)
    assert settle_model(given, storage, never_asked).model.batch_size == 32
    with pytest.raises(FingerprintMismatchError, match=r"model\.batch_size: 96 → 32"):
        begin_with(storage, given)


def test_nothing_is_measured_for_a_dataset_that_will_be_refused(storage: Storage) -> None:
    begin_with(storage, Settings(model=ModelSettings(engine="litert")))
    settled = settle_model(ON_GPU, storage, lambda: gpus())
    assert settle_batch_size(settled, storage, never_measured) == settled


@pytest.mark.parametrize("size", ["0", "many", "-8", "", "9" * 5000])
def test_what_is_no_size_is_left_to_the_check_that_refuses_it(storage: Storage, size: str) -> None:
    begin(storage, engine="torch", device="cuda", batch_size=size)
    assert settle_model(ON_GPU, storage, never_asked).model.batch_size == "auto"
