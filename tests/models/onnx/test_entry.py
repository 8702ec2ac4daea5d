from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from phoenix_ray.config import Settings
from phoenix_ray.config_files import with_absolute_paths
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance, registry
from phoenix_ray.models.onnx.manifest import PoseManifest
from phoenix_ray.verify.recompute import recorded_settings

# A file is needed where something is loaded only: identities come from the manifest alone.
NETWORK = b"not read here"
FIELDS: dict[str, Any] = {
    "name": "mine",
    "license": "none",
    "source": "made up",
    "weights": {"sha256": "1" * 64},
    "layout": "coco-17",
    "input": {"size": [192, 256], "resize": "affine"},
    "decoder": {"kind": "simcc"},
}
DETECTOR: dict[str, Any] = {
    "kind": "detector",
    "name": "people",
    "license": "none",
    "source": "made up",
    "weights": {"sha256": "2" * 64},
    "input": {"size": [640, 640], "resize": "letterbox"},
    "decoder": {"kind": "yolox"},
}
Write = Callable[..., ModelSettings]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest with some fields changed; return the settings that name it."""

    def written(detector: dict[str, Any] | None = None, settings: dict[str, Any] | None = None, **fields: Any) -> Any:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**FIELDS, **fields}))
        more = {}
        if detector is not None:
            (tmp_path / "people.yaml").write_text(yaml.safe_dump({**DETECTOR, **detector}))
            more = {"box": "detector", "detector": str(tmp_path / "people.yaml")}
        return ModelSettings.model_validate({"name": str(path), "device": "cpu", **more, **(settings or {})})

    return written


def identity(settings: ModelSettings) -> dict[str, str]:
    return dict(registry.facts(settings).identity)


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": {"sha256": "3" * 64}},
        {"layout": "halpe-26"},
        {"layout": {"name": "own", "parts": [{"name": "pose", "points": ["a", "b"]}]}},
        {"keep": list(range(16, -1, -1))},
        {"missing_below": 0.5},
        {"box": "blazepose"},
        {"decoder": {"kind": "simcc", "score": "mean"}},
        {"decoder": {"kind": "heatmap"}},
        {"input": {"size": [192, 256], "resize": "affine", "padding": 1.25}},
        {"input": {"size": [192, 256], "resize": "affine", "mean": [1, 2, 3]}},
        {"input": {"size": [192, 256], "resize": "affine", "channel_order": "bgr"}},
    ],
)
def test_what_a_manifest_says_about_numbers_is_identity(write: Write, fields: dict[str, Any]) -> None:
    assert identity(write()) != identity(write(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"license": "MIT"},
        {"description": "better"},
        {"source": "elsewhere"},
        {"weights": {"sha256": "1" * 64, "file": "moved.onnx"}},
        {"fp16": {"sha256": "4" * 64}},
    ],
)
def test_texts_for_people_and_places_are_not(write: Write, fields: dict[str, Any]) -> None:
    assert identity(write()) == identity(write(**fields))


@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({"threads": 2}, True),
        ({"architecture": "aarch64"}, True),
        ({"architecture": "x86_64"}, True),
        ({"device": "cuda"}, True),
        ({"device": "mps"}, True),
        ({"batch_size": 4}, False),
        ({"enable_batching": False}, False),
        ({"memory_fraction": 0.5}, False),
        ({"face_points": 478}, False),
        ({"box": "frame"}, False),
    ],
)
def test_settings_are_identity_exactly_where_they_move_landmarks(
    write: Write, settings: dict[str, Any], moves: bool
) -> None:
    assert (identity(write()) != identity(write(settings=settings))) is moves


def test_on_a_gpu_the_batch_is_identity_and_the_processor_is_not(write: Write) -> None:
    on_gpu, smaller = write(settings={"device": "cuda"}), write(settings={"device": "cuda", "batch_size": 8})
    assert identity(on_gpu)["batch_size"] == "32"
    assert identity(smaller)["batch_size"] == "8"
    assert not {"architecture", "threads"} & identity(on_gpu).keys()
    assert registry.facts(on_gpu).uses_gpu


def test_half_precision_is_the_manifests_other_file(write: Write) -> None:
    half = write(settings={"precision": "fp16"}, fp16={"sha256": "4" * 64})
    assert identity(half)["weights"] == "4" * 64
    assert identity(half)["precision"] == "fp16"
    with pytest.raises(ConfigError, match=r"model\.precision=fp16, but .*mine\.yaml names no file"):
        registry.facts(write(settings={"precision": "fp16"}))


def test_a_detector_is_identity_with_its_file_and_every_number(write: Write) -> None:
    plain = identity(write(detector={}))
    assert plain["box"] == "detector"
    assert plain["detector"] == "people"
    assert plain["detector.weights"] == "2" * 64
    assert plain != identity(write(detector={"weights": {"sha256": "5" * 64}}))
    assert plain != identity(write(detector={"decoder": {"kind": "yolox", "min_score": 0.5}}))
    assert plain == identity(write(detector={"license": "MIT"}))


def test_mediapipes_box_is_identity_with_its_network_and_threshold(write: Write) -> None:
    plain = identity(write(box="blazepose"))
    assert len(plain["box.weights"]) == 64
    assert plain["litert"] == provenance.litert_generation()
    assert plain != identity(write(box="blazepose", settings={"min_detection_confidence": 0.7}))
    on_gpu = identity(write(box="blazepose", settings={"device": "cuda"}))
    assert on_gpu["architecture"] == provenance.architecture()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "tracking"}, r"model\.mode=tracking.*model\.name=holistic or blazepose"),
        ({"complexity": 2}, r"model\.complexity is for MediaPipe's models.*larger or smaller"),
        ({"kernels": "triton"}, r"model\.kernels is for MediaPipe's models.*onnxruntime has its own"),
        ({"min_tracking_confidence": 0.7}, r"model\.min_tracking_confidence.*missing_below"),
        ({"min_detection_confidence": 0.7}, r"model\.min_detection_confidence is for model\.box=blazepose"),
        ({"precision": "tf32"}, r"model\.precision=tf32.*model\.device=cpu.*model\.precision=exact"),
        ({"detector": "people"}, r"model\.detector=people, but model\.box=frame.*model\.box=detector"),
        ({"box": "detector"}, r"model\.box=detector needs model\.detector"),
        ({"engine": "torch"}, r"no engine 'torch' \(model\.engine\): it has auto, onnx"),
    ],
)
def test_settings_that_contradict_are_refused_with_a_way_out(write: Write, settings: dict[str, Any], says: str) -> None:
    for ask in (registry.facts, lambda asked: registry.resolve_auto(asked, has_gpu=False)):
        with pytest.raises(ConfigError, match=says):
            ask(write(settings=settings))


def test_an_unknown_layout_names_the_nearest(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml[\s\S]*no layout 'coco-71'.*Did you mean 'coco-17'\?"):
        registry.facts(write(layout="coco-71"))


def test_every_auto_is_decided(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = write(box="blazepose", settings={"device": "auto"})
    decided = registry.resolve_auto(asked, has_gpu=False)
    assert (decided.engine, decided.device, decided.box) == ("onnx", "cpu", "blazepose")
    monkeypatch.setattr("phoenix_ray.models.onnx.entry._is_for_cuda", lambda: True)
    assert registry.resolve_auto(asked, has_gpu=True).device == "cuda"
    assert registry.resolve_auto(asked, has_gpu=False).device == "cpu"
    monkeypatch.setattr("phoenix_ray.models.onnx.entry._is_for_cuda", lambda: False)
    assert registry.resolve_auto(asked, has_gpu=True).device == "cpu"
    assert identity(decided) == identity(asked)
    assert registry.trial(asked, has_gpu=True) is None
    assert registry.model_name(asked) == "mine"


def test_the_instructions_of_the_processor_are_identity_on_x86(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "architecture", lambda: "x86_64")
    for vectors in ("avx2", "avx512"):
        monkeypatch.setattr(provenance, "instruction_set", lambda vectors=vectors: vectors)
        assert identity(write())["architecture"] == f"x86_64-{vectors}"


def test_a_worker_like_the_start_of_the_run_is_welcome(write: Write) -> None:
    settings = write()
    registry.refuse_other_machine(settings, identity(settings))


@pytest.mark.parametrize("vectors", ["avx2", "avx512"])
def test_a_worker_with_other_instructions_is_refused_unless_all_get_the_same_bits(
    write: Write, monkeypatch: pytest.MonkeyPatch, vectors: str
) -> None:
    monkeypatch.setattr(provenance, "architecture", lambda: "x86_64")
    monkeypatch.setattr(provenance, "instruction_set", lambda: vectors)
    other = {"avx2": "x86_64-avx512", "avx512": "x86_64-avx2"}[vectors]
    settings = write(settings={"architecture": other})
    with pytest.raises(ModelError, match=rf"architecture: {other} → x86_64-{vectors}.*model\.architecture"):
        registry.refuse_other_machine(settings, identity(settings))
    portable = write(settings={"architecture": "x86_64"})
    registry.refuse_other_machine(portable, identity(portable))


def test_a_worker_with_another_manifest_or_file_is_refused_and_named(write: Write) -> None:
    settings = write()
    recorded = identity(settings)
    write(missing_below=0.4, weights={"sha256": "6" * 64})
    with pytest.raises(ModelError) as raised:
        registry.refuse_other_machine(settings, recorded)
    said = str(raised.value)
    assert platform.node() in said
    assert "missing_below: 0.3 → 0.4" in said
    assert f"weights: {'1' * 64} → {'6' * 64}" in said
    assert "phoenix-ray models add" in said


def test_a_worker_without_the_manifest_is_refused_and_named(write: Write) -> None:
    settings = write()
    recorded = identity(settings)
    Path(settings.name).unlink()
    with pytest.raises(ModelError, match=rf"{platform.node()} cannot find .*mine\.yaml.*phoenix-ray models add"):
        registry.refuse_other_machine(settings, recorded)


def test_a_worker_with_another_onnxruntime_is_refused(write: Write) -> None:
    pytest.importorskip("onnxruntime")
    settings = write()
    with pytest.raises(ModelError, match=r"onnxruntime: 1\.23\.2 → .*same packages"):
        registry.refuse_other_machine(settings, {**identity(settings), "onnxruntime": "1.23.2"})


def test_a_file_that_is_missing_or_another_is_refused_with_its_node(write: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match=rf"mine\.onnx cannot be read on {platform.node()} .*phoenix-ray models add"):
        registry.create(write())
    (tmp_path / "mine.onnx").write_bytes(NETWORK)
    with pytest.raises(ModelError, match=rf"on {platform.node()} has the sha256 .*weights\.sha256"):
        registry.create(write())
    with pytest.raises(ModelError, match=rf"is not on {platform.node()}: its manifest .* names no sha256 yet"):
        registry.create(write(weights={"sha256": ""}))


def test_a_detectors_file_is_checked_too(write: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import hashlib

    (tmp_path / "mine.onnx").write_bytes(NETWORK)
    settings = write(detector={}, weights={"sha256": hashlib.sha256(NETWORK).hexdigest()})
    with pytest.raises(ModelError, match=r"people\.onnx cannot be read"):
        registry.create(settings)


def test_a_relative_manifest_is_the_same_file_in_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.model_validate(
        {"model": {"name": "mine.yaml", "detector": "~/people.yml", "heads": ["emotion", "./mood.yaml"]}}
    )
    model = with_absolute_paths(settings).model
    assert model.name == str(tmp_path / "mine.yaml")
    assert model.detector == str(Path("~/people.yml").expanduser())
    assert model.heads == ("emotion", str(tmp_path / "mood.yaml"))
    assert with_absolute_paths(Settings()).model.name == "holistic"


def test_every_field_of_a_manifest_is_identity_or_stated_not_to_be(write: Write) -> None:
    """A field that is added to the manifest belongs to the identity unless somebody decides otherwise."""
    known = identity(write())
    free = {"name", "description", "license", "source", "weights", "fp16", "kind"}
    for field in PoseManifest.model_fields.keys() - free:
        assert any(name == field or name.startswith(f"{field}.") for name in known), field


@pytest.mark.parametrize("architecture", ["auto", "x86_64"])
def test_a_dataset_is_recomputed_with_the_settings_that_it_records(
    write: Write, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    monkeypatch.setattr(provenance, "architecture", lambda: "x86_64")
    monkeypatch.setattr(provenance, "instruction_set", lambda: "avx512")
    settings = write(settings={"architecture": architecture, "threads": 2}, box="blazepose")
    recorded = DatasetIdentity("coco-17", identity(settings))
    again = recorded_settings(recorded, "", (f"model.name={settings.name}",)).model
    assert identity(again) == recorded.model


def test_a_manifest_may_not_have_the_name_of_another_model(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml is called 'holistic' \(name\).*Choose another name"):
        registry.facts(write(name="holistic"))
