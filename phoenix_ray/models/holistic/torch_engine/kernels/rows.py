"""Where the numbers of a frame stand in its row of the result."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.layouts import BLAZEPOSE, Layout, holistic


@dataclass(frozen=True, slots=True)
class RowColumns:
    """The columns of a row of landmarks: all points part by part, then the score of each scored part.

    Attributes:
        points: Part → its first column.
        score: Scored part → its column.
        count: Number of all columns.
    """

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
        return cls(points, score, count)

    @classmethod
    def of_face(cls, face_points: int) -> RowColumns:
        """Return the columns of Holistic with 468 or 478 points of the face, or with 0 of the pose alone."""
        return cls.of(holistic(face_points) if face_points else BLAZEPOSE)
