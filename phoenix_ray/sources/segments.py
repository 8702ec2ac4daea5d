"""Segments of long videos: what a table says about their start and end, and which frames that is.

The first frame belongs to a segment, the end does not. Seconds are counted from the first frame of the file. The
nearest boundary between frames counts, and of two that are equally near the later one: so values that were rounded to
hundredths name the frame that was meant, and two segments of which one ends where the other starts share no frame and
leave none out.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from phoenix_ray.config import SourceSettings
from phoenix_ray.sources.timing import Timeline
from phoenix_ray.text import counted

# A decimal number of seconds, or hours (which may be missing), minutes and seconds.
_SECONDS = re.compile(r"([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?)")
_TIME_CODE = re.compile(r"([+-]?)(?:(\d+):)?(\d+):(\d{1,2}(?:[.,]\d+)?)")
# Parquet tables with empty cells hold integers as floating-point numbers.
_FRAME = re.compile(r"([+-]?)(\d{1,10})(?:\.0*)?")
# Columns of common tables (How2Sign, OpenASL, BOBSL, ELAN) that hold times of segments under other names than ours;
# ELAN writes "Begin Time - hh:mm:ss.ms", others "start (s)".
_UNIT = r"(hh:mm:ss(\.\w+)?|ss\.\w+|frames?|(milli)?seconds?|m?secs?|m?s)"
_LIKELY_NAMES = re.compile(
    r"((start|end|begin|stop|onset|offset)([ _-]?(time|frame|realigned))?|(time|frame)[ _-]?(start|end|begin|stop))"
    rf"([ _-]*[(\[]?{_UNIT}[)\]]?)?",
    re.IGNORECASE,
)


class SegmentError(Exception):
    """Why a row of a table names no segment; it becomes the message of a `SourceProblem`."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a row of a table says about a segment, before its source is known.

    Attributes:
        start, end: Seconds, or frames where `in_frames`. None means the start and the end of the source.
        in_frames: Whether they are frames.
    """

    start: Fraction | None
    end: Fraction | None
    in_frames: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames `first` to `last` (exclusive) of a file or folder; other attributes as in `Video`."""

    first: int
    last: int
    start_seconds: float | None
    is_clipped: bool


def span_columns(settings: SourceSettings, columns: Iterable[str]) -> tuple[str, ...]:
    """Return which columns of a table hold the start or end of segments."""
    names = (settings.start_column, settings.end_column, settings.start_frame_column, settings.end_frame_column)
    return tuple(dict.fromkeys(name for name in names if name and name in columns))


def unread_span_columns(settings: SourceSettings, columns: Iterable[str]) -> list[str]:
    """Return the columns that look as if they held the start or end of segments, where the settings name none."""
    columns = list(columns)
    if span_columns(settings, columns):
        return []
    return [name for name in columns if _LIKELY_NAMES.fullmatch(name.strip())]


def read_span(row: Mapping[str, str], settings: SourceSettings) -> Span | None:
    """Return the start and end that a row gives; None where it gives neither, which means the whole video.

    Raises:
        SegmentError: A value is not a number, or is negative; the row gives seconds and frames; or it ends before it
            starts.
    """
    in_frames = {
        name: row.get(name, "").strip() for name in (settings.start_frame_column, settings.end_frame_column) if name
    }
    in_seconds = {
        name: row.get(name, "").strip()
        for name in (settings.start_column, settings.end_column)
        if name and name not in in_frames
    }
    if any(in_frames.values()) and any(in_seconds.values()):
        named = ", ".join(f"{name} = {text}" for name, text in {**in_seconds, **in_frames}.items() if text)
        raise SegmentError(f"it gives seconds and frames ({named}); give one of the two")
    if not any(in_frames.values()) and not any(in_seconds.values()):
        return None
    is_of_frames = any(in_frames.values())
    names = (
        (settings.start_frame_column, settings.end_frame_column)
        if is_of_frames
        else (settings.start_column, settings.end_column)
    )
    texts = in_frames if is_of_frames else in_seconds
    start, end = (_number(name, texts.get(name, ""), in_frames=is_of_frames) for name in names)
    if start is not None and end is not None and end < start:
        raise SegmentError(f"it ends before it starts ({names[0]} = {texts[names[0]]}, {names[1]} = {texts[names[1]]})")
    return Span(start, end, is_of_frames)


