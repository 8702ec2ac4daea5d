from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray import coco_wholebody
from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.whole_body import confidence, pixel_sizes, whole_body
from tests.exports.made_up import VIDEOS

VIDEO = VIDEOS[1]


def test_points_are_pixels_of_the_mapped_points() -> None:
    points = whole_body(VIDEO, VIDEO.sizes)
    assert points.shape == (6, 133, 3)
    nose = VIDEO.points["pose"][3, 0]
    assert np.allclose(points[3, 0], [nose[0] * 210, nose[1] * 260, nose[3]])
    tip = VIDEO.points["right_hand"][3, 8]
    index_tip = coco_wholebody.NAMES.index("right_hand_index_finger_tip")
    assert np.allclose(points[3, index_tip], [tip[0] * 210, tip[1] * 260, VIDEO.scores["right_hand"][3]])


def test_missing_parts_are_zeros() -> None:
    points = whole_body(VIDEO, VIDEO.sizes)
    assert not points[0].any()
    assert not points[1, coco_wholebody.LEFT_HAND].any()
    assert points[1, coco_wholebody.RIGHT_HAND].all()
    assert not points[2, coco_wholebody.FACE].any()


def test_confidence_is_1_where_the_landmarks_came_without() -> None:
    bare = replace(VIDEO, scores={part: np.full(6, np.nan, np.float32) for part in VIDEO.scores})
    assert confidence(bare, "left_hand")[:, 0].tolist() == [0, 0, 1, 1, 1, 1]


def test_frames_without_landmarks_need_no_size() -> None:
    sizes = VIDEO.sizes.copy()
    sizes[0] = 0
    assert pixel_sizes(replace(VIDEO, sizes=sizes)) is sizes
    sizes[4, 1] = 0
    with pytest.raises(ConfigError, match="the size of frame 4 is not known"):
        pixel_sizes(replace(VIDEO, sizes=sizes))
