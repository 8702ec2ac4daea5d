"""Measures a collection of landmarks in one pass, in threads that each hold a few row groups, however long a video is.

Counts that a dataset has in its table of videos need no pass at all: `count_only`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, image_parts
from phoenix_ray.statistics.measures import SCORE_BINS, PartMeasures, VideoMeasures, measure_blocks, measure_video

# Videos that a thread takes at once: neighbours in the files, so that a row group is decoded once.
_VIDEOS_AT_ONCE = 32


def measure_collection(open_collection: Callable[[], LandmarkCollection], threads: int) -> Iterator[VideoMeasures]:
    """Yield what was measured in each video, sorted by split and video ID.

    Args:
        open_collection: Opens the collection; called once for each thread, since threads cannot share one.
        threads: How many threads read and measure.

    Raises:
        OutputError: A video cannot be read.
    """
    keys = open_collection().keys()
    own = threading.local()

    def measure(piece: list[VideoKey]) -> list[VideoMeasures]:
        if not hasattr(own, "collection"):
            own.collection = open_collection()
        return [_measure(own.collection, key) for key in piece]

    with ThreadPoolExecutor(threads) as pool:
        for measures in pool.map(measure, _pieces(keys)):
            yield from measures


def _measure(collection: LandmarkCollection, key: VideoKey) -> VideoMeasures:
    if isinstance(collection, Dataset):
        return collection.load_blocks(*key, measure_blocks)
    return measure_video(collection.load(*key))


def count_only(dataset: Dataset) -> Iterator[VideoMeasures]:
    """Yield what the table of videos knows, in an instant: frames, statuses and detections, nothing of movements."""
    nothing = np.zeros(SCORE_BINS, np.int32)
    for batch in dataset.videos().to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            statuses: dict[str, int] = {
                status: row[f"frames_{status}"] for status in STATUSES if row[f"frames_{status}"]
            }
            frames = sum(statuses.values())
            parts = {
                part: PartMeasures(round(frames * row[f"{part}_rate"]), None, 0.0, None, {}, None, nothing)
                for part in image_parts(dataset.layout)
            }
            yield VideoMeasures(row["split"], row["video_id"], row["signer"] or "", frames, statuses, parts)


def _pieces(keys: Iterator[VideoKey]) -> Iterator[list[VideoKey]]:
    while piece := list(islice(keys, _VIDEOS_AT_ONCE)):
        yield piece
