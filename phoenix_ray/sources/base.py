"""What every source gives: videos to plan with, and frames to run a model on.

`cluster.plan` walks `Source.videos()` on the driver; a worker turns one `Video` and a frame range into `Frame`s with
`sources.frames.read_frames`. A `Video` therefore carries all that a worker on another node needs, and no pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.left_out import LeftOut

VideoKind = Literal["frame_folder", "video_file", "synthetic"]


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a source.

    Attributes:
        split: Name of the split, "all" where a source has none.
        video_id: Unique within the split; any unicode text, also with slashes. It is data, never a path.
        kind: How its frames are stored.
        location: Absolute path of the frame folder or of the video file, as every node sees it.
        frame_count: Number of frames, each of which becomes one row.
        signature: Changes when the content of the video changes; a changed video is computed again.
        fps: Frames per second, None where the source has no clock; the average where the rate varies.
        annotation: Text that belongs to the video (`signer`, `gloss`, `translation`, ...), taken along unchanged.
        fps_varies: Whether intervals between frames differ, so that only time stamps say when a frame is shown.
    """

    split: str
    video_id: str
    kind: VideoKind
    location: str
    frame_count: int
    signature: str
    fps: float | None = None
    annotation: Mapping[str, str] = field(default_factory=dict)
    fps_varies: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame, or the reason why there is none.

    Attributes:
        index: 0-based position in the video.
        name: File name of the frame, or `frame-<index>` in a video file.
        timestamp: Seconds from the start of the video, None where the source has no clock.
        image: RGB uint8 of shape (height, width, 3), or None when the frame is unreadable.
        error: Why the frame is unreadable, None when `image` is there.
    """

    index: int
    name: str
    timestamp: float | None
    image: NDArray[np.uint8] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """A video that the source names but that cannot be planned (missing folder, no frames, damaged container)."""

    split: str
    video_id: str
    message: str


NoteLeftOut = Callable[[LeftOut], object]


def ignore_left_out(left_out: LeftOut) -> None:
    """Take no note of what a source leaves out: for callers that only want the videos."""


class Source(Protocol):
    """A dataset that can be listed."""

    @property
    def root(self) -> str:
        """Absolute path of the dataset; part of the identity of an output."""
        ...

    @property
    def description(self) -> str:
        """What was found, in one line for the run's print-out: layout, path, annotations."""
        ...

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos sorted by (split, video_id), and a problem in the place of each bad one.

        Args:
            note_left_out: Called, before the first video, with the files in the source's place that it does not read.

        Raises:
            SourceError: When nothing can be listed: the root, a split or an annotation file is missing or empty.
        """
        ...
