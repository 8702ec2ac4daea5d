"""Frames of a source as JPEGs by index, for the page: the source is listed once, frames are decoded in runs and kept.

A page asks for single frames, mostly one after the other. `FramePictures` decodes the wanted frame and those after it
with one reader, which stays open, because a video file can only be decoded in order and a folder must be listed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.snapshot import VideoIndex
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.sources.base import Frame, Source, SourceProblem, Video
from phoenix_ray.sources.frames import read_frames

ListingState = Literal["listing", "ready", "absent"]

# Frames that are decoded together, 0.6 s at 25 fps.
RUN_FRAMES = 16
# Decoding goes on when fewer frames than these are ready after the wanted one.
AHEAD_FRAMES = 12
MOST_BYTES = 128 << 20
_JPEG_QUALITY = 93
_THREADS = 3
# Each holds this many decoded frames: 50 MB at 1920x1080.
_READERS_KEPT_OPEN = 2
_DECODED_AHEAD = 8
# Videos are listed into a table in pieces of this many.
_PIECE_VIDEOS = 10_000
_VIDEO_SCHEMA = pa.schema(
    [
        pa.field("split", pa.dictionary(pa.int32(), pa.string())),
        pa.field("video_id", pa.string()),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
        pa.field("location", pa.string()),
        pa.field("signature", pa.string()),
        pa.field("frame_count", pa.int32()),
        pa.field("fps", pa.float64()),
        *(pa.field(name, pa.bool_()) for name in ("is_segment", "square_pixels")),
        pa.field("start_frame", pa.int32()),
        pa.field("pixel_aspect_ratio", pa.float64()),
        pa.field("problem", pa.string()),
    ]
)


class SourceListing:
    """The videos of a source, listed by a thread in the background.

    Args:
        open_source: Opens the source; called in that thread.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self.state: ListingState = "listing"
        self.listed = 0
        self.root = ""
        self.message = ""
        # Done when the listing has ended, well or not.
        self.done: Future[None] = Future()
        self.done.set_running_or_notify_cancel()
        self._open_source = open_source
        self._index: VideoIndex | None = None
        # A daemon, because listing a large source takes minutes and must not hold up the end of the program.
        threading.Thread(target=self._list, name="list the source", daemon=True).start()

    def find(self, key: VideoKey) -> Video:
        """Return a video; the listing is done.

        Raises:
            LookupError: The source has no such video, or could not be listed; the message says why.
        """
        if self._index is None:
            raise LookupError(self.message)
        found = self._index.find(key)
        if found is None:
            raise LookupError(f"{self.root} has no video {key[0]}/{key[1]}.")
        problem = found.pop("problem")
        if problem is not None:
            raise LookupError(problem)
        return Video(**found)

    def _list(self) -> None:
        try:
            source = self._open_source()
            self.root = source.root
            self._index = VideoIndex(pa.concat_tables(self._pieces(source)))
            pa.default_memory_pool().release_unused()
            self.state = "ready"
        except PhoenixRayError as error:
            self.message, self.state = str(error), "absent"
        except Exception as error:  # A thread's error would be lost; the page shows it.
            self.message, self.state = f"The source cannot be listed: {error!r}", "absent"
        self.done.set_result(None)

    def _pieces(self, source: Source) -> Generator[pa.Table, None, None]:
        rows: list[dict[str, Any]] = []
        for entry in source.videos():
            row: dict[str, Any] = {"split": entry.split, "video_id": entry.video_id}
            if isinstance(entry, SourceProblem):
                row |= {"problem": entry.message}
            else:
                row |= {name: getattr(entry, name) for name in _VIDEO_SCHEMA.names if name not in (*row, "problem")}
            rows.append(row)
            self.listed += 1
            if len(rows) == _PIECE_VIDEOS:
                yield _to_table(rows)
                rows.clear()
        yield _to_table(rows)


def _to_table(rows: list[dict[str, Any]]) -> pa.Table:
    # A fresh column has up to twice the memory that its values need; joining two columns makes one of the right size.
    middle = len(rows) // 2
    halves = [pa.Table.from_pylist(half, _VIDEO_SCHEMA) for half in (rows[:middle], rows[middle:])]
    return pa.concat_tables(halves).unify_dictionaries().combine_chunks()


class UnreadablePictureError(Exception):
    """Says why a frame has no picture."""


# Location, first frame in it and number of frames: segments of a file are videos of their own.
SegmentKey = tuple[str, int, int]
FrameKey = tuple[SegmentKey, int]
# A JPEG, or why there is none.
Picture = bytes | UnreadablePictureError


@dataclass
class _Reader:
    """An open reader of a video: `frames` yields the frame of index `following` next."""

    following: int
    frames: Generator[Frame, None, None]


