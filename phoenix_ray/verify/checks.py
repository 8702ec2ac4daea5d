"""What can differ in frames that both versions of a video have: names, statuses, parts, coordinates, scores.

Called by `verify.video` in this order. Each check yields at most a few `Difference`s, each over all frames it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.landmarks import Part
from phoenix_ray.models.agreement import differences
from phoenix_ray.models.base import is_found
from phoenix_ray.verify.aligned import AlignedFrames
from phoenix_ray.verify.differences import Difference, frame_text
from phoenix_ray.verify.tolerance import Tolerance


def check_names(frames: AlignedFrames) -> Iterator[Difference]:
    """Yield the frames whose names differ, where both sides have names of their own."""
    other = [row for row, (expected, found) in enumerate(frames.names) if expected and found and expected != found]
    if other:
        expected, found = frames.names[other[0]]
        numbers = tuple(frames.numbers[other].tolist())
        yield Difference("frame names", f"{frame_text(numbers)} named {found!r} instead of {expected!r}", numbers)


def check_statuses(frames: AlignedFrames) -> Iterator[Difference]:
    """Yield each change of status that does not follow from a part found or missing, which is told on its own."""
    presence = [is_found(expected) != is_found(found) for expected, found in frames.points.values()]
    changes: dict[tuple[str, str], list[int]] = {}
    for row, (expected, found) in enumerate(frames.statuses):
        follows = {expected, found} == {"ok", "no_person"} and any(changed[row] for changed in presence)
        if expected != found and not follows:
            changes.setdefault((expected, found), []).append(int(frames.numbers[row]))
    for (expected, found), numbers in changes.items():
        yield Difference("status", f"{frame_text(numbers)} {found!r} instead of {expected!r}", tuple(numbers))


def check_presence(part: Part, frames: AlignedFrames) -> Iterator[Difference]:
    """Yield the frames in which only one side has a part."""
    expected, found = map(is_found, frames.points[part.name])
    missing = tuple(frames.numbers[expected & ~found].tolist())
    if missing:
        yield Difference("part missing", f"{part.name} missing in {frame_text(missing)}", missing, part.name)
    extra = tuple(frames.numbers[found & ~expected].tolist())
    if extra:
        yield Difference("part extra", f"{part.name} extra in {frame_text(extra)}", extra, part.name)


def check_coordinates(part: Part, frames: AlignedFrames, tolerance: Tolerance) -> Iterator[Difference]:
    """Yield the frames in which both sides have a part with other values, and the value that is furthest off."""
    present = [is_found(points) for points in frames.points[part.name]]
    frames = frames.only(present[0] & present[1])
    expected, found = frames.points[part.name]
    different = tolerance.different(part, frames.sizes, expected, found)
    if not different.any():
        return
    distances = np.where(different, differences(expected, found), -1)
    row, point, axis = np.unravel_index(int(distances.argmax()), distances.shape)
    numbers = tuple(frames.numbers[different.any(axis=(1, 2))].tolist())
    pixels = _largest_pixels(part, frames, different)
    message = (
        f"{part.name} differs in {frame_text(numbers)}: {part.points[point]} {part.axes[axis]} of frame "
        f"{frames.numbers[row]} is {_value(found[row, point, axis])} instead of {_value(expected[row, point, axis])}"
    )
    if np.isfinite(distances.max()):
        message += f", off by {distances.max():.2g}"
    if different.sum() > 1:
        message += f", the most of {int(different.sum()):,} values"
    if pixels and np.isfinite(pixels):
        message += f" (at most {pixels:.2g} px)"
    yield Difference("coordinates", message, numbers, part.name, pixels, int(frames.numbers[row]))


def check_scores(part: Part, frames: AlignedFrames, tolerance: Tolerance) -> Iterator[Difference]:
    """Yield the frames in which a part's score differs, where both sides have scores."""
    if part.name not in frames.scores:
        return
    expected, found = frames.scores[part.name]
    different = tolerance.different_scores(expected, found)
    if not different.any():
        return
    numbers = tuple(frames.numbers[different].tolist())
    row = int(np.where(different, differences(expected, found), -1).argmax())
    message = (
        f"{part.name} score differs in {frame_text(numbers)}: {found[row]:.9g} instead of {expected[row]:.9g} in frame "
        f"{frames.numbers[row]}"
    )
    yield Difference("scores", message, numbers, part.name)


def _value(value: np.float32) -> str:
    return "missing" if np.isnan(value) else f"{value:.9g}"


def _largest_pixels(part: Part, frames: AlignedFrames, different: NDArray[np.bool_]) -> float:
    """Return the largest distance in the image in pixels; 0 for parts in metres, and where no size is known."""
    if not part.scored:
        return 0.0
    expected, found = frames.points[part.name]
    axes = [part.axes.index(axis) for axis in ("x", "y")]
    offsets = np.where(different, differences(expected, found), 0)[:, :, axes] * frames.sizes[:, np.newaxis, :]
    finite = np.where(np.isfinite(offsets), offsets, 0)
    return float(np.linalg.norm(finite, axis=2).max(initial=0))
