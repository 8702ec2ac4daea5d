"""Frames of a video file, decoded in order of presentation.

Decoding always begins with the file's first frame, in one thread, because only some codecs can seek exactly: so a frame
has the same pixels whatever range it is requested in. A `DecodingSession` holds a file that is open and how far it is
decoded. The next range of the file goes on from there, where it begins at or after that place, instead of decoding the
file anew; what a decoder gives depends on what came before in the file alone, so the pixels are the same.

Segments of a file may overlap. A session therefore keeps the last pictures, up to a number of bytes, as the decoder
gave them (a half of the size of RGB), and ranges that begin a little earlier take them from there.

A worker has one `DecodingSessions`; readers without one decode each range from the first frame.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import UnreadableFrameError, check_size
from phoenix_ray.sources.files import (
    ContainerError,
    is_storage_error,
    not_seen,
    open_container,
    read_packets,
    storage_failure,
    video_stream,
    with_retries,
)
from phoenix_ray.sources.paths import SourceFile, SourcePath
from phoenix_ray.sources.pixel_aspect import with_square_pixels
from phoenix_ray.sources.timing import Timeline, read_timeline
from phoenix_ray.text import counted


def frame_name(index: int) -> str:
    """Return the name of a frame that has no file of its own, by its index in the file."""
    return f"frame-{index}"


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """What the decoder gave for a frame of a file.

    Attributes:
        index: 0-based position in the file.
        picture: The decoder's picture (`av.VideoFrame`), None where it gave none.
        reason: Why there is no sound picture, None where there is.
        timeline: When the frames of the file are shown.
    """

    index: int
    picture: Any
    reason: str | None
    timeline: Timeline

    @property
    def bytes(self) -> int:
        """Memory that the picture takes."""
        # A lost frame counts as a small picture, so that a file without any sound frame is bounded too.
        return sum(plane.buffer_size for plane in self.picture.planes) if self.picture is not None else 1_000


class DecodingSession:
    """A video file that is open, and how far it is decoded.

    Args:
        path: The file.
        fps: Frames per second, by which frames are timed that have no time of their own.
        max_pixels: Pictures of more pixels are not decoded.

    Attributes:
        location: Location of the file.
        position: Index of the frame that the decoder gives next.
        ending: Why the decoder gives no more frames; empty while it may.
        is_usable: Whether another range may go on from here: False once the storage has failed.
        kept_bytes: Memory of the pictures that it keeps.
    """

    def __init__(self, path: SourcePath, fps: float | None, max_pixels: int) -> None:
        self.location = path.location
        self.fps = fps
        self.max_pixels = max_pixels
        self.position = 0
        self.ending = ""
        self.is_usable = True
        self.kept_bytes = 0
        self._kept: deque[DecodedPicture] = deque()
        try:
            self._file = with_retries(path.open)
        except FileNotFoundError as error:
            raise not_seen(error, self.location) from None
        except OSError as error:
            if is_storage_error(error):
                raise storage_failure(error, self.location) from None
            raise
        self._pictures = _decode(self._file, fps, max_pixels)

    @property
    def first(self) -> int:
        """Index of the first frame that it can still give."""
        return self._kept[0].index if self._kept else self.position

    def pictures(self, first: int, last: int, keep_bytes: int) -> Iterator[DecodedPicture]:
        """Yield the pictures of frames `first` to `last - 1`, fewer where `ending` says why.

        Args:
            first: First frame, not before `self.first`.
            last: End of the frames, exclusive.
            keep_bytes: Memory for pictures that ranges after this one may ask for.

        Raises:
            SourceError: The storage fails, which says nothing about the frames.
        """
        yield from [kept for kept in self._kept if first <= kept.index < last]
        while self.position < last and not self.ending:
            decoded = self._decode_next()
            if decoded is None:
                return
            self._keep(decoded, keep_bytes)
            if decoded.index >= first:
                yield decoded

    def forget_pictures(self) -> None:
        """Free the pictures that it keeps; the decoder stays where it is."""
        self._kept.clear()
        self.kept_bytes = 0

    def close(self) -> None:
        """Close the file."""
        self.forget_pictures()
        self._pictures.close()
        self._file.close()

    def _decode_next(self) -> DecodedPicture | None:
        try:
            decoded = next(self._pictures, None)
        except FileNotFoundError as error:
            self.is_usable = False
            raise not_seen(error, self.location) from None
        except (ContainerError, UnreadableFrameError, OSError) as error:
            if isinstance(error, OSError) and is_storage_error(error):
                self.is_usable = False
                raise storage_failure(error, self.location) from None
            self.ending = str(error)
            return None
        except BaseException:
            self.is_usable = False
            raise
        if decoded is None:
            self.ending = "the file ends"
            return None
        self.position = decoded.index + 1
        return decoded

    def _keep(self, decoded: DecodedPicture, most_bytes: int) -> None:
        self._kept.append(decoded)
        self.kept_bytes += decoded.bytes
        while self._kept and (self.kept_bytes > most_bytes or not most_bytes):
            self.kept_bytes -= self._kept.popleft().bytes


class DecodingSessions:
    """The decoding sessions of a process. Threads may share it.

    Args:
        most: Sessions that stay open while no range is read from them.
        keep_bytes: Memory of all for pictures that the next segments may ask for again.
        at_once: Ranges that are read at the same time; each has its share of that memory.

    Attributes:
        decoded: Frames that were decoded so far, for tests and measurements.
    """

    def __init__(self, most: int = 0, keep_bytes: int = 0, at_once: int = 1) -> None:
        self.decoded = 0
        self._most = most
        self._keep_bytes = keep_bytes
        self._share = keep_bytes // at_once
        self._in_use = 0
        self._lock = threading.Lock()
        self._idle: deque[DecodingSession] = deque()

    def frames(
        self, video: Video, path: SourcePath, first: int, last: int, max_pixels: int
    ) -> Generator[Frame, None, None]:
        """Yield frames `first` to `last - 1` of a video, each with its presentation time.

        A frame that cannot be decoded, or that was counted but is missing from the file, is yielded with the reason.

        Raises:
            SourceError: The storage fails, or this machine does not see the file, which says nothing about the frames.
        """
        start, end = video.start_frame + first, video.start_frame + last
        # Whole videos are cut into ranges that do not overlap.
        keep_bytes = self._share if video.is_segment else 0
        shown, ending = 0, ""
        try:
            session = self._take(path, video.fps, max_pixels, start)
        except OSError as error:
            ending = str(error)
        else:
            before = session.position
            try:
                for decoded in session.pictures(start, end, keep_bytes):
                    yield _to_frame(decoded, video, max_pixels)
                shown, ending = session.position, session.ending
            finally:
                self._give_back(session, session.position - before)
        missing = f"the video was planned with {counted(video.frame_count, 'frame')}; after frame {shown}: {ending}"
        for index in range(max(start, shown), end):
            yield Frame(index - video.start_frame, frame_name(index), timestamp=None, image=None, error=missing)

    def close(self) -> None:
        """Close the files that no range is read from."""
        with self._lock:
            idle, self._idle = self._idle, deque()
        for session in idle:
            session.close()

    def _take(self, path: SourcePath, fps: float | None, max_pixels: int, first: int) -> DecodingSession:
        """Return the session from which the fewest frames lead to a frame: one that is open, or a new one."""
        with self._lock:
            fitting = [
                session
                for session in self._idle
                if (session.location, session.fps, session.max_pixels) == (path.location, fps, max_pixels)
                and session.first <= first
            ]
            nearest = max(fitting, key=lambda session: session.position, default=None)
            if nearest is not None:
                self._idle.remove(nearest)
        session = nearest or DecodingSession(path, fps, max_pixels)
        with self._lock:
            self._in_use += 1
            self._free_memory()
        return session

    def _free_memory(self) -> None:
        """Let the sessions that are not read from keep only what those that are leave of the memory."""
        allowed = max(0, self._keep_bytes - self._in_use * self._share)
        for idle in reversed(self._idle):
            allowed -= idle.kept_bytes
            if allowed < 0:
                idle.forget_pictures()

    def _give_back(self, session: DecodingSession, decoded: int) -> None:
        with self._lock:
            self.decoded += decoded
            self._in_use -= 1
            if session.is_usable:
                self._idle.append(session)
            surplus = [self._idle.popleft() for _ in range(len(self._idle) - self._most)]
        if not session.is_usable:
            surplus.append(session)
        for each in surplus:
            each.close()


def _decode(file: SourceFile, fps: float | None, max_pixels: int) -> Generator[DecodedPicture, None, None]:
    """Yield every frame of the file from the first on, in order and without a gap."""
    timeline = read_timeline(file, fps)
    reasons: dict[int, str] = {}
    position = 0

    def lost_frames(first: int, last: int) -> Iterator[DecodedPicture]:
        for index in range(first, last):
            yield DecodedPicture(index, None, reasons.get(index, "the decoder gave no picture"), timeline)

    for picture in _decoded_pictures(file, max_pixels, timeline, reasons):
        index = timeline.index_at(picture.pts, position)
        yield from lost_frames(position, index)
        yield DecodedPicture(index, picture, reasons.get(index), timeline)
        position = index + 1
    yield from lost_frames(position, len(timeline.times))


def _decoded_pictures(file: SourceFile, max_pixels: int, timeline: Timeline, reasons: dict[int, str]) -> Iterator[Any]:
    """Yield what the decoder gives, and record in `reasons` why a frame has no sound picture."""
    import av

    with open_container(file, max_pixels) as container:
        stream = video_stream(container)
        decoder = stream.codec_context
        check_size(decoder.width, decoder.height, max_pixels)
        # The size may change within a stream; the decoder then refuses before it allocates the picture. It counts the
        # pixels of whole blocks, hence the factor of two; `_to_frame` checks the exact size.
        decoder.options = {"max_pixels": str(2 * max_pixels)}
        # More threads give other pixels in damaged streams, and a worker has its own frames to decode anyway.
        decoder.thread_count = 1
        for packet in read_packets(container, stream):
            # The second field of a frame has a time of its own, between two frames.
            index = timeline.index_before(packet.pts)
            if packet.is_corrupt:
                reasons[index] = "the file is damaged or ends within this frame"
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError as error:
                reasons[index] = f"the decoder failed: {error}"
        # Pictures that the decoder still held and cannot give are reported as lost at the end of the timeline.
        with suppress(av.FFmpegError):
            yield from decoder.decode(None)


def _to_frame(decoded: DecodedPicture, video: Video, max_pixels: int) -> Frame:
    picture, reason = decoded.picture, decoded.reason
    image = None
    try:
        if picture is not None:
            check_size(picture.width, picture.height, max_pixels)
            if reason is None and picture.is_corrupt:
                reason = "the picture is damaged"
            image = None if reason else _upright(picture, video, max_pixels)
    except UnreadableFrameError as error:
        reason = str(error)
    seconds = decoded.timeline.seconds(decoded.index, video.start_frame)
    return Frame(decoded.index - video.start_frame, frame_name(decoded.index), seconds, image, reason)


def _upright(picture: Any, video: Video, max_pixels: int) -> NDArray[np.uint8]:
    """Return the picture as RGB, turned as the display matrix says: by quarter turns, which is all recorders write."""
    pixels: NDArray[np.uint8] = picture.to_ndarray(format="rgb24", threads=1)
    if video.square_pixels:
        pixels = with_square_pixels(pixels, video.pixel_aspect_ratio, max_pixels)
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels
