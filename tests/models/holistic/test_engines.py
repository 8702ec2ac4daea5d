from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ConfigError, MissingExtraError
from phoenix_ray.models import registry
from phoenix_ray.models.base import TypicalVideo
from phoenix_ray.models.holistic import engines


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_has_torch", lambda: True)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *others: None if name == "torch" else real(name, *others)
    )


@pytest.mark.parametrize(
    ("given", "has_gpu", "engine", "device"),
    [
        ({}, True, "litert", "auto"),
        ({"engine": "torch"}, True, "torch", "cuda"),
        ({}, False, "litert", "auto"),
        ({"device": "cpu"}, True, "litert", "cpu"),
        ({"engine": "litert"}, True, "litert", "auto"),
        ({"engine": "torch"}, False, "torch", "cpu"),
        ({"engine": "torch", "device": "cpu"}, True, "torch", "cpu"),
        ({"precision": "fp16"}, True, "torch", "cuda"),
        ({"device": "mps"}, False, "torch", "mps"),
    ],
)
def test_auto_is_decided_by_the_cluster(
    installed: None, given: dict[str, Any], has_gpu: bool, engine: str, device: str
) -> None:
    resolved = registry.resolve(ModelSettings(**given), has_gpu=has_gpu)
    assert (resolved.engine, resolved.device) == (engine, device)
    assert registry.resolve(resolved, has_gpu=not has_gpu) == resolved, "and stays decided"


def test_asking_for_torch_without_it_names_the_extra(missing: None) -> None:
    for ask in (registry.prepare, registry.create):
        with pytest.raises(MissingExtraError, match=r"phoenix-ray\[torch\]"):
            ask(ModelSettings(engine="torch"))


def test_what_moves_landmarks_is_identity() -> None:
    base = ModelSettings(engine="torch", device="cuda")
    changes: list[dict[str, Any]] = [
        {"device": "cpu", "batch_size": 128},
        {"precision": "tf32"},
        {"batch_size": 32},
        {"enable_batching": False},
        {"face_points": 478},
    ]
    identities = [registry.identity(base.model_copy(update=change)).fields for change in [{}, *changes]]
    assert len({tuple(sorted(fields.items())) for fields in identities}) == len(identities)
    unmoved = base.model_copy(update={"threads": 3, "memory_fraction": 0.5})
    assert registry.identity(unmoved) == registry.identity(base)


def test_the_cpu_engine_does_not_mind_batches() -> None:
    litert = ModelSettings(engine="litert")
    assert registry.identity(litert.model_copy(update={"batch_size": 3})) == registry.identity(litert)
    assert not {"device", "precision", "batch_size"} & registry.identity(litert).fields.keys()


def test_torch_wants_a_gpu_unless_told_otherwise() -> None:
    assert registry.uses_gpu(ModelSettings(engine="torch"))
    assert registry.uses_gpu(ModelSettings(engine="torch", device="cuda"))
    assert not registry.uses_gpu(ModelSettings(engine="torch", device="cpu"))
    assert not registry.uses_gpu(ModelSettings(engine="litert"))


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"device": "cuda"}])
def test_settings_of_another_engine_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is for engine torch, but model\.engine=litert"):
        registry.identity(ModelSettings(engine="litert", **change))


@pytest.mark.parametrize(
    "change",
    [{"device": "cpu"}, {"device": "mps"}, {"batch_size": 64}, {"enable_batching": False}],
)
def test_a_batch_size_is_measured_only_where_it_is_open_and_torch_runs_on_a_gpu(change: dict[str, Any]) -> None:
    base = ModelSettings(engine="torch", device="cuda")
    assert registry.batch_probe(base) is not None
    assert registry.batch_probe(base.model_copy(update=change)) is None
    assert registry.batch_probe(ModelSettings(engine="litert")) is None


def test_measuring_without_torch_names_the_extra(missing: None) -> None:
    probe = registry.batch_probe(ModelSettings(engine="torch", device="cuda"))
    assert probe is not None
    with pytest.raises(MissingExtraError, match=r"phoenix-ray\[torch\]"):
        probe(TypicalVideo(260, 210, 116), 1)