class FramePictures:
    """JPEGs of frames. Threads may share it.

    Args:
        most_bytes: JPEGs of this size in all are kept; those that were asked for last stay.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[FrameKey, Picture] = OrderedDict()
        self._kept_bytes = 0
        self._pending: dict[FrameKey, Future[bytes]] = {}
        self._readers: OrderedDict[SegmentKey, _Reader] = OrderedDict()
        self._busy: dict[SegmentKey, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(_THREADS, "decode frames")

    def request(self, video: Video, index: int) -> Future[bytes]:
        """Return the JPEG of a frame, as soon as it is decoded, and decode those that will be wanted next.

        The result raises UnreadablePictureError where the frame has no picture, and SourceError where the source
        cannot be read now.

        Raises:
            IndexError: The video has no such frame.
        """
        if not 0 <= index < video.frame_count:
            raise IndexError(f"{video.split}/{video.video_id} has no frame {index} in its source")
        with self._lock:
            wanted = self._claim(video, index)
            for following in range(index + 1, min(index + AHEAD_FRAMES, video.frame_count)):
                if not self._is_claimed(video, following):
                    self._claim(video, following)
                    break
            return wanted

    def close(self) -> None:
        """Stop decoding; runs that have begun are finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers.values():
            reader.frames.close()

    def _is_claimed(self, video: Video, index: int) -> bool:
        key = (_place(video), index)
        return key in self._kept or key in self._pending

    def _claim(self, video: Video, index: int) -> Future[bytes]:
        """Return the picture of a frame; one that nobody decodes yet is decoded with those after it."""
        key = (_place(video), index)
        if key in self._kept:
            self._kept.move_to_end(key)
            done: Future[bytes] = Future()
            _resolve(done, self._kept[key])
            return done
        if key not in self._pending:
            end = index + 1
            while end < min(index + RUN_FRAMES, video.frame_count) and not self._is_claimed(video, end):
                end += 1
            for number in range(index, end):
                future: Future[bytes] = Future()
                # So that a request that is given up does not cancel what others wait for.
                future.set_running_or_notify_cancel()
                self._pending[_place(video), number] = future
            busy = self._busy.setdefault(_place(video), threading.Lock())
            self._pool.submit(self._decode_run, video, index, end, busy)
        return self._pending[key]

    def _decode_run(self, video: Video, first: int, end: int, busy: threading.Lock) -> None:
        with busy:
            reader = self._take_reader(video, first)
            try:
                for index in range(first, end):
                    frame = next(reader.frames)
                    reader.following = index + 1
                    self._settle(video, index, _encode(frame))
            except Exception as error:  # Whoever waits for the frames gets it.
                reader.frames.close()
                with self._lock:
                    unsettled = [self._pending.pop((_place(video), index), None) for index in range(first, end)]
                for future in unsettled:
                    if future is not None:
                        future.set_exception(error)
                return
            self._keep_reader(video, reader)

    def _settle(self, video: Video, index: int, picture: Picture) -> None:
        key = (_place(video), index)
        with self._lock:
            future = self._pending.pop(key)
            self._kept[key] = picture
            self._kept_bytes += _size(picture)
            while self._kept_bytes > self._most_bytes and len(self._kept) > 1:
                self._kept_bytes -= _size(self._kept.popitem(last=False)[1])
        _resolve(future, picture)

    def _take_reader(self, video: Video, first: int) -> _Reader:
        with self._lock:
            reader = self._readers.pop(_place(video), None)
        if reader is not None:
            if reader.following == first:
                return reader
            reader.frames.close()
        settings = DecodeSettings(ahead=_DECODED_AHEAD)
        return _Reader(first, read_frames(video, first, video.frame_count, settings))

    def _keep_reader(self, video: Video, reader: _Reader) -> None:
        with self._lock:
            self._readers[_place(video)] = reader
            oldest = self._readers.popitem(last=False)[1] if len(self._readers) > _READERS_KEPT_OPEN else None
        if oldest is not None:
            oldest.frames.close()


def _place(video: Video) -> SegmentKey:
    return video.location, video.start_frame, video.frame_count


def _resolve(future: Future[bytes], picture: Picture) -> None:
    if isinstance(picture, bytes):
        future.set_result(picture)
    else:
        future.set_exception(picture)


def _size(picture: Picture) -> int:
    # A reason counts as a small picture, so that a video without any readable frame is bounded too.
    return len(picture) if isinstance(picture, bytes) else 1_000


def _encode(frame: Frame) -> Picture:
    if frame.image is None:
        return UnreadablePictureError(frame.error or "unreadable")
    return encode_jpeg(frame.image)


def encode_jpeg(image: NDArray[np.uint8]) -> Picture:
    """Return an RGB picture as JPEG, or the reason where that is impossible: a side above 65,535 pixels."""
    try:
        done, content = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    except cv2.error:
        done = False
    if not done:
        return UnreadablePictureError(f"a picture of {image.shape[1]}x{image.shape[0]} pixels is too large for a JPEG")
    return content.tobytes()
