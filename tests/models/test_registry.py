from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.errors import ConfigError, MissingExtraError, ModelError
from phoenix_ray.layouts import LAYOUTS
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import keypoint_rcnn, registry
from phoenix_ray.models.synthetic import SyntheticModel

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "complexity": st.sampled_from([0, 1, 2]),
    "face_points": st.sampled_from([468, 478]),
    "heatmap_kernel": st.sampled_from([7, 9]),
    "min_detection_confidence": st.floats(0, 1, width=16),
    "min_tracking_confidence": st.floats(0, 1, width=16),
    "batch_size": st.integers(1, 256),
    "enable_batching": st.booleans(),
    "memory_fraction": st.floats(0.1, 1),
    "threads": st.integers(1, 8),
    "weights_path": st.sampled_from(["", "/shared/models", "models"]),
}
MOVES_LANDMARKS = {
    *("complexity", "face_points", "heatmap_kernel"),
    *("min_detection_confidence", "min_tracking_confidence"),
}
# Batches of torch are identity too, by the frames that really go together.
MOVES_LANDMARKS_OF_TORCH = {*MOVES_LANDMARKS, "device", "precision"}
OF_TORCH_ALONE = {"device": st.sampled_from(["cuda", "cpu"]), "precision": st.sampled_from(["exact", "tf32", "fp16"])}


@st.composite
def two_settings(draw: st.DrawFn, engine: str, values: dict[str, st.SearchStrategy[Any]]) -> list[ModelSettings]:
    """Settings of an engine, and the same with one field drawn anew."""
    first = {name: draw(value) for name, value in values.items()}
    changed = draw(st.sampled_from(sorted(values)))
    return [ModelSettings(engine=engine, **fields) for fields in (first, {**first, changed: draw(values[changed])})]


def differing(settings: list[ModelSettings]) -> set[str]:
    first, second = (one.model_dump() for one in settings)
    return {name for name in first if first[name] != second[name]}


@pytest.mark.parametrize("engine", ["litert", "mediapipe"])
@given(data=st.data())
def test_identity_changes_exactly_with_what_moves_landmarks(engine: str, data: st.DataObject) -> None:
    settings = data.draw(two_settings(engine, VALUES))
    first, second = (registry.facts(changed).identity for changed in settings)
    assert (first != second) == bool(differing(settings) & MOVES_LANDMARKS)


@given(data=st.data())
def test_identity_of_torch_also_holds_device_precision_and_frames_together(data: st.DataObject) -> None:
    settings = data.draw(two_settings("torch", VALUES | OF_TORCH_ALONE))
    first, second = (registry.facts(changed).identity for changed in settings)
    moves = differing(settings) & MOVES_LANDMARKS_OF_TORCH
    batches = {registry.facts(one).batch_size for one in settings}
    assert (first != second) == (bool(moves) or len(batches) > 1)


def test_engines_are_never_mixed_in_one_dataset() -> None:
    engines = ("litert", "torch", "mediapipe")
    identities = [registry.facts(ModelSettings(engine=engine)).identity for engine in engines]
    assert len({fields["engine"] for fields in identities}) == 3


def test_identity_names_the_bytes_of_every_network_that_is_used() -> None:
    used = {
        face_points: {name for name in registry.facts(settings).identity if name.startswith("weights.")}
        for face_points in (468, 478)
        if (settings := ModelSettings.model_validate({"face_points": face_points}))
    }
    assert used[468] - used[478] == {"weights.face_landmark"}
    assert used[478] - used[468] == {"weights.face_landmark_with_attention"}
    assert len(used[468] & used[478]) == 5


def test_a_complexity_is_identity_with_its_network_and_full_is_as_it_always_was() -> None:
    identities = [registry.facts(ModelSettings.model_validate({"complexity": which})).identity for which in (0, 1, 2)]
    lite, full, heavy = (dict(identity) for identity in identities)
    assert (lite.pop("complexity"), heavy.pop("complexity")) == ("0", "2")
    assert "complexity" not in full
    networks = [
        identity.pop(f"weights.pose_landmark_{name}")
        for identity, name in ((lite, "lite"), (full, "full"), (heavy, "heavy"))
    ]
    assert len(set(networks)) == 3
    assert lite == full == heavy


