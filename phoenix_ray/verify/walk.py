"""Going through the videos of two collections: each is loaded from both sides, compared and let go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import ConfigError, PhoenixRayError
from phoenix_ray.verify.differences import Difference, DifferenceKind
from phoenix_ray.verify.tolerance import Tolerance
from phoenix_ray.verify.video import VideoComparison, compare_videos


def compare_collections(
    reference: LandmarkCollection,
    candidate: LandmarkCollection,
    keys: Sequence[VideoKey],
    tolerance: Tolerance,
    *,
    agreed: Mapping[VideoKey, int],
    statuses: bool,
) -> Iterator[VideoComparison]:
    """Yield what came of each video.

    Args:
        reference: What it should be.
        candidate: What it is.
        keys: The videos to compare; each is in at least one of the two.
        tolerance: What counts as equal.
        agreed: Videos known to be the same bits → their number of frames; they are not loaded.
        statuses: Whether both sides tell why a part may be missing.
    """
    expected, found = set(reference.keys()), set(candidate.keys())
    for key in keys:
        if key in agreed:
            yield VideoComparison(*key, frames=agreed[key], by_digest=True)
        elif key not in found:
            yield _whole(key, "video missing", "the video is missing")
        elif key not in expected:
            yield _whole(key, "video extra", "the video is extra")
        else:
            yield _compare(reference, candidate, key, tolerance, statuses)


def all_keys(*collections: LandmarkCollection) -> Iterator[VideoKey]:
    """Yield (split, video ID) of the videos of all collections."""
    return chain.from_iterable(collection.keys() for collection in collections)


def _compare(
    reference: LandmarkCollection,
    candidate: LandmarkCollection,
    key: VideoKey,
    tolerance: Tolerance,
    statuses: bool,
) -> VideoComparison:
    expected, found = _load(reference, key), _load(candidate, key)
    if isinstance(expected, str):
        return _whole(key, "video unreadable", f"the reference cannot be read: {expected}")
    if isinstance(found, str):
        return _whole(key, "video unreadable", f"the candidate cannot be read: {found}")
    return compare_videos(expected, found, tolerance, statuses=statuses)


def _load(collection: LandmarkCollection, key: VideoKey) -> VideoLandmarks | str:
    """Return a video, or why it cannot be read."""
    try:
        return collection.load(*key)
    except ConfigError:
        raise
    except PhoenixRayError as error:
        return str(error)


def _whole(key: VideoKey, kind: DifferenceKind, message: str) -> VideoComparison:
    return VideoComparison(*key, differences=(Difference(kind, message),))
