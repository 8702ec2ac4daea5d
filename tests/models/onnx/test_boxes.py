from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.onnx.boxes import FrameBox, make_box_finder
from phoenix_ray.models.onnx.decoders.person_boxes import PersonBoxes, decode_boxes
from phoenix_ray.models.onnx.manifest import PoseManifest, RtmdetDecoder, YoloBoxDecoder, YoloxDecoder

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def pose_manifest(box: str = "frame") -> PoseManifest:
    return PoseManifest.model_validate(
        {
            "name": "pose",
            "license": "none",
            "source": "none",
            "layout": "coco-17",
            "box": box,
            "input": {"size": [64, 64], "resize": "affine"},
            "decoder": {"kind": "simcc"},
        }
    )


def overlap(first: Floats, second: Floats) -> float:
    """Return intersection over union of two boxes."""
    across = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    down = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (first, second)]
    union = sum(areas) - across * down
    return across * down / union if union else 1.0


def test_the_frame_is_the_box_of_any_picture() -> None:
    found = FrameBox().find([np.zeros((260, 210, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)])
    assert [box.tolist() for box in found if box is not None] == [[0, 0, 210, 260], [0, 0, 6, 4]]


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4, st.integers(0, 4)), max_size=6))
def test_the_largest_score_times_area_comes_first_and_the_first_of_equals(rows: list[tuple[int, ...]]) -> None:
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[4] / 4 for row in rows], np.float32)
    order = PersonBoxes(boxes, scores).by_prominence().tolist()

    def prominence(row: int) -> float:
        x1, y1, x2, y2, score = rows[row]
        return max(0, x2 - x1) * max(0, y2 - y1) * score / 4

    assert sorted(order) == [row for row in range(len(rows)) if prominence(row) > 0]
    for earlier, later in itertools.pairwise(order):
        assert (prominence(earlier), -earlier) > (prominence(later), -later)


@given(seed=st.integers(0, 10**6), max_overlap=st.sampled_from([0.3, 0.7]))
def test_yolo_keeps_each_person_once(seed: int, max_overlap: float) -> None:
    random = np.random.default_rng(seed)
    rows = np.zeros((1, 6, 12), np.float32)
    rows[0, :2], rows[0, 2:4] = random.uniform(0, 40, (2, 12)), random.uniform(10, 40, (2, 12))
    rows[0, 4] = random.permutation(12) / 12
    decoder = YoloBoxDecoder.model_validate({"kind": "yolo", "max_overlap": max_overlap})
    (found,) = decode_boxes({"rows": rows}, decoder, (64, 64))
    # The same in loops: from the best on, what overlaps none that is kept.
    kept: list[tuple[Floats, float]] = []
    for anchor in sorted(range(12), key=lambda anchor: -rows[0, 4, anchor]):
        x, y, width, height, score = rows[0, :5, anchor]
        box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)
        if score > 0.25 and all(overlap(box, other) <= max_overlap for other, _ in kept):
            kept.append((box, float(score)))
    assert sorted(found.scores.tolist()) == sorted(score for _, score in kept)
    for box, score in kept:
        assert np.allclose(found.boxes[found.scores.tolist().index(score)], box)


def test_yolox_without_suppression_counts_in_cells_of_three_grids() -> None:
    """64x32 pixels have 8x4, 4x2 and 2x1 cells; the last one of the second grid is at (3, 1), 16 pixels wide."""
    rows = np.full((1, 32 + 8 + 2, 7), -5, np.float32)
    rows[..., 4:] = 0
    rows[0, 39] = [0.5, 0.25, np.log(2), np.log(1.5), 0.9, 0.8, 0.1]
    (found,) = decode_boxes({"output": rows}, YoloxDecoder(kind="yolox"), (64, 32))
    middle, extent = (16 * 3.5, 16 * 1.25), (32, 24)
    expected = [middle[0] - 16, middle[1] - 12, middle[0] + 16, middle[1] + 12]
    assert np.allclose(found.boxes, [expected])
    assert np.allclose(found.scores, [0.72])
    assert extent == (found.boxes[0, 2] - found.boxes[0, 0], found.boxes[0, 3] - found.boxes[0, 1])


@pytest.mark.parametrize("decoder", [YoloxDecoder(kind="yolox"), RtmdetDecoder(kind="rtmdet", output="")])
def test_boxes_that_are_suppressed_already_are_taken_as_they_are(decoder: YoloxDecoder | RtmdetDecoder) -> None:
    rows = np.array([[[1, 2, 11, 22, 0.9], [1, 2, 11, 21, 0.8], [0, 0, 5, 5, 0.3]]], np.float32)
    (found,) = decode_boxes({"dets": rows}, decoder, (64, 64))
    assert found.boxes.tolist() == rows[0, :2, :4].tolist()
    assert found.scores.tolist() == rows[0, :2, 4].tolist()