def find_segment(span: Span, frame_count: int, timeline: Timeline) -> Segment:
    """Return the frames of a span in a file or folder.

    Args:
        span: What the table says.
        frame_count: Frames of the file or folder.
        timeline: When each is shown.

    Raises:
        SegmentError: The span starts after the last frame, holds no frame, or gives seconds of a source without a
            clock.
    """
    if not span.in_frames and not timeline.times and not timeline.fps:
        raise SegmentError(
            "its start and end are seconds, but nothing says how many frames a second has: add a column `fps` "
            "(source.fps_column), or give frames in source.start_frame_column and source.end_frame_column"
        )

    def boundary(value: Fraction) -> int:
        return int(value) if span.in_frames else _nearest(value, timeline)

    first = 0 if span.start is None else boundary(span.start)
    last = frame_count if span.end is None else boundary(span.end)
    if first >= frame_count:
        raise SegmentError(
            f"it starts at {_show(span.start, span)}, after the last frame: the source has "
            f"{counted(frame_count, 'frame')}{_duration(frame_count, timeline)}"
        )
    if first >= last:
        raise SegmentError(
            f"it holds no frame: it starts at {_show(span.start, span)} and ends at {_show(span.end, span)}"
        )
    return Segment(first, min(last, frame_count), timeline.seconds(first), last > frame_count)


def sign_segment(signature: str, segment: Segment) -> str:
    """Return the signature of a segment: that of its source, and its frames, so that a moved segment is new."""
    return f"{signature}#{segment.first}-{segment.last}"


def _number(name: str, text: str, *, in_frames: bool) -> Fraction | None:
    if not text:
        return None
    if in_frames:
        what = "a frame number"
        match = _FRAME.fullmatch(text)
        value = Fraction(match[2]) if match else Fraction()
    else:
        what = "seconds (12.5) or a time code (00:01:02.5)"
        match = _SECONDS.fullmatch(text)
        value = Fraction(match[2]) if match else Fraction()
        if match is None and (match := _TIME_CODE.fullmatch(text)):
            value = (Fraction(match[2] or 0) * 60 + Fraction(match[3])) * 60 + Fraction(match[4].replace(",", "."))
    if match is None:
        settings = [f"source.{end}{'_frame' if in_frames else ''}_column=" for end in ("start", "end")]
        raise SegmentError(
            f"{name} = {text} is not {what}. To keep the column as an annotation, set the setting that names it to "
            f"nothing ({', '.join(settings)})"
        )
    if match[1] == "-" and value:
        raise SegmentError(f"{name} = {text} is negative")
    return value


def _nearest(seconds: Fraction, timeline: Timeline) -> int:
    """Return the boundary between frames that is nearest to a time; after the last frame they go on evenly."""
    if not timeline.times:
        return math.floor(seconds * Fraction(timeline.fps or 1) + Fraction(1, 2))
    ticks = seconds / timeline.time_base + timeline.times[0]
    if ticks >= timeline.times[-1]:
        # The last frame is shown for as long as others.
        fps = Fraction(timeline.fps) if timeline.fps else 1 / timeline.time_base
        after = (ticks - timeline.times[-1]) * timeline.time_base * fps
        return len(timeline.times) - 1 + math.floor(after + Fraction(1, 2))
    rank = bisect_left(timeline.times, ticks)
    if rank and ticks - timeline.times[rank - 1] < timeline.times[rank] - ticks:
        return rank - 1
    return rank


def _show(value: Fraction | None, span: Span) -> str:
    if value is None:
        return "the end of the source"
    return f"frame {int(value):,}" if span.in_frames else f"{float(value):g} s"


def _duration(frame_count: int, timeline: Timeline) -> str:
    seconds = timeline.seconds(frame_count - 1)
    return "" if seconds is None else f", the last of them at {seconds:.2f} s"
