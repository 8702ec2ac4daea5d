"""What a report says about a dataset, as data; `page` makes HTML of it.

Frames, statuses and detections are those of all videos, from the dataset's table of videos. Movement, gaps and scores
need the landmarks themselves, so they are measured in a sample of a large dataset: videos that are spread evenly over
the sorted list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.failures import FailureRecord, read_failures
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.tally import digest_text
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, image_parts
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.openpose_import import FrameSize
from phoenix_ray.report.runs import RunHistory, read_history
from phoenix_ray.statistics.measures import VideoMeasures
from phoenix_ray.statistics.summary import (
    GroupSummary,
    Outlier,
    count_only,
    find_outliers,
    measure_collection,
    summarise,
)

# Entries of the failure list that are read; each is a file.
MOST_FAILURES = 1_000


@dataclass(frozen=True, slots=True)
class SourceText:
    """What the annotations of the videos hold, and how long the videos last.

    Attributes:
        seconds: Length of the videos whose frame rate is known.
        rates: The lowest and the highest frame rate; None where none is known.
        uneven: Videos whose frame rate varies.
        with_gloss: Videos with glosses.
        glosses: Different glosses, as words between spaces.
        with_translation: Videos with a translation.
    """

    seconds: float
    rates: tuple[float, float] | None
    uneven: int
    with_gloss: int
    glosses: int
    with_translation: int


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """What only a dataset of phoenix_ray records, not a file of another tool.

    Attributes:
        identity: Its `dataset.json`.
        digest: Landmark digest of all rows, 32 hexadecimal digits.
        kernels: What computed the rows → frames.
        unfinished: Videos that lack frames.
        text: Annotations and lengths.
        history: Its runs.
        failures: Its failure list, `MOST_FAILURES` entries of it at most.
    """

    identity: DatasetIdentity
    digest: str
    kernels: dict[str, int]
    unfinished: int
    text: SourceText
    history: RunHistory
    failures: tuple[FailureRecord, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """A dataset, or landmarks of another tool, and what was found in it.

    Attributes:
        name: What the user calls it.
        collection: Its landmarks.
        counted: Frames, statuses and detections of each video; those of another tool's files are `measured`.
        measured: Movement, gaps and scores of each video of the sample.
        everything: Counts over all videos.
        movement: What was measured in the sample; None where nothing was to be measured.
        record: None for landmarks of another tool.
    """

    name: str
    collection: LandmarkCollection
    counted: Sequence[VideoMeasures]
    measured: Sequence[VideoMeasures]
    everything: GroupSummary
    movement: GroupSummary | None
    record: DatasetRecord | None

    def outliers(self, count: int) -> list[Outlier]:
        """Return videos to look at, part by part: rates of all videos, all else of the sample."""
        rates = [outlier for outlier in find_outliers(self.counted, count) if outlier.reason == "lowest rate"]
        others = [outlier for outlier in find_outliers(self.measured, count) if outlier.reason != "lowest rate"]
        order = list(self.counted[0].parts)
        return sorted([*rates, *others], key=lambda outlier: order.index(outlier.part))


@dataclass(frozen=True, slots=True)
class ComparedDataset:
    """One of several datasets side by side.

    Attributes:
        name: What the user calls it.
        identity: Its `dataset.json`; None for landmarks of another tool.
        digest: Landmark digest of all its rows; empty for landmarks of another tool.
        left_out: Its videos that another dataset lacks.
        summary: What was measured in the videos that all have, or in a sample of them.
    """

    name: str
    identity: DatasetIdentity | None
    digest: str
    left_out: int
    summary: GroupSummary


@dataclass(frozen=True, slots=True)
class Comparison:
    """Datasets side by side, in the order in which they were given, over the videos that are in all of them."""

    shared: int
    datasets: tuple[ComparedDataset, ...]


def examine(name: str, sample: int, threads: int, frame_size: FrameSize | None = None) -> Findings:
    """Count and measure a dataset, or landmarks in a format that `exports.imports` reads.

    Args:
        name: Its folder, file or URI.
        sample: Videos to measure at most; 0 measures none. Files of another tool have no table of counts, so that all
            of them are measured in any case.
        threads: How many threads read and measure.
        frame_size: As for `open_collection`.

    Raises:
        ConfigError: The URI names no bucket.
        OutputError: It cannot be read, or holds no video.
    """
    collection = open_collection(name, frame_size)
    keys = list(collection.keys())
    if not keys:
        raise OutputError(f"{name} holds no video: there is nothing to report.")
    if not isinstance(collection, Dataset):
        measured = measure(name, collection, keys, threads, frame_size)
        everything = summarise("all", measured)
        return Findings(name, collection, measured, measured, everything, everything, None)
    chosen = spread(keys, sample)
    measured = measure(name, collection, chosen, threads) if chosen else []
    counted = measured if len(chosen) == len(keys) else list(count_only(collection))
    storage = open_for_reading(name)
    record = DatasetRecord(
        collection.identity,
        digest_text(collection.digest()),
        collection.kernels(),
        len(collection.unfinished()),
        _read_text(collection.videos()),
        read_history(storage),
        tuple(read_failures(storage, MOST_FAILURES)),
    )
    everything = summarise("all", counted)
    movement = summarise("all", measured) if measured else None
    return Findings(name, collection, counted, measured, everything, movement, record)


def compare(
    first: Findings, names: Sequence[str], sample: int, threads: int, frame_size: FrameSize | None = None
) -> Comparison:
    """Measure a dataset and others over the videos that all of them have; without a sample, count detections alone.

    Raises:
        ConfigError: A URI names no bucket.
        OutputError: One cannot be read, or they share no video.
    """
    collections = [first.collection, *(open_collection(name, frame_size) for name in names)]
    held = [set(collection.keys()) for collection in collections]
    shared = sorted(set.intersection(*held))
    if not shared:
        listed = ", ".join([first.name, *names])
        raise OutputError(f"{listed} share no video: split and video ID must be the same in all of them.")
    chosen = spread(shared, sample) or shared
    datasets = []
    for name, collection, keys in zip([first.name, *names], collections, held, strict=True):
        known: Iterable[VideoMeasures] = first.measured if collection is first.collection else ()
        if not sample and isinstance(collection, Dataset):
            known = count_only(collection)
        summary = summarise("all", _measure_unknown(name, collection, chosen, known, threads, frame_size))
        identity = collection.identity if isinstance(collection, Dataset) else None
        digest = digest_text(collection.digest()) if isinstance(collection, Dataset) else ""
        datasets.append(ComparedDataset(name, identity, digest, len(keys) - len(shared), summary))
    return Comparison(len(shared), tuple(datasets))


def _measure_unknown(
    name: str,
    collection: LandmarkCollection,
    keys: Sequence[VideoKey],
    known: Iterable[VideoMeasures],
    threads: int,
    frame_size: FrameSize | None,
) -> list[VideoMeasures]:
    """Return the measures of some videos, without reading those again that are known."""
    measured = {(video.split, video.video_id): video for video in known}
    fresh = [key for key in keys if key not in measured]
    for video in measure(name, collection, fresh, threads, frame_size) if fresh else ():
        measured[video.split, video.video_id] = video
    return [measured[key] for key in keys]


def measure(
    name: str,
    collection: LandmarkCollection,
    keys: Collection[VideoKey],
    threads: int,
    frame_size: FrameSize | None = None,
) -> list[VideoMeasures]:
    """Return the measures of some videos of a collection that was opened by this name."""
    if isinstance(collection, Dataset):
        reading = collection.select(parts=image_parts(collection.layout))
        return list(measure_collection(reading.select, threads, keys))
    # Files of other tools are read by one thread.
    return list(measure_collection(partial(open_collection, name, frame_size), 1, keys))


def spread(keys: Sequence[VideoKey], count: int) -> list[VideoKey]:
    """Return so many of some sorted keys, spread evenly from the first to the last; all where there are fewer."""
    if count >= len(keys):
        return list(keys)
    return [keys[place] for place in np.linspace(0, len(keys) - 1, count).round().astype(int)]


def _read_text(videos: pa.Table) -> SourceText:
    rates = videos.column("fps")
    seconds = pc.sum(pc.divide(videos.column("frames").cast(pa.float64()), rates)).as_py() or 0.0
    known = pc.min_max(rates).as_py()
    words = pc.list_flatten(pc.utf8_split_whitespace(videos.column("gloss")))
    return SourceText(
        seconds,
        None if known["min"] is None else (known["min"], known["max"]),
        pc.sum(videos.column("fps_varies")).as_py() or 0,
        _filled(videos.column("gloss")),
        len(set(words.unique().to_pylist()) - {"", None}),
        _filled(videos.column("translation")),
    )


def _filled(texts: Iterable[object]) -> int:
    """Return how many texts of a column are neither null nor empty."""
    return int(pc.sum(pc.greater(pc.utf8_length(texts), 0)).as_py() or 0)
