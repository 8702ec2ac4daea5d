"""The pictures of one video, drawn one after another: frame, landmarks and caption.

`moving_pictures` makes a `Film` and passes its pictures to a writer. Rows and frames are matched by their index, so a
picture shows the landmarks of its own frame also where a run is not over and rows are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, Protocol, TypeVar

import cv2
import numpy as np

from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.text import printable_line
from phoenix_ray.viewer.captions import Caption, CaptionStrip
from phoenix_ray.viewer.contact_sheet import BADGES
from phoenix_ray.viewer.encoders import TimedPicture
from phoenix_ray.viewer.overlay import Image, Points, draw
from phoenix_ray.viewer.shown_rows import FrameSpan, Overview, ShownRow, rows_of
from phoenix_ray.viewer.tiling import BACKGROUND, RULE, TILE_BACKGROUND

Result = TypeVar("Result")
# Landmarks over frames, the skeleton without any pixel of the source, or the frame beside its skeleton.
Form = Literal["overlay", "skeleton", "side by side"]


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """How large pictures of a file format are, without their caption.

    Attributes:
        enlarged_height: A frame is enlarged by a whole factor as long as it stays within this height.
        most_width: Of all panes together; larger frames are reduced.
        most_height: As for the width.
    """

    enlarged_height: int
    most_width: int
    most_height: int


# A GIF of the same size would take ten times the bytes.
FORMATS = {".mp4": PictureLimits(780, 1920, 1080), ".gif": PictureLimits(520, 960, 540)}
_NARROWEST = 400
_PANE_GAP = 4


class BlockSource(Protocol):
    """What a film reads of a `Dataset`, or of a video in memory."""

    @property
    def layout(self) -> Layout:
        """Parts, points and axes."""

    def select(self, *, parts: Collection[str]) -> BlockSource:
        """Return the same videos with some of their parts."""

    def load_blocks(self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result]) -> Result:
        """Pass a video to a function in blocks of rows and return its result, as `Dataset.load_blocks` does."""


class Film:
    """Draws the pictures of a video one after another, as often as they are needed.

    Args:
        datasets: One, or two that are shown beside each other.
        names: Of the datasets where there are two, otherwise empty.
        key: The video's split and ID.
        overview: What its rows have in common.
        span: The frames to show.
        form: What is drawn.
        video: Where the frames lie; None draws no frames.
        limits: How large the pictures may be.
    """

    def __init__(
        self,
        datasets: Sequence[BlockSource],
        names: Sequence[str],
        key: VideoKey,
        overview: Overview,
        span: FrameSpan,
        form: Form,
        video: Video | None,
        limits: PictureLimits,
    ) -> None:
        self._datasets = [dataset.select(parts=image_parts(dataset.layout)) for dataset in datasets]
        self._key, self._overview, self._span, self._form, self._video = key, overview, span, form, video
        panes = 2 if form == "side by side" else len(datasets)
        self._pane = pane_size(overview.size, panes, limits)
        width = max(_NARROWEST, panes * (self._pane[0] + _PANE_GAP) - _PANE_GAP)
        self.width = width + width % 2
        title = printable_line("/".join(key))
        self._captions = CaptionStrip(title, names, self.width, overview.last, _known(overview.last_timestamp))
        height = self._pane[1] + self._captions.height
        self.height = height + height % 2
        self._blank: Image = np.full((self.height, self.width, 3), BACKGROUND, np.uint8)

    def play(self, use: Callable[[Iterator[TimedPicture]], Result], step: int = 1) -> Result:
        """Pass every picture, or every `step`-th, to a function and return its result."""
        dataset, *others = self._datasets
        if not others:
            return dataset.load_blocks(*self._key, lambda blocks: use(self._pictures(blocks, iter(()), step)))

        def with_other(blocks: Iterator[VideoLandmarks]) -> Result:
            taken = False

            def with_both(beside: Iterator[VideoLandmarks]) -> Result:
                nonlocal taken
                if taken:
                    raise OutputError("The dataset beside the first changes while it is read; try again later.")
                taken = True
                return use(self._pictures(blocks, beside, step))

            return others[0].load_blocks(*self._key, with_both)

        return dataset.load_blocks(*self._key, with_other)

    def _pictures(
        self, blocks: Iterator[VideoLandmarks], beside: Iterator[VideoLandmarks], step: int
    ) -> Iterator[TimedPicture]:
        overview = self._overview
        others = _InOrder(rows_of(beside, self._span))
        with closing(self._read_frames()) as read:
            frames = _InOrder(read)
            for number, (row, seconds) in enumerate(overview.timing.times(rows_of(blocks, self._span))):
                if number % step:
                    continue
                frame = frames.at(row.index)
                image = None if frame is None else frame.image
                panes, badges = self._draw_panes(image, [row, others.at(row.index)][: len(self._datasets)])
                share = min(1.0, (number + 1) / overview.rows)
                caption = Caption(row.index, _known(row.timestamp), share, badges)
                yield TimedPicture(self._compose(panes, caption), seconds)

    def _read_frames(self) -> Generator[Frame, None, None]:
        if self._video is not None:
            yield from read_frames(self._video, self._span.first, self._overview.last + 1, DecodeSettings())

    def _draw_panes(self, image: Image | None, rows: Sequence[ShownRow | None]) -> tuple[list[Image], tuple[str, ...]]:
        """Return the panes, and what is wrong in each of them (of one video, in all of them)."""
        usual = self._overview.size
        lost = "unreadable" if self._video is not None and image is None else ""
        panes, badges = [], []
        for row, dataset in zip(rows, self._datasets, strict=True):
            size = row.size if row is not None and min(row.size) > 0 else usual
            points = {} if row is None else row.points
            if self._form == "side by side":
                panes.append(draw_pane(self._pane, image, size, dataset.layout, {}, is_crossed=True))
            shown = image if self._form == "overlay" else None
            crossed = self._form == "overlay" or (row is not None and row.status == "unreadable")
            panes.append(draw_pane(self._pane, shown, size, dataset.layout, points, crossed))
            badges.append(lost or ("no row" if row is None else BADGES.get(row.status, "")))
        return panes, tuple(badges)

    def _compose(self, panes: Sequence[Image], caption: Caption) -> Image:
        picture: Image = self._blank.copy()
        x = (self.width - len(panes) * (self._pane[0] + _PANE_GAP) + _PANE_GAP) // 2
        for pane in panes:
            picture[: pane.shape[0], x : x + pane.shape[1]] = pane
            x += pane.shape[1] + _PANE_GAP
        picture[self.height - self._captions.height :] = self._captions.draw(caption)
        return picture


class _Indexed(Protocol):
    @property
    def index(self) -> int: ...


Item = TypeVar("Item", bound=_Indexed)


class _InOrder(Generic[Item]):
    """Finds items by index in an iterator that yields them in ascending order of `index`."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._next: Item | None = next(items, None)

    def at(self, index: int) -> Item | None:
        """Return the item of an index that is not less than any before, None where there is none."""
        while self._next is not None and self._next.index < index:
            self._next = next(self._items, None)
        return self._next if self._next is not None and self._next.index == index else None


