"""What `VideoLandmarks.play` returns: a notebook shows it as a player, and a script saves it as a file."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TypeVar

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import Layout
from phoenix_ray.sources.base import Video
from phoenix_ray.text import counted, short_line
from phoenix_ray.viewer.film import FORMATS, Form, PictureLimits
from phoenix_ray.viewer.html_page import write_video_page
from phoenix_ray.viewer.moving_pictures import write_film
from phoenix_ray.viewer.shown_rows import FrameSpan, Overview
from phoenix_ray.viewer.video_drawing import SourcePlace, find_frames_of

Result = TypeVar("Result")
# Longer videos are cut in a notebook, which stores what it shows, and waits some seconds until 300 frames are drawn.
MOST_FRAMES_SHOWN = 300
# As a GIF, which fits beside code too.
_SHOWN_LIMITS = FORMATS[".gif"]
_PAGE_ENDINGS = (".html", ".htm")


class VideoPlayer:
    """A video as a moving picture: the skeleton, over its frames where a source was given.

    A notebook shows the first `MOST_FRAMES_SHOWN` frames as H.264, which every browser plays; a script calls `save`.

    Args:
        video: The video.
        source: Where its frames lie, as for `VideoLandmarks.draw`; None draws skeletons only.
        first: Index of the first frame to show.
        end: Index of the frame at which to stop; None shows all.
        side_by_side: Show the skeleton beside the frame instead of over it.

    Raises:
        ValueError: The frames beside a skeleton need a source, or there is no frame between `first` and `end`.
        SourceError: The frames cannot be found.
    """

    def __init__(
        self,
        video: VideoLandmarks,
        source: SourcePlace | None = None,
        first: int = 0,
        end: int | None = None,
        side_by_side: bool = False,
    ) -> None:
        if first < 0 or (end is not None and end <= first):
            raise ValueError(f"there is no frame from {first} to {end}: first is at least 0, and end comes after it")
        if side_by_side and source is None:
            raise ValueError("side_by_side=True shows frames: give source= too")
        self._video = video
        self._frames: Video | None = None if source is None else find_frames_of(video, source)
        self._form: Form = "skeleton" if source is None else "side by side" if side_by_side else "overlay"
        self._span = FrameSpan(first, end)
        self._overview = Overview.of(iter([video]), self._span)

    def save(self, file: SourcePlace) -> Path:
        """Write a file, and return its path: `.mp4`, `.gif`, or `.html`, the viewer's page with the video inside.

        The page needs no network. It holds every frame, whatever the span, and the video's names and annotations.

        Raises:
            ConfigError: The name has another ending, the video has no frame to show, or its page would be too large.
            OutputError: It cannot be written.
        """
        path = Path(file).expanduser()
        ending = path.suffix.lower()
        if ending in _PAGE_ENDINGS:
            write_video_page(path, self._video, self._frames)
        elif ending in FORMATS:
            self._write(path, self._span)
        else:
            raise ConfigError(f"{path} ends with '{path.suffix}': give a name that ends with .mp4, .gif or .html.")
        return path

    def __repr__(self) -> str:
        """Return a line that says what is played, and how to keep it."""
        name = short_line("/".join(filter(None, (self._video.split, self._video.video_id))))
        frames = counted(self._overview.rows, "frame")
        return f"<VideoPlayer {name}: {frames}, {self._form}; save('video.mp4') writes it>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self._html

    @cached_property
    def _html(self) -> str:
        if not self._overview.rows:
            return f"<p>{escape(repr(self._video))} has no frame to show.</p>"
        span, note = self._span, ""
        if self._overview.rows > MOST_FRAMES_SHOWN:
            indices = self._video.frame_index
            shown = indices[indices >= span.first][:MOST_FRAMES_SHOWN]
            span = FrameSpan(span.first, int(shown[-1]) + 1)
            note = (
                f"<p>The first {MOST_FRAMES_SHOWN} of {self._overview.rows:,} frames. "
                "<code>play(first=…)</code> shows others, and <code>.save('video.mp4')</code> writes all.</p>"
            )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "video.mp4"
            self._write(file, span, _SHOWN_LIMITS)
            content = base64.b64encode(file.read_bytes()).decode("ascii")
        source = f"data:video/mp4;base64,{content}"
        return f'<video controls loop muted playsinline style="max-width:100%" src="{source}"></video>{note}'

    def _write(self, file: Path, span: FrameSpan, limits: PictureLimits | None = None) -> None:
        overview = self._overview if span == self._span else Overview.of(iter([self._video]), span)
        key = (self._video.split, self._video.video_id)
        if not overview.rows:
            raise ConfigError(f"{short_line('/'.join(filter(None, key)))} has no row{span}: there is nothing to save.")
        # To the last row: a player shows no frames behind it.
        shown = FrameSpan(span.first, overview.last + 1)
        datasets = [_LoadedVideo(self._video)]
        write_film(file, datasets, (), key, overview, shown, self._form, self._frames, limits=limits)


class _LoadedVideo:
    """A video in memory as a film reads it."""

    def __init__(self, video: VideoLandmarks) -> None:
        self._video = video

    @property
    def layout(self) -> Layout:
        return self._video.layout

    def select(self, *, parts: Collection[str]) -> _LoadedVideo:
        # A film draws the parts that it asks for and no others.
        del parts
        return self

    def load_blocks(self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result]) -> Result:
        del split, video_id
        return use(iter([self._video]))