def brightest_square(path: Path) -> None:
    """Write a detector of 64x64 pixels whose rows are two boxes, with the picture's mean as the score of the second."""
    from onnx import helper

    from tests.models.onnx.made_up import write_network

    constants: dict[str, Any] = {
        "boxes": np.array([[[8, 16, 24, 48, 0.5], [10, 20, 50, 60, 0]]], np.float32),
        "second": np.array([[[0] * 5, [0, 0, 0, 0, 1]]], np.float32),
        "size": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "size"], ["score"]),
        helper.make_node("Mul", ["score", "second"], ["scored"]),
        helper.make_node("Add", ["scored", "boxes"], ["dets"]),
    ]
    write_network(path, nodes, {"input": ["N", 3, 64, 64]}, {"dets": ["N", 2, 5]}, constants)


def detector(folder: Path, min_score: float = 0.3) -> ModelSettings:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.models.onnx.made_up import write_manifest

    brightest_square(folder / "people.onnx")
    manifest = write_manifest(
        folder / "people.yaml",
        folder / "people.onnx",
        kind="detector",
        input={"size": [64, 64], "std": [255], "resize": "letterbox", "position": "top_left", "fill": 0},
        decoder={"kind": "rtmdet", "min_score": min_score},
    )
    return ModelSettings(name="pose", box="detector", detector=str(manifest))


def test_a_detector_finds_the_most_prominent_person_in_pixels_of_the_picture(tmp_path: Path) -> None:
    finder = make_box_finder(pose_manifest(), detector(tmp_path))
    dark, bright = np.zeros((128, 96, 3), np.uint8), np.full((128, 96, 3), 255, np.uint8)
    # The second box is larger, if its score is above 0.3: the letterbox leaves three quarters of the input bright.
    found = finder.find([dark, bright, dark])
    assert [None if box is None else box.tolist() for box in found] == [
        [16, 32, 48, 96],
        # Clipped to the picture, 96 pixels wide.
        [20, 40, 96, 120],
        [16, 32, 48, 96],
    ]


def test_a_picture_in_which_the_detector_finds_nobody_has_no_box(tmp_path: Path) -> None:
    finder = make_box_finder(pose_manifest(), detector(tmp_path, min_score=0.6))
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    assert [box is None for box in finder.find([dark, bright])] == [True, False]
    assert finder.find([]) == []


def test_a_box_of_a_detector_needs_the_name_of_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.detector"):
        make_box_finder(pose_manifest("detector"), ModelSettings())
    from tests.models.onnx.made_up import rtmw_like

    with pytest.raises(ConfigError, match="describes a network that finds points, not a detector"):
        make_box_finder(pose_manifest("detector"), ModelSettings(detector=str(rtmw_like(tmp_path))))


@pytest.mark.usefixtures("weights")
def test_blazeposes_detector_finds_the_person_wherever_it_stands(astronaut: Image) -> None:
    finder = make_box_finder(pose_manifest("blazepose"), ModelSettings())
    empty = np.full((260, 210, 3), 90, np.uint8)
    smaller = np.asarray(cv2.resize(astronaut, (256, 256)), np.uint8)
    wide = np.zeros((256, 700, 3), np.uint8)
    wide[:, 400:656] = smaller
    nobody, alone, moved = finder.find([empty, smaller, wide])
    assert nobody is None
    assert alone is not None
    assert moved is not None
    assert np.isclose(alone[2] - alone[0], alone[3] - alone[1])
    # The face is at (112, 58). How far the body goes on below the picture is a guess, so the circles differ in size.
    for box, left in ((alone, 0), (moved, 400)):
        assert box[0] < left + 112 < box[2]
        assert box[1] < 58 < box[3]
    assert moved[0] > 250
    again = finder.find([smaller])[0]
    assert again is not None
    assert np.array_equal(again, alone)


def test_a_detector_may_find_another_number_of_boxes_in_each_picture(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import helper

    from tests.models.onnx.made_up import write_manifest, write_network

    constants: dict[str, Any] = {
        "boxes": np.array([[8, 16, 24, 48, 0.9], [0, 0, 60, 60, 0.5], [10, 20, 50, 60, 0.2]], np.float32),
        "many": np.array([3], np.float32),
        "axes": np.array([0], np.int64),
        "start": np.array([0], np.int64),
    }
    nodes = [
        # As many boxes as the picture is bright, one of three at least.
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "many"], ["share"]),
        helper.make_node("Ceil", ["share"], ["count"]),
        helper.make_node("Cast", ["count"], ["end"], to=7),
        helper.make_node("Slice", ["boxes", "start", "end", "axes"], ["kept"]),
        helper.make_node("Unsqueeze", ["kept", "axes"], ["dets"]),
    ]
    write_network(tmp_path / "nms.onnx", nodes, {"input": ["N", 3, 64, 64]}, {"dets": [1, "K", 5]}, constants)
    manifest = write_manifest(
        tmp_path / "nms.yaml",
        tmp_path / "nms.onnx",
        kind="detector",
        input={"size": [64, 64], "std": [255], "resize": "letterbox"},
        decoder={"kind": "rtmdet", "min_score": 0.3},
    )
    finder = make_box_finder(pose_manifest(), ModelSettings(name="pose", box="detector", detector=str(manifest)))
    pictures = [np.full((64, 64, 3), brightness, np.uint8) for brightness in (10, 250, 0)]
    found = [None if box is None else box.tolist() for box in finder.find(pictures)]
    assert found == [[8, 16, 24, 48], [0, 0, 60, 60], None]
