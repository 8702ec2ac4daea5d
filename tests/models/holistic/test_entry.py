from __future__ import annotations

import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError, MissingExtraError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import TrialConditions


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
        ({"kernels": "torch"}, False, "torch", "cpu"),
        ({"kernels": "triton"}, True, "torch", "cuda"),
    ],
)
def test_auto_is_decided_by_the_cluster(given: dict[str, Any], has_gpu: bool, engine: str, device: str) -> None:
    resolved = registry.resolve_auto(ModelSettings(**given), has_gpu=has_gpu)
    assert (resolved.engine, resolved.device) == (engine, device)
    assert registry.resolve_auto(resolved, has_gpu=not has_gpu) == resolved, "and stays decided"


def test_asking_for_torch_without_it_names_the_extra(missing: None) -> None:
    for ask in (registry.ensure_ready, registry.create):
        with pytest.raises(MissingExtraError, match=r"phoenix-ray\[torch\]"):
            ask(ModelSettings(engine="torch"))


def test_what_moves_landmarks_is_identity() -> None:
    base = ModelSettings(engine="torch", device="cuda")
    changes: list[dict[str, Any]] = [
        {"device": "cpu", "batch_size": 128},
        {"precision": "tf32"},
        {"kernels": "torch"},
        {"batch_size": 32},
        {"enable_batching": False},
        {"face_points": 478},
        {"mode": "tracking"},
        {"mode": "tracking", "smooth_landmarks": False},
    ]
    identities = [registry.facts(base.model_copy(update=change)).identity for change in [{}, *changes]]
    assert len({tuple(sorted(fields.items())) for fields in identities}) == len(identities)
    unmoved = base.model_copy(update={"threads": 3, "memory_fraction": 0.5})
    assert registry.facts(unmoved).identity == registry.facts(base).identity


def test_smoothing_is_identity_in_tracking_mode_alone() -> None:
    static, unsmoothed = (registry.facts(ModelSettings(smooth_landmarks=smooth)).identity for smooth in (True, False))
    assert static == unsmoothed
    assert "mode" not in static


@pytest.mark.parametrize(("given", "videos"), [({}, 8), ({"batch_size": 3}, 3), ({"enable_batching": False}, 1)])
def test_a_few_videos_are_tracked_together_on_a_cpu(given: dict[str, Any], videos: int) -> None:
    for engine in ("litert", "torch"):
        facts = registry.facts(ModelSettings(mode="tracking", engine=engine, device="cpu", **given))
        assert facts.tracks
        assert facts.batch_size == videos


@pytest.mark.parametrize(("engine", "mode", "whole"), [("mediapipe", "tracking", True), ("litert", "tracking", False)])
def test_mediapipe_tracks_a_video_in_one_go(engine: Any, mode: Any, whole: bool) -> None:
    assert registry.facts(ModelSettings(engine=engine, mode=mode)).whole_videos == whole


def test_the_cpu_engine_does_not_mind_batches() -> None:
    litert = ModelSettings(engine="litert")
    assert registry.facts(litert.model_copy(update={"batch_size": 3})).identity == registry.facts(litert).identity
    assert not {"device", "precision", "batch_size"} & registry.facts(litert).identity.keys()


def test_torch_wants_a_gpu_unless_the_device_is_the_cpu() -> None:
    assert registry.facts(ModelSettings(engine="torch")).uses_gpu
    assert registry.facts(ModelSettings(engine="torch", device="cuda")).uses_gpu
    assert not registry.facts(ModelSettings(engine="torch", device="cpu")).uses_gpu
    assert not registry.facts(ModelSettings(engine="litert")).uses_gpu


@pytest.mark.parametrize("mode", ["static", "tracking"])
def test_a_cpu_computes_with_torchs_operators_whatever_the_choice_and_its_identity_does_not_mention_them(
    mode: str,
) -> None:
    identities = [
        registry.facts(
            ModelSettings.model_validate({"engine": "torch", "device": "cpu", "kernels": kernels, "mode": mode})
        )
        for kernels in ("auto", "torch")
    ]
    assert identities[0] == identities[1]
    assert "kernels" not in identities[0].identity


