from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_ray.cluster.auto import decide_without_trial
from phoenix_ray.config import ClusterSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import FingerprintMismatchError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import Trial


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "output"))


def begin(storage: Storage, **model: str) -> None:
    claim_dataset(storage, DatasetIdentity("holistic-468", {"model": "holistic", **model}))


def gpus(count: float = 8.0) -> dict[str, float]:
    return {"CPU": 64.0, "GPU": count}


def never_asked() -> dict[str, float]:
    raise AssertionError("the cluster need not be asked")


def never_held(trial: Trial) -> ModelSettings:
    raise AssertionError("nothing is to be tried")


def passed(trial: Trial) -> ModelSettings:
    return trial.candidate


def failed(trial: Trial) -> ModelSettings:
    return trial.fallback


def decide(
    settings: Settings,
    storage: Storage,
    resources: Callable[[], dict[str, float]],
    outcome: Callable[[Trial], ModelSettings],
) -> ModelSettings:
    """Decide as a run does, with a made-up trial."""
    decision = decide_without_trial(settings, storage, resources)
    return outcome(decision) if isinstance(decision, Trial) else decision


TORCH = Settings(model=ModelSettings(engine="torch"))


@pytest.mark.parametrize(("there", "device"), [(8.0, "cuda"), (0.0, "cpu")])
def test_torch_computes_on_the_gpus_that_the_cluster_has(storage: Storage, there: float, device: str) -> None:
    assert decide(TORCH, storage, lambda: gpus(there), failed).device == device


