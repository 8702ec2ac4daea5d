"""Left-right mirror: the same signer with the other hand dominant."""

from __future__ import annotations

from dataclasses import dataclass, replace

from phoenix_ray.prepare.prepared import Floats, Placement, Prepared
from phoenix_ray.prepare.take import take_columns


@dataclass(frozen=True, slots=True)
class Mirror:
    """Mirror the image and rename the points, so that the left hand is a left hand again.

    Hands change places, left and right points of the pose, and the points of the face by the symmetry of its mesh. Done
    twice it is the identity (bit for bit after a normalisation, to rounding before), and it may stand before or after
    any normalisation, resampling, filling or smoothing: the result is the same, to rounding.
    """

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the mirrored video.

        Raises:
            ValueError: A point was taken whose counterpart was not.
        """
        columns = [self._counterpart(prepared, column) for column in range(len(prepared.chosen))]
        points = prepared.points[:, columns]
        for axis, name in enumerate(prepared.axes):
            if name.endswith("x"):
                points[:, :, axis] = -points[:, :, axis]
        if not prepared.placements:
            x = prepared.axes.index("x")
            points[:, :, x] = 1 + points[:, :, x]
        return replace(
            prepared,
            points=points,
            filled=prepared.filled[:, columns],
            confidence=prepared.confidence[:, columns],
            # Only the first placement starts from coordinates whose zero is the edge of the image.
            placements=tuple(
                _mirror_placement(placement, columns, width=0 if number else 1)
                for number, placement in enumerate(prepared.placements)
            ),
            mirrored=not prepared.mirrored,
        )

    def inverse(self, prepared: Prepared) -> Prepared:
        """Mirror back."""
        return self(prepared)

    def _counterpart(self, prepared: Prepared, column: int) -> int:
        point = prepared.chosen[column]
        if point not in prepared.counterparts:
            raise ValueError(f"Nothing is known of the other side of point {point[1]} of {point[0]}: it cannot mirror.")
        return prepared.column(prepared.counterparts[point])


def _mirror_placement(placement: Placement, columns: list[int], width: int) -> Placement:
    origin: Floats = take_columns(placement.origin, columns).copy()
    origin[:, :, 0] = width - origin[:, :, 0]
    return Placement(origin, take_columns(placement.scale, columns))
