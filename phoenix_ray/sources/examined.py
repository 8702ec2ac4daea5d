"""What a listing finds out about a file or folder, once for all segments that a table cuts from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from phoenix_ray.sources.base import VideoKind
from phoenix_ray.sources.segments import Segment, SegmentError, Span, find_segment
from phoenix_ray.sources.timing import Timeline

# A location, and the frame rate that the table gives.
PlaceKey = tuple[str, float | None]


@dataclass(frozen=True, slots=True)
class ExaminedSource:
    """A video file or frame folder; attributes as in `Video`."""

    kind: VideoKind
    frame_count: int
    signature: str
    fps: float | None
    fps_varies: bool = False
    pixel_aspect_ratio: float | None = None


# A source, and when its frames are shown.
Examine = Callable[[], tuple[ExaminedSource, Timeline]]


class SegmentedSources:
    """The sources of all segments of a listing. Threads may share it.

    When a source is examined, all its segments are found at once, so that the time stamps of a long video need not be
    kept.

    Args:
        spans: The segments of each source.
    """

    def __init__(self, spans: Iterable[tuple[PlaceKey, Span]]) -> None:
        self._spans: dict[PlaceKey, set[Span]] = {}
        for key, span in spans:
            self._spans.setdefault(key, set()).add(span)
        self._found: dict[PlaceKey, Future[tuple[ExaminedSource, Mapping[Span, Segment | SegmentError]]]] = {}
        self._lock = threading.Lock()

    def find(self, key: PlaceKey, span: Span, examine: Examine) -> tuple[ExaminedSource, Segment]:
        """Return a source and the frames of a segment of it.

        Args:
            key: The source.
            span: One of those that the listing was made with.
            examine: Examines the source; called for the first of its segments alone.

        Raises:
            SegmentError: The source has no such segment.
            Exception: What `examine` raised, for each of its segments.
        """
        with self._lock:
            is_first = key not in self._found
            found = self._found.setdefault(key, Future())
        if is_first:
            try:
                found.set_result(self._examine(key, examine))
            except Exception as error:
                found.set_exception(error)
        source, segments = found.result()
        segment = segments[span]
        if isinstance(segment, SegmentError):
            raise segment
        return source, segment

    def _examine(self, key: PlaceKey, examine: Examine) -> tuple[ExaminedSource, Mapping[Span, Segment | SegmentError]]:
        source, timeline = examine()
        segments = {span: _find_or_explain(span, source, timeline) for span in self._spans[key]}
        return source, segments


def _find_or_explain(span: Span, source: ExaminedSource, timeline: Timeline) -> Segment | SegmentError:
    try:
        return find_segment(span, source.frame_count, timeline)
    except SegmentError as error:
        return error
