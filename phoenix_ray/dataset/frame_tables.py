"""The landmarks of a video as a pandas table, `VideoLandmarks.to_pandas`: a row for each frame, or for each point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingPackagesError
from phoenix_ray.layouts import Part

if TYPE_CHECKING:
    from types import ModuleType

    import pandas

    from phoenix_ray.dataset.video_landmarks import VideoLandmarks


def tabulate_frames(video: VideoLandmarks, parts: Sequence[str] | None = None, long: bool = False) -> pandas.DataFrame:
    """Return the landmarks of a video as a table; see `VideoLandmarks.to_pandas`."""
    pandas = _import_pandas()
    chosen = video.layout.parts_named(video.points if parts is None else parts)
    frames = {
        "frame_index": video.frame_index,
        "timestamp": video.timestamps,
        "status": pandas.Categorical(video.status),
        "frame_name": np.array(video.frame_names, object),
        "width": video.sizes[:, 0],
        "height": video.sizes[:, 1],
    }
    if long:
        return _tabulate_points(pandas, video, chosen, frames)
    scores = {f"{part.name}_score": video.scores[part.name] for part in chosen if part.name in video.scores}
    scores |= _head_numbers(video, {part.name for part in chosen})
    names = [
        f"{part.name}_{point}_{axis}" for part in chosen for point in range(len(part.points)) for axis in part.axes
    ]
    values = [video.points[part.name].reshape(len(video), len(part.points) * len(part.axes)) for part in chosen]
    # One array for all points: a thousand columns that are added singly take seconds.
    landmarks = np.concatenate(values, axis=1) if values else np.empty((len(video), 0), np.float32)
    return pandas.concat(
        [pandas.DataFrame({**frames, **scores}), pandas.DataFrame(landmarks, columns=names, copy=False)], axis=1
    )


def _head_numbers(video: VideoLandmarks, parts: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """Return what the heads of some parts say, a column for each number."""
    columns: dict[str, NDArray[np.float32]] = {}
    for head in video.layout.heads:
        if head.part in parts:
            names = (*(f"{head.logits_column}_{label}" for label in head.classes), *head.number_columns)
            columns |= dict(zip(names, video.heads[head.name].T, strict=True))
    return columns


def _tabulate_points(
    pandas: ModuleType, video: VideoLandmarks, parts: Sequence[Part], frames: dict[str, object]
) -> pandas.DataFrame:
    """Return a row for each frame and point, by frame and then in the order of the parts and their points."""
    counts = [len(part.points) for part in parts]
    number = sum(counts)
    axes = list(dict.fromkeys(axis for part in parts for axis in part.axes))
    kept = ("frame_index", "timestamp", "status")
    columns = {name: pandas.Series(frames[name]).repeat(number).reset_index(drop=True) for name in kept}
    part_codes = np.repeat(np.arange(len(parts), dtype=np.int8), counts)
    columns["part"] = pandas.Categorical.from_codes(
        np.tile(part_codes, len(video)), categories=[part.name for part in parts]
    )
    columns["point"] = np.tile(np.concatenate([np.arange(count, dtype=np.int32) for count in [*counts, 0]]), len(video))
    points = [point for part in parts for point in part.points]
    # Pose and pose_world share the names of their points.
    codes = {name: code for code, name in enumerate(dict.fromkeys(points))}
    codes_of_frame = np.array([codes[point] for point in points], np.int32)
    columns["name"] = pandas.Categorical.from_codes(np.tile(codes_of_frame, len(video)), categories=list(codes))
    for axis in axes:
        values = [_axis_of(video, part, axis) for part in parts]
        columns[axis] = np.concatenate(values, axis=1).reshape(-1)
    scores = [_scores_of(video, part) for part in parts]
    columns["score"] = np.concatenate([*scores, np.empty((len(video), 0), np.float32)], axis=1).reshape(-1)
    return pandas.DataFrame(columns)


def _axis_of(video: VideoLandmarks, part: Part, axis: str) -> NDArray[np.float32]:
    """Return an axis of a part, float32 (frames, points), NaN where the part does not have it."""
    if axis in part.axes:
        return video.points[part.name][:, :, part.axes.index(axis)]
    return np.full((len(video), len(part.points)), np.nan, np.float32)


def _scores_of(video: VideoLandmarks, part: Part) -> NDArray[np.float32]:
    """Return the score of a part for each of its points, float32 (frames, points), NaN where it has none."""
    scores = video.scores.get(part.name, np.full(len(video), np.nan, np.float32))
    return np.broadcast_to(scores[:, np.newaxis], (len(video), len(part.points)))


def _import_pandas() -> ModuleType:
    try:
        import pandas
    except ModuleNotFoundError:
        raise MissingPackagesError("to_pandas() needs pandas: pip install pandas") from None
    found: ModuleType = pandas
    return found
