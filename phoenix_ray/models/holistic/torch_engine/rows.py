"""The rows in which a batch's landmarks come back from a device, and where each number stands in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import BLAZEPOSE, Layout, holistic
from phoenix_ray.models.base import LandmarkBatch


@dataclass(frozen=True, slots=True)
class RowColumns:
    """The columns of a row of landmarks: all points part by part, then the score of each scored part.

    Attributes:
        layout: The parts.
        points: Part → its first column.
        score: Scored part → its column.
        count: Number of all columns.
    """

    layout: Layout
    points: dict[str, int]
    score: dict[str, int]
    count: int

    @classmethod
    def of(cls, layout: Layout) -> RowColumns:
        """Return the columns of a layout."""
        points, score, count = {}, {}, 0
        for part in layout.parts:
            points[part.name] = count
            count += len(part.points) * len(part.axes)
        for part in layout.parts:
            if part.scored:
                score[part.name] = count
                count += 1
        return cls(layout, points, score, count)

    @classmethod
    def of_face(cls, face_points: int) -> RowColumns:
        """Return the columns of Holistic with 468 or 478 points of the face, or with 0 of the pose alone."""
        return cls.of(holistic(face_points) if face_points else BLAZEPOSE)

    def split(self, rows: NDArray[np.float32], events: tuple[str, ...] = ()) -> LandmarkBatch:
        """Return rows as landmarks and scores by part.

        Args:
            rows: float32 (N, at least `count`); what follows the columns, such as a state, is left out.
            events: Those of the batch.
        """
        points = {}
        for part in self.layout.parts:
            shape, first = (len(part.points), len(part.axes)), self.points[part.name]
            points[part.name] = rows[:, first : first + shape[0] * shape[1]].reshape(-1, *shape)
        scores = {name: rows[:, column].copy() for name, column in self.score.items()}
        return LandmarkBatch(points, scores, events)
