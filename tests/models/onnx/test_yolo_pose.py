from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.yolo_pose import decode_yolo_pose
from phoenix_ray.models.onnx.manifest import YoloPoseDecoder

POINTS, ANCHORS = 3, 6
VALUES = st.integers(0, 16).map(lambda value: value / 16)


@pytest.mark.parametrize("min_score", [0.25, 0.5])
@given(rows=arrays.arrays(np.float32, (2, 5 + 3 * POINTS, ANCHORS), elements=VALUES))
def test_the_anchor_with_the_highest_score_is_the_person(min_score: float, rows: NDArray[np.float32]) -> None:
    decoder = YoloPoseDecoder.model_validate({"kind": "yolo-pose", "min_score": min_score})
    found = decode_yolo_pose(rows, decoder)
    assert found.person is not None
    for frame in range(2):
        best = 0
        for anchor in range(ANCHORS):
            if rows[frame, 4, anchor] > rows[frame, 4, best]:
                best = anchor
        score = rows[frame, 4, best]
        if score > min_score:
            assert found.person[frame] == score
        else:
            assert np.isnan(found.person[frame])
        for point in range(POINTS):
            first = 5 + 3 * point
            assert found.xy[frame, point].tolist() == [rows[frame, first, best], rows[frame, first + 1, best]]
            assert found.scores[frame, point] == rows[frame, first + 2, best]


def test_points_outside_of_the_picture_are_to_be_moved_to_its_edge_as_ultralytics_does() -> None:
    rows = np.zeros((1, 8, 2), np.float32)
    assert decode_yolo_pose(rows, YoloPoseDecoder(kind="yolo-pose")).clipped


def test_without_anchors_there_is_nobody() -> None:
    found = decode_yolo_pose(np.empty((2, 5 + 3 * POINTS, 0), np.float32), YoloPoseDecoder(kind="yolo-pose"))
    assert found.xy.shape == (2, POINTS, 2)
    assert found.person is not None
    assert np.isnan(found.person).all()
