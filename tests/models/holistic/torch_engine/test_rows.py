"""Rows of landmarks: a column for each number."""

from __future__ import annotations

import numpy as np
import pytest

from phoenix_ray.layouts import BLAZEPOSE, Layout, holistic
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns


@pytest.mark.parametrize("layout", [BLAZEPOSE, holistic(468), holistic(478)], ids=lambda layout: layout.name)
def test_each_number_has_a_column_of_its_own_points_before_scores(layout: Layout) -> None:
    columns = RowColumns.of(layout)
    taken = [
        columns.points[part.name] + number
        for part in layout.parts
        for number in range(len(part.points) * len(part.axes))
    ]
    taken += [columns.score[part.name] for part in layout.parts if part.scored]
    assert taken == list(range(columns.count))


@pytest.mark.parametrize(("face_points", "layout"), [(0, BLAZEPOSE), (468, holistic(468)), (478, holistic(478))])
def test_the_points_of_the_face_choose_the_layout(face_points: int, layout: Layout) -> None:
    assert RowColumns.of_face(face_points) == RowColumns.of(layout)


def test_rows_are_split_into_the_parts_whose_columns_they_have() -> None:
    columns = RowColumns.of_face(468)
    rows = np.arange(2 * (columns.count + 3), dtype=np.float32).reshape(2, -1)
    batch = columns.split(rows, ("an event",))
    assert list(batch.points) == list(columns.points)
    for name, points in batch.points.items():
        flat = points.reshape(2, -1)
        np.testing.assert_array_equal(flat, rows[:, columns.points[name] :][:, : flat.shape[1]])
    assert {name: list(score) for name, score in batch.scores.items()} == {
        name: list(rows[:, column]) for name, column in columns.score.items()
    }
    assert batch.events == ("an event",)
