"""What every source provides: videos to plan with, and frames to run a model on.

`cluster.plan` iterates over `Source.videos()` on the driver; a worker turns one `Video` and a range of its frames into
`Frame`s with `sources.frames.read_frames`. A `Video` therefore carries all that a worker on another node needs, and no
pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

# The split of every video in a source that has no splits.
DEFAULT_SPLIT = "all"

VideoKind = Literal["frame_folder", "video_file", "synthetic"]


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a source.

    Attributes:
        split: Name of the split, `DEFAULT_SPLIT` where the source has none.
        video_id: Unique within the split; any unicode text, slashes included. It is data, never a path.
        kind: How its frames are stored.
        location: Absolute path or URI of the frame folder or video file; the same on every node.
        frame_count: Number of frames. Each frame becomes one row.
        signature: Changes when the content of the video changes; a changed video is computed again.
        fps: Frames per second: the average where the rate varies, None where the source has no clock.
        annotation: Text that belongs to the video (`signer`, `gloss`, `translation`, …), copied to the dataset.
        fps_varies: Whether the intervals between frames differ, so that only time stamps say when a frame is shown.
        is_segment: Whether it is a part of a source that a table names by its start and end. Frame 0 of the video is
            then frame `start_frame` of its file or folder.
        start_frame: Frame of the file or folder with which the video begins.
        start_seconds: When that frame is shown, in seconds from the start of the file; None where it has no clock.
        is_clipped: Whether the table's end lies after the end of the source, so that the segment ends with the source.
        pixel_aspect_ratio: Width of a stored pixel over its height, before the picture is turned; None if unknown.
        square_pixels: Whether its frames are resized so that pixels are square (`source.square_pixels`).
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
    is_segment: bool = False
    start_frame: int = 0
    start_seconds: float | None = 0.0
    is_clipped: bool = False
    pixel_aspect_ratio: float | None = None
    square_pixels: bool = False

    @property
    def is_stretched(self) -> bool:
        """Whether its frames have pixels that are known not to be square, and stay as they are."""
        return self.pixel_aspect_ratio not in (None, 1.0) and not self.square_pixels


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame, or the reason why there is none.

    Attributes:
        index: 0-based position in the video.
        name: File name of the frame, or `frame-<index>` in a video file. In a segment it is the name that the frame
            has in the whole file or folder.
        timestamp: Seconds from the start of the video (of a segment, its own), None where the source has no clock.
        image: RGB uint8 of shape (height, width, 3), None when the frame is unreadable or must not be decoded.
        error: Why the frame is unreadable, None otherwise.
    """

    index: int
    name: str
    timestamp: float | None
    image: NDArray[np.uint8] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SourceProblem:
    """A video that the source names but that cannot be planned (missing folder, no frames, damaged container).

    Attributes:
        split: Its split.
        video_id: The video.
        message: Why it cannot be planned.
        annotation: As in `Video`: a video of a dropped signer is left out, sound or not.
    """

    split: str
    video_id: str
    message: str
    annotation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of one ending that a source leaves out for one reason.

    Attributes:
        reason: Why, and how to read them where that is possible.
        ending: `.xyz` in lower case; empty for names without an ending; `listing.FOLDER` for whole folders.
        count: Number of files.
        names: Their paths relative to the source, at most `listing.MOST_NAMES`; a folder stands for its files.
    """

    reason: str
    ending: str
    count: int
    names: tuple[str, ...]


NoteLeftOut = Callable[[LeftOut], object]


def ignore_left_out(left_out: LeftOut) -> None:
    """Ignore what a source leaves out, for callers that only want the videos."""


class Source(Protocol):
    """A collection of videos that can be listed."""

    @property
    def root(self) -> str:
        """Absolute path or URI of the source; part of the identity of an output."""

    @property
    def description(self) -> str:
        """What was found (layout, path, annotations), as one line that a run prints."""

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos sorted by (split, video_id), and a problem in place of each bad video.

        Args:
            note_left_out: Called before the first video is yielded, once for each group of files that the source
                does not read.

        Raises:
            SourceError: Nothing can be listed: the root, a split or an annotation file is missing or empty.
        """
