from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.errors import ModelError
from phoenix_ray.layouts import LAYOUTS, Layout, Part
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.models.base import LandmarkBatch, PoseModel
from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.engine import OnnxModel, to_landmarks
from phoenix_ray.models.onnx.manifest import InputFormat
from phoenix_ray.models.onnx.regions import region_of

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.onnx.made_up import rtmw_like, simcc_network, write_manifest

Images = list[np.ndarray[Any, np.dtype[np.uint8]]]
SIZES = [(260, 210), (120, 200), (64, 64), (480, 640)]


def pictures(sizes: list[tuple[int, int]]) -> Images:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rtmw_like(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def model(network: Path) -> PoseModel:
    return registry.create(ModelSettings(name=str(network), batch_size=16))


def joined(batches: list[LandmarkBatch]) -> LandmarkBatch:
    return LandmarkBatch(
        {part: np.concatenate([batch.points[part] for batch in batches]) for part in batches[0].points},
        {part: np.concatenate([batch.scores[part] for batch in batches]) for part in batches[0].scores},
    )


def assert_same(some: LandmarkBatch, others: LandmarkBatch) -> None:
    for part, points in some.points.items():
        assert same_bits(points, others.points[part]).all(), part
        assert same_bits(some.scores[part], others.scores[part]).all(), part


def test_frames_become_landmarks_of_the_layout(network: Path, model: PoseModel) -> None:
    assert model.layout is LAYOUTS["coco-wholebody-133"]
    assert registry.facts(ModelSettings(name=str(network))).layout is model.layout
    found = model.estimate(pictures(SIZES))
    assert found.present("face").all()
    assert found.points["face"].shape == (4, 68, 3)
    assert found.events == ()


@settings(max_examples=8, deadline=None)
@given(chosen=st.lists(st.sampled_from(SIZES), min_size=1, max_size=17), size=st.sampled_from([1, 4, 8, 16]))
def test_a_frame_has_the_same_bits_in_each_batch(model: PoseModel, chosen: list[tuple[int, int]], size: int) -> None:
    images = pictures(chosen)
    whole = model.estimate(images)
    assert_same(joined([model.estimate(images[first : first + size]) for first in range(0, len(images), size)]), whole)


def test_no_frames_are_no_landmarks(model: PoseModel) -> None:
    found = model.estimate([])
    assert {part.name: (0, len(part.points), 3) for part in model.layout.parts} == {
        name: points.shape for name, points in found.points.items()
    }
    assert all(scores.shape == (0,) for scores in found.scores.values())


def test_inputs_of_unlike_shapes_go_through_in_groups(tmp_path: Path) -> None:
    """A letterbox that is filled up to a multiple of 32 pixels gives frames of unlike sizes unlike inputs."""
    network = tmp_path / "any.onnx"
    any_size_network(network)
    manifest = write_manifest(
        tmp_path / "any.yaml",
        network,
        layout={"name": "two", "parts": [{"name": "pose", "points": ["left", "right"]}]},
        input={"size": [128, 128], "resize": "letterbox", "multiple_of": 32, "std": [255]},
        decoder={"kind": "heatmap", "refine": "none"},
        missing_below=0.0,
    )
    model = registry.create(ModelSettings(name=str(manifest)))
    images = pictures([(64, 128), (128, 128), (64, 128), (128, 64), (128, 128)])
    together = model.estimate(images)
    assert together.present("pose").all()
    assert_same(joined([model.estimate([image]) for image in images]), together)


def any_size_network(path: Path) -> None:
    """Write a network of any size whose two heat maps are its first two colours, a quarter as large."""
    from onnx import helper

    from tests.models.onnx.made_up import write_network

    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Slice", ["pooled", "first", "last", "axis"], ["maps"]),
    ]
    constants = {"first": np.array([0]), "last": np.array([2]), "axis": np.array([1])}
    write_network(path, nodes, {"input": ["N", 3, "H", "W"]}, {"maps": ["N", 2, "h", "w"]}, constants)


class NobodyInTheFirst:
    def find(self, images: Images) -> list[np.ndarray[Any, np.dtype[np.float32]] | None]:
        boxes = [np.array([0, 0, image.shape[1], image.shape[0]], np.float32) for image in images]
        return [None, *boxes[1:]]


