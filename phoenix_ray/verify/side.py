"""One of the two collections that are compared, with its videos read in blocks of rows.

Datasets and recomputations give blocks; files of other tools are held whole, a video at a time, since their readers
hold them so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeVar, runtime_checkable

from phoenix_ray.dataset.collection import LandmarkCollection, VideoKey
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, PhoenixRayError
from phoenix_ray.verify.alignment import FrameList
from phoenix_ray.verify.row_window import OutdatedError, VideoBlocks

Result = TypeVar("Result")
SideName = Literal["reference", "candidate"]
Blocks = Iterator[VideoLandmarks]

# A dataset may be written while it is compared; each time that a video changes it is compared anew.
_ATTEMPTS = 5


@runtime_checkable
class BlockCollection(Protocol):
    """Landmarks that need not be held a video at a time."""

    def list_frames(self, split: str, video_id: str) -> FrameList:
        """Return the frames of a video, without their landmarks.

        Raises:
            PhoenixRayError: They cannot be listed.
        """
        ...

    def load_blocks(self, split: str, video_id: str, use: Callable[[Blocks], Result]) -> Result:
        """Return what a function makes of a video that it is given in blocks of rows, in order, at least one.

        Raises:
            PhoenixRayError: The video cannot be read.
        """
        ...


class UnreadableError(Exception):
    """A video cannot be read on one side; the message says on which, and why."""


class Side:
    """The reference or the candidate.

    Args:
        name: Which of the two.
        collection: Its videos.
    """

    def __init__(self, name: SideName, collection: LandmarkCollection) -> None:
        self.name = name
        self.collection = collection
        # Without the columns of landmarks; a second reader, so that each keeps the row group that it has decoded.
        self._listing = collection.select(parts=()) if isinstance(collection, Dataset) else None
        self._whole: VideoLandmarks | None = None

    def list_frames(self, key: VideoKey) -> FrameList:
        """Return the frames of a video.

        Raises:
            PhoenixRayError: They cannot be listed.
        """
        if self._listing is not None:
            return self._listing.load_blocks(*key, FrameList.of)
        if isinstance(self.collection, BlockCollection):
            return self.collection.list_frames(*key)
        return FrameList.of([self._load(key)])

    def load_blocks(self, key: VideoKey, use: Callable[[Blocks], Result]) -> Result:
        """Return what a function makes of a video in blocks of rows; it is called again where the dataset changed.

        Raises:
            PhoenixRayError: The video cannot be read.
        """
        if isinstance(self.collection, (Dataset, BlockCollection)):
            return self.collection.load_blocks(*key, use)
        return use(iter([self._load(key)]))

    def refresh(self) -> None:
        """Look at a dataset anew."""
        for dataset in (self.collection, self._listing):
            if isinstance(dataset, Dataset):
                dataset.refresh()

    def _load(self, key: VideoKey) -> VideoLandmarks:
        """Return a video; the last one is kept, since its frames are listed first and compared then."""
        if self._whole is None or (self._whole.split, self._whole.video_id) != key:
            self._whole = None
            self._whole = self.collection.load(*key)
        return self._whole


class _BlocksError(Exception):
    """The blocks of the reference raised an error, which the candidate must not take for its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.error = error


def read_both(
    reference: Side, candidate: Side, key: VideoKey, use: Callable[[VideoBlocks, VideoBlocks], Result]
) -> Result:
    """Return what a function makes of a video that it is given from both sides, in blocks.

    Raises:
        UnreadableError: A side cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            reference.refresh()
            candidate.refresh()
        try:
            return _read_once(reference, candidate, key, use)
        except OutdatedError:
            continue
    raise UnreadableError(f"{key[0]}/{key[1]} changes while it is read; try again later.")


def _read_once(
    reference: Side, candidate: Side, key: VideoKey, use: Callable[[VideoBlocks, VideoBlocks], Result]
) -> Result:
    expected = _attributed(reference, lambda: reference.list_frames(key))
    found = _attributed(candidate, lambda: candidate.list_frames(key))

    def use_reference(blocks: Blocks) -> Result:
        calls = 0

        def use_candidate(others: Blocks) -> Result:
            nonlocal calls
            calls += 1
            if calls > 1:
                # Blocks of the reference are used up.
                raise OutdatedError
            return use(VideoBlocks(expected, _shielded(blocks)), VideoBlocks(found, others))

        try:
            return _attributed(candidate, lambda: candidate.load_blocks(key, use_candidate))
        except _BlocksError as shielded:
            raise shielded.error from None

    return _attributed(reference, lambda: reference.load_blocks(key, use_reference))


def _shielded(blocks: Blocks) -> Blocks:
    try:
        yield from blocks
    except Exception as error:
        raise _BlocksError(error) from error


def _attributed(side: Side, read: Callable[[], Result]) -> Result:
    """Return what is read of a side; settings that are wrong are the user's, whichever side finds them."""
    try:
        return read()
    except ConfigError:
        raise
    except PhoenixRayError as error:
        raise UnreadableError(f"the {side.name} cannot be read: {error}") from None
