"""What two layouts have in common: the parts, points and axes that can be compared at all.

Formats differ: 468 or 478 face points, no `pose_world`, no visibility. What only one side has is said and left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.landmarks import Layout, Part
from phoenix_ray.models.agreement import Points


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A part that both sides have.

    Attributes:
        part: With the points and axes that both have, in the order of the reference.
        reference: Places of these points and of these axes in the reference's part.
        candidate: The same in the candidate's.
    """

    part: Part
    reference: tuple[NDArray[np.intp], NDArray[np.intp]]
    candidate: tuple[NDArray[np.intp], NDArray[np.intp]]

    def of_reference(self, video: VideoLandmarks, rows: NDArray[np.intp]) -> Points:
        """Return the part in some rows of the reference, float32 (rows, points, axes)."""
        return _pick(video, self.part.name, rows, self.reference)

    def of_candidate(self, video: VideoLandmarks, rows: NDArray[np.intp]) -> Points:
        """Return the part in some rows of the candidate, float32 (rows, points, axes)."""
        return _pick(video, self.part.name, rows, self.candidate)


@dataclass(frozen=True, slots=True)
class SharedLayout:
    """The parts that both sides have, and a sentence for each thing that only one has."""

    parts: tuple[SharedPart, ...]
    notes: tuple[str, ...]


def share(reference: Layout, candidate: Layout) -> SharedLayout:
    """Return what two layouts have in common, by the names of parts, points and axes."""
    theirs = {part.name: part for part in candidate.parts}
    parts, notes = [], []
    for part in reference.parts:
        if part.name not in theirs:
            notes.append(f"{part.name} is in the reference only and was not compared")
            continue
        other = theirs.pop(part.name)
        points = [point for point in part.points if point in set(other.points)]
        axes = [axis for axis in part.axes if axis in other.axes]
        if not points or not {"x", "y"}.issubset(axes):
            notes.append(f"{part.name} has no point with x and y in common and was not compared")
            continue
        for what, shared, mine, its in (
            ("points", points, part.points, other.points),
            ("axes", axes, part.axes, other.axes),
        ):
            if len(shared) < max(len(mine), len(its)):
                counts = f"{len(mine)} in the reference, {len(its)} in the candidate"
                notes.append(f"{part.name}: only the {len(shared)} {what} that both have were compared ({counts})")
        common = Part(part.name, tuple(points), tuple(axes), scored=part.scored and other.scored)
        parts.append(SharedPart(common, _places(part, common), _places(other, common)))
    notes += [f"{name} is in the candidate only and was not compared" for name in theirs]
    return SharedLayout(tuple(parts), tuple(notes))


def _places(part: Part, common: Part) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    points = {point: index for index, point in enumerate(part.points)}
    return (
        np.array([points[point] for point in common.points], np.intp),
        np.array([part.axes.index(axis) for axis in common.axes], np.intp),
    )


def _pick(
    video: VideoLandmarks, part: str, rows: NDArray[np.intp], places: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> Points:
    points, axes = places
    return video.points[part][np.ix_(rows, points, axes)]
