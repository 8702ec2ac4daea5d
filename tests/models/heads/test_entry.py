"""What `model.heads` adds before anything is loaded; no test here runs a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.errors import ConfigError, ModelError
from phoenix_ray.layouts import Head, Layout, Part, layout_from_json
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.heads.entry import add_heads
from phoenix_ray.models.onnx.catalog import shipped_manifests
from phoenix_ray.models.onnx.manifest import HeadManifest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.heads.made_up import emotion_head


def with_heads(*heads: Path | str, **settings: Any) -> ModelSettings:
    return ModelSettings(name="synthetic", heads=tuple(map(str, heads)), **settings)


def test_the_layout_has_the_heads_and_is_named_after_them(tmp_path: Path) -> None:
    layout = registry.facts(with_heads(emotion_head(tmp_path))).layout
    assert layout.name == "holistic-468+emotion"
    assert layout.heads == (Head("emotion", "face", ("neutral", "happy", "sad", "surprise"), ("valence", "arousal")),)
    assert layout_from_json(layout.to_json()) == layout
    assert layout.only(["face", "pose"]).heads == layout.heads
    assert layout.only(["pose"]).heads == ()


def test_a_model_without_heads_is_as_it_was() -> None:
    facts = registry.facts(ModelSettings(name="synthetic"))
    assert facts.layout.name == "holistic-468"
    assert facts.identity == {"model": "synthetic", "pipeline_version": "1"}


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"crop": {"part": "face", "scale": 1.3}}, "head.emotion.crop.scale"),
        ({"input": {"size": [32, 32], "std": [1]}}, "head.emotion.input.std"),
        ({"input": {"size": [32, 32], "std": [255], "fill": 7}}, "head.emotion.input.fill"),
    ],
)
def test_what_moves_a_number_is_in_the_identity(tmp_path: Path, fields: dict[str, Any], changed: str) -> None:
    before = registry.facts(with_heads(emotion_head(tmp_path))).identity
    after = registry.facts(with_heads(emotion_head(tmp_path, **fields))).identity
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {changed}


def test_texts_for_people_and_the_place_of_the_file_are_not_in_the_identity(tmp_path: Path) -> None:
    before = registry.facts(with_heads(emotion_head(tmp_path))).identity
    (tmp_path / "elsewhere").mkdir()
    moved = emotion_head(tmp_path / "elsewhere", description="other words", license="another")
    assert registry.facts(with_heads(moved)).identity == before
    assert before["heads"] == "[mood]"
    assert len(before["weights.emotion"]) == 64


def test_the_kernels_name_the_library_of_the_head(tmp_path: Path) -> None:
    assert "onnxruntime=" in registry.kernels(with_heads(emotion_head(tmp_path)))


def test_a_head_that_is_not_known_is_refused_with_a_similar_name() -> None:
    with pytest.raises(ConfigError, match=r"no model 'emonet-9' \(model\.heads\)\. Did you mean 'emonet-[58]'"):
        registry.facts(with_heads("emonet-9"))


def test_a_model_that_finds_points_is_no_head(tmp_path: Path) -> None:
    from tests.models.onnx.made_up import rtmw_like

    with pytest.raises(
        ConfigError, match=r"describes a network that finds points, not a head\. Give it as model\.name"
    ):
        registry.facts(with_heads(rtmw_like(tmp_path)))


def test_a_head_is_no_model_that_finds_points(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="describes a head"):
        registry.facts(ModelSettings(name=str(emotion_head(tmp_path))))


def test_two_heads_with_the_same_prefix_are_refused(tmp_path: Path) -> None:
    heads = emotion_head(tmp_path, "mood"), emotion_head(tmp_path, "humour")
    with pytest.raises(ConfigError, match="mood, humour all write the columns emotion_…"):
        registry.facts(with_heads(*heads))
    other = emotion_head(tmp_path, "humour", head="humour")
    assert registry.facts(with_heads(heads[0], other)).layout.name == "holistic-468+emotion+humour"


def test_a_part_that_the_model_does_not_find_is_refused_with_those_that_it_finds(tmp_path: Path) -> None:
    nose = emotion_head(tmp_path, crop={"part": "nose"})
    with pytest.raises(ConfigError, match=r"looks at the part 'nose'.*holistic-468 has pose, left_hand"):
        registry.facts(with_heads(nose))
    with pytest.raises(ConfigError, match=r"looks at the part 'face'.*blazepose"):
        registry.facts(ModelSettings(name="blazepose", heads=(str(emotion_head(tmp_path)),)))
    world = emotion_head(tmp_path, crop={"part": "pose_world"})
    with pytest.raises(ConfigError, match="looks at the part 'pose_world'"):
        registry.facts(with_heads(world))


def test_columns_that_the_layout_has_already_are_refused() -> None:
    layout = Layout("two", (Part("face", ("nose",), ("x", "y")),))
    with pytest.raises(ConfigError, match="the column face_score would be there twice"):
        add_heads(layout, [Head("face", "face", (), ("score",))])


def test_a_file_that_is_missing_or_another_is_refused_with_where_to_get_it(tmp_path: Path) -> None:
    manifest = emotion_head(tmp_path, source="Ask the author.")
    (tmp_path / "mood.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"mood\.onnx on .* has the sha256 .*, but its manifest"):
        registry.ensure_ready(with_heads(manifest))
    (tmp_path / "mood.onnx").unlink()
    with pytest.raises(
        ModelError, match=r"mood\.onnx cannot be read .*`phoenix-ray models add` puts it there \(Ask the author\."
    ):
        registry.create(with_heads(manifest))


def test_the_manifests_of_the_package_name_their_licence_and_fit_the_face_of_holistic() -> None:
    heads = [located for located in shipped_manifests() if isinstance(located.manifest, HeadManifest)]
    names = {located.manifest.name for located in heads}
    assert names >= {"fer", "emonet-5", "emonet-8", "enet_b0_8_va_mtl", "mbf_va_mtl", "mobilevit_va_mtl"}
    for located in heads:
        manifest = located.manifest
        assert located.path.stem == manifest.name
        layout = registry.facts(ModelSettings(heads=(manifest.name,))).layout
        assert layout.name == "holistic-468+emotion"
        assert len(layout.head("emotion").classes) in (5, 7, 8)
        assert ("NC-ND" in manifest.license) == manifest.name.startswith("emonet")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": {"size": [32, 16]}}, "input.size: .* is not a square"),
        ({"input": {"size": [32, 32], "padding": 1.2}}, "input.padding: it is crop.scale for a head"),
        ({"input": {"size": [32, 32], "resize": "letterbox"}}, "input.resize: .*'affine'"),
        (
            {"input": {"size": [32, 32], "channel_order": "grey", "mean": [1, 2, 3]}},
            "input.mean: it has 3: give 1 number",
        ),
        ({"head": "Emotion!"}, "head: write small letters"),
        ({"crop": {"part": "face", "scale": 0}}, "greater than 0"),
        ({"decoder": {}}, "decoder: it says nothing"),
        ({"decoder": {"classes": ["a"]}}, "decoder.logits: it is missing"),
        ({"decoder": {"classes": ["a", "a"], "logits": {}}}, "decoder.classes: it names a more than once"),
        ({"decoder": {"values": {"quality": {}}}}, "decoder.values.quality: every head has a column of this name"),
        ({"decoder": {"values": {"Valence": {}}}}, "decoder.values.Valence.*write small letters"),
        (
            {"decoder": {"values": {"valence": {"clamp": [1, -1]}}}},
            "decoder.values.valence.clamp: .* the lowest comes first",
        ),
    ],
)
def test_manifests_that_contradict_themselves_are_refused_with_the_reason(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.facts(with_heads(emotion_head(tmp_path, **fields)))


@pytest.mark.parametrize(("prefix", "value"), [("frame", "index"), ("video", "id")])
def test_columns_that_every_row_has_are_refused(prefix: str, value: str) -> None:
    layout = Layout("two", (Part("face", ("nose",), ("x", "y")),))
    with pytest.raises(ConfigError, match=f"the column {prefix}_{value} would be there twice"):
        add_heads(layout, [Head(prefix, "face", (), (value,))])
