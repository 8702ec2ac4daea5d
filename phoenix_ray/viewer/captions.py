"""The strip below a moving picture: which video and frame it shows, when, and what is wrong with the frame.

Called by `moving_pictures`. The strip has a place of its own, so nothing is written over a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from phoenix_ray.viewer.overlay import Image
from phoenix_ray.viewer.tiling import BACKGROUND, BADGE, FAINT_TEXT, RULE, TEXT, text_width, write

HEIGHT = 40
# The line that shows how much of the video has passed.
_TIME_LINE = 3
_MARGIN, _GAP = 14, 16
_SIZE, _SMALL = 15, 13
_LONGEST_BADGE = "unreadable"


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands below one picture.

    Attributes:
        frame: Index of the frame.
        seconds: When it is shown, from the start of the video; None where the source has no clock.
        share: How much of the video has passed, 0..1.
        badges: Of each named pane, or of the only one, what is wrong with its frame; empty where all is well.
    """

    frame: int
    seconds: float | None
    share: float
    badges: tuple[str, ...]


class CaptionStrip:
    """Draws captions of one width for one video; what does not change is drawn once.

    Args:
        title: The video.
        names: Names of the panes, from left to right, empty where they show one dataset.
        width: Of the strip in pixels.
        last_frame: Index of the last frame.
        last_seconds: When it is shown; None where the source has no clock.
    """

    def __init__(
        self, title: str, names: Sequence[str], width: int, last_frame: int, last_seconds: float | None
    ) -> None:
        self._panes = max(1, len(names))
        longest = max(text_width(_counter(last_frame, last_seconds), _SIZE), 1)
        self._counter_x = max(_MARGIN, width - _MARGIN - longest)
        self._badge_width = text_width(_LONGEST_BADGE, _SMALL) + _GAP
        named = bool(names)
        strip = Picture.new("RGB", (width, 2 * HEIGHT - _GAP if named else HEIGHT), BACKGROUND)
        pen = ImageDraw.Draw(strip)
        pen.rectangle((0, 0, width - 1, _TIME_LINE - 1), RULE)
        write(pen, (_MARGIN, 12), title, _SIZE, TEXT, self._counter_x - _MARGIN - _GAP)
        for pane, name in enumerate(names):
            room = width // self._panes - 2 * _MARGIN - self._badge_width - _GAP
            write(pen, (_MARGIN + pane * width // self._panes, HEIGHT), name, _SMALL, FAINT_TEXT, room)
        self._plain = strip

    @property
    def height(self) -> int:
        """Height in pixels, even."""
        return self._plain.height

    def draw(self, caption: Caption) -> Image:
        """Return the strip, RGB uint8 (height, width, 3)."""
        strip = self._plain.copy()
        pen = ImageDraw.Draw(strip)
        pen.rectangle((0, 0, round(caption.share * strip.width) - 1, _TIME_LINE - 1), FAINT_TEXT)
        counter = _counter(caption.frame, caption.seconds)
        write(pen, (self._counter_x, 12), counter, _SIZE, FAINT_TEXT, strip.width - self._counter_x)
        for pane, badge in enumerate(caption.badges):
            right, top = self._counter_x - _GAP, 10
            if self._panes > 1:
                right, top = (pane + 1) * strip.width // self._panes - _MARGIN, HEIGHT - 2
            if badge:
                self._draw_badge(pen, badge, right, top)
        return np.asarray(strip, np.uint8)

    def _draw_badge(self, pen: ImageDraw.ImageDraw, badge: str, right: int, top: int) -> None:
        left = right - text_width(badge, _SMALL) - _GAP
        # Over the end of a long title, which all other pictures show whole.
        pen.rectangle((left - _GAP // 2, top, right + _GAP // 2, top + 21), BACKGROUND)
        pen.rounded_rectangle((left, top, right, top + 21), 5, BADGE)
        write(pen, (left + _GAP // 2, top + 2), badge, _SMALL, BACKGROUND, self._badge_width)


def _counter(frame: int, seconds: float | None) -> str:
    return f"frame {frame}" if seconds is None else f"frame {frame}   {seconds:.2f} s"
