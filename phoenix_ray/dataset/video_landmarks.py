"""The landmarks of a video as arrays, for verify, exports, statistics and training.

The form is the same for a dataset of ours (`Dataset.load`), a fresh computation, and a file of another tool
(`exports`). Missing landmarks are NaN here and null in Parquet, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from phoenix_ray.dataset.descriptions import describe_video
from phoenix_ray.dataset.head_columns import cut_into_columns
from phoenix_ray.dataset.schema import STATUSES, to_batch
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.layouts import Layout, Part
from phoenix_ray.models.base import is_found

if TYPE_CHECKING:
    import os

    import pandas
    from PIL.Image import Image

    from phoenix_ray.viewer.player import VideoPlayer

IMAGE_AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True, repr=False)
class VideoLandmarks:
    """The landmarks of a video, one row per frame. Threads may share it, as nothing changes it.

    Attributes:
        split: Its split.
        video_id: The video.
        layout: Parts, points and axes.
        frame_index: int32 (frames,): 0-based position of each row in the video, ascending.
        frame_names: File name of each frame, or `frame-<index>`.
        timestamps: float64 (frames,): seconds from the start, NaN where the source has no clock.
        sizes: int32 (frames, 2): width and height in pixels of the decoded frame, 0 where it was unreadable.
        status: Status of each frame (`dataset.schema.FrameStatus`).
        points: Part name → float32 (frames, points, axes) in the order of the layout. x and y are normalised to the
            image, z is scaled like x; NaN throughout a frame in which the part is missing.
        scores: Part name → float32 (frames,): the network's presence score, NaN where it did not run.
        fps: Frames per second, None where the source has no clock; the average where the rate varies.
        annotation: Text of the source: `signer`, `gloss`, `translation` and others.
        fps_varies: Whether the frame rate varies, so that `timestamps` alone say when a frame is shown; None where that
            is not known.
        heads: Head → float32 (frames, `Head.width`), as the networks gave them: a logit for each class, the values,
            the quality; NaN throughout a frame without the head's part. `head_columns` names them.
    """

    split: str
    video_id: str
    layout: Layout
    frame_index: NDArray[np.int32]
    frame_names: tuple[str, ...]
    timestamps: NDArray[np.float64]
    sizes: NDArray[np.int32]
    status: tuple[str, ...]
    points: Mapping[str, NDArray[np.float32]]
    scores: Mapping[str, NDArray[np.float32]]
    fps: float | None = None
    annotation: Mapping[str, str] = field(default_factory=dict)
    fps_varies: bool | None = None
    heads: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return a line that says which video it is and what it holds."""
        return describe_video(self.split, self.video_id, self.layout, self.status, self.fps, self.rates())

    def _repr_html_(self) -> str:
        """Return what a notebook shows: facts, and a few skeletons. No source is opened."""
        from phoenix_ray.report.notebook import video_html

        return video_html(self)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frame_index)

    def present(self, part: str) -> NDArray[np.bool_]:
        """Return a bool array (frames,): where `part` was found."""
        return is_found(self.points[part])

    def rates(self) -> dict[str, float]:
        """Return part name → share of the frames in which it was found; 0 where there are no frames."""
        return {part: float(self.present(part).mean()) if len(self) else 0.0 for part in self.points}

    def array(self, parts: Sequence[str] | None = None, axes: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return the points of several parts in a row, float32 (frames, points, axes), NaN where missing.

        Args:
            parts: Their names in the wanted order, or one name; None takes all parts relative to the image, in the
                layout's order: pose, left hand, right hand, face (543 points of Holistic).
            axes: The axes in the wanted order; each part must have them. None takes x, y and z, as far as all of these
                parts have them: x and y of COCO's and OpenPose's layouts.

        Raises:
            KeyError: The layout has no such part.
            ValueError: A part has no such axis.
        """
        chosen = self.layout.parts_named(image_parts(self.layout) if parts is None else parts)
        if axes is None:
            axes = coordinate_axes(chosen)
        return np.concatenate([self.points[part.name][:, :, _find_axes(part, axes)] for part in chosen], axis=1)

    def head_columns(self, smooth: bool = False) -> dict[str, NDArray[np.float32]]:
        """Return what the heads say of each frame, by the names of the dataset's columns, NaN where it is missing.

        They are `<head>_logits`, float32 (frames, classes), in the order of `layout.head(name).classes`; and
        `<head>_<value>` and `<head>_quality`, float32 (frames,).

        Args:
            smooth: Smooth logits and values over time, as EmoNet does (`head_columns.smooth_over_time`).
        """
        return cut_into_columns(self.layout, self.heads, self.frame_index if smooth else None)

    def to_pandas(self, parts: Sequence[str] | None = None, long: bool = False) -> pandas.DataFrame:
        """Return the landmarks as a table with a row for each frame, or for each point of each frame.

        A row for each frame has the columns `frame_index`, `timestamp` (seconds), `status`, `frame_name`, `width` and
        `height` (pixels, 0 where the frame was unreadable), `<part>_score` of each part, of its heads
        `<head>_logits_<class>`, `<head>_<value>` and `<head>_quality`, then `<part>_<point>_<axis>`, with points
        numbered from 0: `left_hand_8_x` is the tip of the index finger. `x` and `y` are fractions of the frame's width
        and height, `z` is scaled like `x`, and `pose_world` is in metres: `left_hand_8_x * width` is in pixels. All are
        float32, NaN where the part was not found.

        Args:
            parts: Names of the parts in the wanted order, or one name; None means all.
            long: Return the columns `frame_index`, `timestamp`, `status`, `part`, `point` (its number), `name`, an axis
                each, and `score`, with a row for each point also where it was not found.

        Raises:
            KeyError: The layout has no such part.
            MissingPackagesError: pandas is not installed.
        """
        from phoenix_ray.dataset.frame_tables import tabulate_frames

        return tabulate_frames(self, parts, long)

    def draw(
        self,
        row: int,
        source: str | os.PathLike[str] | None = None,
        image: NDArray[np.uint8] | Image | None = None,
        height: int | None = None,
    ) -> Image:
        """Return a picture of a row: its skeleton on a plain ground, or over its frame where that is asked for.

        The picture is Pillow's, which a notebook shows and `save` writes; `numpy.asarray` gives uint8 (height, width,
        3) in RGB. A crossed ground stands for a frame that could not be read.

        Args:
            row: Row of the arrays, negative from the end: frame `frame_index[row]`, which is the same in a finished
                video.
            source: Draw over the frame, from the source that the landmarks were computed from, or from the video's own
                file or folder. It is opened for each call, and a long video file is decoded up to the frame.
            image: Draw over this picture instead: RGB uint8 (height, width, 3), or one of Pillow's.
            height: Height of the picture in pixels; None enlarges the frame by a whole factor to 520 at most.

        Raises:
            IndexError: There is no such row.
            SourceError: The frame cannot be found.
            ValueError: `image` or `height` is not usable.
        """
        from phoenix_ray.viewer.video_drawing import draw_frame

        return draw_frame(self, row, source, image, height)

    def play(
        self,
        source: str | os.PathLike[str] | None = None,
        first: int = 0,
        end: int | None = None,
        side_by_side: bool = False,
    ) -> VideoPlayer:
        """Return a moving picture, which a notebook shows as a player and `save("video.mp4")` writes.

        Args:
            source: Draw over the frames, as for `draw`; None plays the skeleton alone, and opens no source.
            first: Index of the first frame to show.
            end: Index of the frame at which to stop; None shows all.
            side_by_side: Show the skeleton beside the frame instead of over it.

        Raises:
            SourceError: The frames cannot be found.
            ValueError: `side_by_side` without a source, or no frame between `first` and `end`.
        """
        from phoenix_ray.viewer.player import VideoPlayer

        return VideoPlayer(self, source, first, end, side_by_side)


def image_parts(layout: Layout) -> tuple[str, ...]:
    """Return the names of the parts whose x and y are relative to the image, all but those in metres."""
    return tuple(part.name for part in layout.parts if part.scored)


def frame_bytes(layout: Layout) -> int:
    """Return the size of a frame's points and of what heads say of it, as arrays, in bytes."""
    points = sum(len(part.points) * len(part.axes) for part in layout.parts)
    return np.dtype(np.float32).itemsize * (points + sum(head.width for head in layout.heads))