def pane_size(size: tuple[int, int], panes: int, limits: PictureLimits) -> tuple[int, int]:
    """Return width and height of the box of one frame of a size, where so many boxes share a picture."""
    width, height = size
    most_width = (limits.most_width - (panes - 1) * _PANE_GAP) // panes
    factor = min(most_width / width, limits.most_height / height)
    if factor >= 1:
        factor = max(1, min(limits.enlarged_height // height, int(factor)))
    return max(1, round(width * factor)), max(1, round(height * factor))


def draw_pane(
    box: tuple[int, int],
    image: Image | None,
    size: tuple[int, int],
    layout: Layout,
    points: Mapping[str, Points],
    is_crossed: bool,
) -> Image:
    """Return a frame with its landmarks in the middle of a box; where there is no image, a plain or crossed ground.

    Args:
        box: Width and height of the result in pixels.
        image: RGB uint8 (height, width, 3) of any size; None where there is none.
        size: Width and height that give the ground its shape.
        layout: Parts, points and axes.
        points: Part name → float32 (points, axes), as for `overlay.draw`.
        is_crossed: Whether the ground shows that a frame is lost.

    Returns:
        RGB uint8 (box height, box width, 3).
    """
    width, height = (image.shape[1], image.shape[0]) if image is not None else size
    factor = min(box[0] / width, box[1] / height)
    fitted = (max(1, round(width * factor)), max(1, round(height * factor)))
    scale = 1
    if image is None:
        image = _ground(*fitted, is_crossed)
    elif factor >= 1 and factor == int(factor):
        scale = int(factor)
    else:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, fitted, interpolation=method), np.uint8)
    drawn = draw(image, layout, points, scale)
    if drawn.shape[:2] == box[::-1]:
        return drawn
    pane: Image = np.full((box[1], box[0], 3), BACKGROUND, np.uint8)
    x, y = (box[0] - drawn.shape[1]) // 2, (box[1] - drawn.shape[0]) // 2
    pane[y : y + drawn.shape[0], x : x + drawn.shape[1]] = drawn
    return pane


@lru_cache(maxsize=4)
def _ground(width: int, height: int, is_crossed: bool) -> Image:
    """Return what stands in place of a frame: a plain ground for a skeleton, a crossed one for a frame that is lost."""
    ground: Image = np.full((height, width, 3), TILE_BACKGROUND, np.uint8)
    if is_crossed:
        cv2.line(ground, (0, 0), (width - 1, height - 1), RULE, 2, cv2.LINE_AA)
        cv2.line(ground, (0, height - 1), (width - 1, 0), RULE, 2, cv2.LINE_AA)
    return ground


def _known(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