def test_a_frame_without_a_box_has_no_pose_and_moves_no_other(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(SIZES)
    whole = registry.create(ModelSettings(name=str(network))).estimate(images)
    monkeypatch.setattr("phoenix_ray.models.onnx.engine.make_box_finder", lambda *_: NobodyInTheFirst())
    found = registry.create(ModelSettings(name=str(network))).estimate(images)
    for part, points in found.points.items():
        assert np.isnan(points[0]).all()
        assert np.isnan(found.scores[part][0])
        assert same_bits(points[1:], whole.points[part][1:]).all()


@pytest.fixture
def hands_alone(tmp_path: Path) -> Path:
    network = tmp_path / "hands.onnx"
    simcc_network(network, points=6, size=(64, 64))
    return network


def manifest_of(network: Path, **fields: Any) -> Path:
    return write_manifest(
        network.with_suffix(".yaml"),
        network,
        **{
            "input": {"size": [64, 64], "resize": "affine"},
            "decoder": {"kind": "simcc"},
            "missing_below": 0.0,
            **fields,
        },
    )


def custom(*counts: int) -> dict[str, Any]:
    parts = [{"name": f"part{i}", "points": [f"p{k}" for k in range(count)]} for i, count in enumerate(counts)]
    return {"name": "custom", "parts": parts}


def test_points_outside_of_keep_are_dropped(hands_alone: Path) -> None:
    images = pictures(SIZES[:2])
    whole = registry.create(ModelSettings(name=str(manifest_of(hands_alone, layout=custom(6))))).estimate(images)
    kept = manifest_of(hands_alone, layout=custom(1, 2), keep=[5, 0, 3])
    found = registry.create(ModelSettings(name=str(kept))).estimate(images)
    assert same_bits(found.points["part0"], whole.points["part0"][:, [5]]).all()
    assert same_bits(found.points["part1"], whole.points["part0"][:, [0, 3]]).all()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layout": custom(5)}, r"gives 6 points, but its manifest's layout custom has 5.*keep"),
        ({"layout": custom(2), "keep": [1, 6]}, r"gives 6 points, numbered from 0, but its manifest keeps point 6"),
    ],
)
def test_a_network_with_other_points_than_its_manifest_is_refused(
    hands_alone: Path, fields: dict[str, Any], says: str
) -> None:
    model = registry.create(ModelSettings(name=str(manifest_of(hands_alone, **fields))))
    with pytest.raises(ModelError, match=says):
        model.estimate(pictures(SIZES[:1]))


def test_a_part_is_missing_where_its_mean_score_is_low_or_nobody_is_found() -> None:
    layout = Layout(
        "two", (Part("a", ("p",), ("x", "y", "confidence")), Part("b", ("p", "q"), ("x", "y", "confidence")))
    )
    scores = np.array([[0.5, 0.1, 0.3], [0.1, 0.4, 0.6], [0.9, 0.9, 0.9], [np.nan, 0.9, 0.9]], np.float32)
    person = np.array([0.5, 0.5, np.nan, 0.5], np.float32)
    found = DecodedPoints(np.ones((4, 3, 2), np.float32), scores, person)
    form = InputFormat(size=(10, 10), resize="affine")
    regions = [region_of(np.array([0, 0, 10, 10], np.float32), form)] * 4
    landmarks = to_landmarks(layout, found, regions, np.full((4, 1, 2), 10, np.float32), 0.25)
    assert landmarks.present("a").tolist() == [True, False, False, False]
    assert landmarks.present("b").tolist() == [False, True, False, True]
    assert landmarks.scores["b"][:2].tolist() == pytest.approx([0.2, 0.5])


def test_a_batch_that_does_not_fit_on_a_gpu_is_an_event_of_the_batch(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = registry.create(ModelSettings(name=str(network)))
    assert isinstance(model, OnnxModel)
    monkeypatch.setattr(model._session, "_events", ["out of memory with 2 frames at once: went on with 1"])
    assert model.estimate(pictures(SIZES[:2])).events == ("out of memory with 2 frames at once: went on with 1",)
    assert model.estimate(pictures(SIZES[:2])).events == ()


def test_a_closed_model_has_let_go_of_its_network(network: Path) -> None:
    model = registry.create(ModelSettings(name=str(network)))
    assert isinstance(model, OnnxModel)
    model.close()
    assert not hasattr(model._session, "_session")