def coordinate_axes(parts: Iterable[Part]) -> tuple[str, ...]:
    """Return those of x, y and z that all of the parts have."""
    held = [part.axes for part in parts]
    return tuple(axis for axis in IMAGE_AXES if all(axis in axes for axes in held))


def _find_axes(part: Part, axes: Sequence[str]) -> list[int]:
    for axis in axes:
        if axis not in part.axes:
            raise ValueError(f"{part.name} has no axis {axis!r}: it has {', '.join(part.axes)}")
    return [part.axes.index(axis) for axis in axes]


def from_rows(
    layout: Layout,
    split: str,
    video_id: str,
    rows: pa.Table,
    fps: float | None = None,
    annotation: Mapping[str, str] | None = None,
    fps_varies: bool | None = None,
) -> VideoLandmarks:
    """Return the rows of a video (`dataset.schema.landmark_schema`, in frame order) as arrays.

    Raises:
        ValueError: They are not landmarks of this layout.
    """
    if strange := set(pc.unique(rows.column("status")).to_pylist()) - set(STATUSES):
        raise ValueError(f"{min(map(repr, strange))[:40]} is not a status")
    batch = to_batch(layout, rows)
    sides = [rows.column(name).fill_null(0).to_numpy().astype(np.int32) for name in ("width", "height")]
    return VideoLandmarks(
        split,
        video_id,
        layout,
        rows.column("frame_index").to_numpy(),
        tuple(rows.column("frame_name").to_pylist()),
        rows.column("timestamp").to_numpy(),
        np.stack(sides, axis=1),
        tuple(rows.column("status").to_pylist()),
        batch.points,
        batch.scores,
        fps,
        annotation or {},
        fps_varies,
        batch.heads,
    )


class LandmarkCollection(Protocol):
    """Videos with their landmarks, looked up by (split, video ID)."""

    @property
    def layout(self) -> Layout:
        """Parts, points and axes of all its videos."""

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video.

        Raises:
            KeyError: There is no such video.
            OutputError: It cannot be read.
        """