def test_the_kernels_of_a_gpu_are_ours_unless_torchs_are_asked_for() -> None:
    recorded = {
        kernels: registry.facts(
            ModelSettings.model_validate({"engine": "torch", "device": "cuda", "kernels": kernels})
        ).identity
        for kernels in ("auto", "triton", "torch")
    }
    assert recorded["auto"] == recorded["triton"]
    assert recorded["auto"]["kernels"] == "triton"
    assert {**recorded["torch"], "kernels": "triton"} == recorded["triton"]


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_triton_is_refused_where_it_does_not_compute(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    settings = ModelSettings.model_validate({"engine": "torch", "device": device, "kernels": "triton"})
    message = rf"model\.kernels=triton is for CUDA devices, but model\.device is {device}\. Leave model\.kernels out"
    with pytest.raises(ConfigError, match=message):
        registry.facts(settings)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    if device == "cpu":
        assert registry.facts(settings).identity["kernels"] == "triton"


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"device": "cuda"}, {"kernels": "torch"}])
def test_settings_of_another_engine_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is for engine torch, but model\.engine=litert"):
        registry.facts(ModelSettings(engine="litert", **change))


@pytest.mark.parametrize("given", [{}, {"batch_size": 32}, {"enable_batching": False}, {"face_points": 478}])
def test_torch_is_tried_where_no_setting_decides_and_there_are_gpus(given: dict[str, Any]) -> None:
    settings = ModelSettings(**given)
    trial = registry.trial(settings, has_gpu=True)
    assert trial is not None
    assert trial.candidate == settings.model_copy(update={"engine": "torch", "device": "cuda"})
    assert registry.facts(trial.candidate).uses_gpu
    assert trial.fallback == registry.resolve_auto(settings, has_gpu=True)
    assert trial.fallback.engine == "litert"
    assert trial.fallback_notice.startswith("Engine litert, since torch could not be tried on a GPU")
    assert registry.trial(settings, has_gpu=False) is None


@pytest.mark.parametrize("given", [{}, {"engine": "torch"}])
def test_nothing_is_tried_in_tracking_mode(given: dict[str, Any]) -> None:
    assert registry.trial(ModelSettings(mode="tracking", **given), has_gpu=True) is None


@pytest.mark.parametrize("given", [{"engine": "litert"}, {"engine": "mediapipe"}, {"device": "cpu"}, {"device": "mps"}])
def test_nothing_is_tried_where_settings_decide_against_cuda(given: dict[str, Any]) -> None:
    assert registry.trial(ModelSettings(**given), has_gpu=True) is None


@pytest.mark.parametrize("given", [{"engine": "torch"}, {"device": "cuda"}, {"precision": "tf32"}])
def test_the_batch_size_is_tried_where_settings_decide_for_torch_and_leave_it_open(given: dict[str, Any]) -> None:
    settings = ModelSettings(**given)
    trial = registry.trial(settings, has_gpu=True)
    assert trial is not None
    assert trial.candidate == trial.fallback == registry.resolve_auto(settings, has_gpu=True)
    assert trial.fallback_notice == "Batch size 128, since it could not be measured"
    for decided in ({"batch_size": 64}, {"enable_batching": False}, {"engine": "torch", "device": "cpu"}):
        assert registry.trial(settings.model_copy(update=decided), has_gpu=True) is None


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_trying_torch_where_it_is_missing_names_the_extra(missing: None, engine: str) -> None:
    trial = registry.trial(ModelSettings.model_validate({"engine": engine}), has_gpu=True)
    assert trial is not None
    with pytest.raises(MissingExtraError, match=r"phoenix-ray\[torch\]"):
        trial.run(TrialConditions([np.zeros((9, 9, 3), np.uint8)], 116, 1, 16.0))


def test_a_trial_on_a_machine_without_cuda_names_the_device() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    trial = pickle.loads(pickle.dumps(registry.trial(ModelSettings(), has_gpu=True)))
    with pytest.raises(ModelError, match=r"model\.device=cuda: torch .* sees no CUDA device here"):
        trial.run(TrialConditions([np.zeros((9, 9, 3), np.uint8)], 116, 1, 16.0))