def test_pose_alone_is_another_model_that_does_not_mind_the_face() -> None:
    pose = ModelSettings(name="blazepose")
    identity = registry.facts(pose).identity
    assert identity["model"] == "blazepose"
    assert registry.facts(pose.model_copy(update={"face_points": 478})).identity == identity
    used = {name for name in identity if name.startswith("weights.")}
    assert used == {"weights.pose_detection", "weights.pose_landmark_full"}


def test_identity_of_the_synthetic_model_depends_on_nothing() -> None:
    plain, other = ModelSettings(name="synthetic"), ModelSettings(name="synthetic", batch_size=3, face_points=478)
    assert registry.facts(plain).identity == registry.facts(other).identity != registry.facts(ModelSettings()).identity


@pytest.mark.parametrize("ask", [registry.facts, registry.kernels, registry.ensure_ready, registry.create])
def test_an_unknown_model_names_the_nearest(ask: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no model 'holistik'.*Did you mean 'holistic'\? Models: holistic, blazepose, keypointrcnn, synthetic",
    ):
        ask(ModelSettings(name="holistik"))


def test_a_model_refuses_an_engine_it_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"'synthetic' has no engine 'litert' \(model\.engine\): it has auto"):
        registry.create(ModelSettings(name="synthetic", engine="litert"))


def test_what_is_shown_of_models_is_what_they_give(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its identity names the versions of its packages, which need not be installed here.
    monkeypatch.setattr(keypoint_rcnn, "_require_packages", lambda: None)
    monkeypatch.setattr(keypoint_rcnn, "_release", lambda package: "1")
    for info in registry.available():
        assert set(info.layouts) <= LAYOUTS.keys()
        assert registry.facts(ModelSettings(name=info.name)).layout.name == info.layouts[0]
    assert registry.facts(ModelSettings(face_points=478)).layout.name == "holistic-478"


def test_what_is_planned_with_is_what_is_created() -> None:
    settings = ModelSettings(name="synthetic", batch_size=5)
    model = registry.create(settings)
    assert isinstance(model, SyntheticModel)
    assert model.layout == registry.facts(settings).layout
    assert model.batch_size == registry.facts(settings).batch_size == 5
    assert not registry.facts(settings).uses_gpu
    model.close()


def test_one_frame_at_a_time_when_batches_are_off() -> None:
    for name in ("synthetic", "holistic"):
        assert registry.facts(ModelSettings(name=name, batch_size=16, enable_batching=False)).batch_size == 1


def test_the_synthetic_model_needs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_RAY_MODELS", "/nowhere")
    said: list[str] = []
    settings = ModelSettings(name="synthetic")
    registry.ensure_ready(settings, said.append)
    batch = registry.create(settings).estimate([np.zeros((9, 9, 3), np.uint8)])
    assert said == []
    assert len(batch.points["pose"]) == 1


def test_the_mediapipe_engine_names_its_extra_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (registry.ensure_ready, registry.create):
        with pytest.raises(MissingExtraError, match=r"model\.engine=mediapipe needs .*'phoenix-ray\[mediapipe\]'"):
            ask(ModelSettings(engine="mediapipe"))


def test_the_mediapipe_engine_refuses_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.2")
    with pytest.raises(ModelError, match=r"needs mediapipe 0\.10\.21, but 1\.2\.2 is installed"):
        registry.ensure_ready(ModelSettings(engine="mediapipe"))


def test_a_worker_whose_layout_is_in_another_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ModelSettings(name="synthetic")
    facts = registry.facts(settings)
    registry.refuse_other_machine(settings, facts.identity, facts.layout)
    turned = replace(facts.layout, parts=facts.layout.parts[::-1])
    with pytest.raises(ModelError, match=r"another model 'synthetic'.*in another order.*models add"):
        registry.refuse_other_machine(settings, facts.identity, turned)