def test_torch_that_is_asked_for_goes_on_with_the_device_it_began_with(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    assert decide(TORCH, storage, never_asked, never_held).device == "cuda"


def test_a_new_dataset_without_gpus_runs_on_cpus(storage: Storage) -> None:
    assert decide(Settings(), storage, lambda: gpus(0), never_held).engine == "litert"


@pytest.mark.parametrize(("outcome", "engine", "device"), [(passed, "torch", "cuda"), (failed, "litert", "auto")])
def test_a_new_dataset_on_gpus_takes_the_engine_that_a_trial_decides_for(
    storage: Storage, outcome: Callable[[Trial], ModelSettings], engine: str, device: str
) -> None:
    settled = decide(Settings(), storage, gpus, outcome)
    assert (settled.engine, settled.device) == (engine, device)


@pytest.mark.parametrize("outcome", [passed, failed])
def test_a_resume_takes_what_the_trial_decided_and_tries_nothing(
    storage: Storage, outcome: Callable[[Trial], ModelSettings]
) -> None:
    begin_with(storage, decide(Settings(), storage, gpus, outcome))
    resumed = decide(Settings(), storage, never_asked, never_held)
    begin_with(storage, resumed)


def test_gpus_that_are_forbidden_are_not_taken(storage: Storage) -> None:
    settings = Settings(cluster=ClusterSettings(num_gpus=0))
    assert decide(settings, storage, never_asked, never_held).engine == "litert"


def test_a_dataset_goes_on_with_the_engine_it_was_begun_with(storage: Storage) -> None:
    begin(storage, engine="litert")
    assert decide(Settings(), storage, never_asked, never_held).engine == "litert"


def test_a_dataset_of_a_gpu_goes_on_with_its_device(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    settled = decide(Settings(), storage, never_asked, never_held)
    assert (settled.engine, settled.device) == ("torch", "cuda")


def test_an_engine_that_is_asked_for_is_taken_whatever_was_recorded(storage: Storage) -> None:
    begin(storage, engine="torch", device="cuda")
    settings = Settings(model=ModelSettings(engine="litert"))
    assert decide(settings, storage, never_asked, never_held).engine == "litert"


def test_another_model_does_not_take_over_an_engine(storage: Storage) -> None:
    begin(storage, engine="torch")
    settings = Settings(model=ModelSettings(name="synthetic"))
    assert decide(settings, storage, lambda: gpus(0), never_held).name == "synthetic"


def test_a_dataset_of_a_gpu_from_before_there_were_kernels_goes_on_with_torchs_operators(storage: Storage) -> None:
    before = registry.facts(ON_GPU.model.model_copy(update={"kernels": "torch"}))
    assert "kernels" not in before.identity
    claim_dataset(storage, DatasetIdentity("holistic-468", before.identity))
    resumed = decide(TORCH, storage, never_asked, never_held)
    assert resumed.kernels == "torch"
    begin_with(storage, resumed)


def test_a_dataset_of_our_kernels_goes_on_with_them_and_mixes_with_no_other(storage: Storage) -> None:
    begin_with(storage, ON_GPU.model)
    resumed = decide(TORCH, storage, never_asked, never_held)
    assert resumed.kernels == "triton"
    begin_with(storage, resumed)
    with pytest.raises(FingerprintMismatchError, match="kernels: triton → torch"):
        begin_with(storage, resumed.model_copy(update={"kernels": "torch"}))


def test_a_dataset_of_our_kernels_is_not_continued_on_a_cpu_and_says_so(storage: Storage) -> None:
    begin_with(storage, ON_GPU.model)
    on_cpu = Settings.model_validate({"model": {"engine": "torch", "device": "cpu"}})
    with pytest.raises(FingerprintMismatchError, match="device: cuda → cpu"):
        begin_with(storage, decide(on_cpu, storage, never_asked, never_held))


@pytest.mark.parametrize("engine", ["litert", "torch"])
def test_kernels_of_a_cpu_stay_what_they_are(storage: Storage, engine: str) -> None:
    begun = decide(Settings.model_validate({"model": {"engine": engine}}), storage, lambda: gpus(0), never_held)
    begin_with(storage, begun)
    begin_with(storage, decide(Settings(), storage, never_asked, never_held))


ON_GPU = Settings(model=ModelSettings(engine="torch", device="cuda"))


def begin_with(storage: Storage, model: ModelSettings) -> None:
    claim_dataset(storage, DatasetIdentity("holistic-468", registry.facts(model).identity))


def measured(trial: Trial) -> ModelSettings:
    return trial.candidate.model_copy(update={"batch_size": 96})


def with_model(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"model": settings.model.model_copy(update=changes)})


def test_the_batch_size_of_a_new_dataset_on_gpus_is_measured_and_becomes_its_identity(storage: Storage) -> None:
    settled = decide(TORCH, storage, gpus, measured)
    assert settled == with_model(ON_GPU, batch_size=96).model
    assert registry.facts(settled).identity["batch_size"] == "96"


@pytest.mark.parametrize("change", [{"engine": "litert", "device": "auto"}, {"device": "cpu"}, {"batch_size": 32}])
def test_nothing_is_tried_where_the_settings_decide(storage: Storage, change: dict[str, object]) -> None:
    settings = with_model(ON_GPU, **change)
    assert decide(settings, storage, gpus, never_held) == settings.model


@pytest.mark.parametrize("settings", [Settings(), TORCH, ON_GPU])
def test_a_resume_takes_the_size_that_was_measured(storage: Storage, settings: Settings) -> None:
    begin_with(storage, with_model(ON_GPU, batch_size=96).model)
    resumed = decide(settings, storage, never_asked, never_held)
    assert resumed.batch_size == 96
    begin_with(storage, resumed)


def test_a_size_that_is_given_is_not_replaced_by_the_recorded_one(storage: Storage) -> None:
    begin_with(storage, with_model(ON_GPU, batch_size=96).model)
    given = with_model(ON_GPU, batch_size=32)
    assert decide(given, storage, never_asked, never_held).batch_size == 32
    with pytest.raises(FingerprintMismatchError, match=r"model\.batch_size: 96 → 32"):
        begin_with(storage, given.model)


def test_nothing_is_tried_for_a_dataset_that_will_be_refused(storage: Storage) -> None:
    begin_with(storage, ModelSettings(engine="litert"))
    assert decide(ON_GPU, storage, gpus, never_held) == ON_GPU.model


@pytest.mark.parametrize("size", ["0", "many", "-8", "", "9" * 5000])
def test_what_is_no_size_is_left_to_the_check_that_refuses_it(storage: Storage, size: str) -> None:
    begin(storage, engine="torch", device="cuda", batch_size=size)
    assert decide(ON_GPU, storage, never_asked, never_held).batch_size == "auto"
