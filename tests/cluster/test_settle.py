from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.cluster.settle import settle_model
from phoenix_ray.config import ClusterSettings, ModelSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity, open_dataset
from phoenix_ray.dataset.storage import Storage, open_storage


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
