"""The measures of all videos of a collection, summarised by split, signer or video, and the videos to look at.

`measure_collection` makes one pass, in threads that each hold a few row groups, however long a video is. `count_only`
needs no pass: it takes the counts that a dataset has in its table of videos.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, image_parts
from phoenix_ray.statistics.measures import SCORE_BINS, PartMeasures, VideoMeasures, measure_blocks, measure_video

Grouping = Literal["split", "signer", "video"]
OUTLIERS_SHOWN = 5
# Shorter videos have rates and jitters that mean little.
_FEWEST_FRAMES = 10
# Videos that a thread takes at once: neighbours in the files, so that a row group is decoded once.
_VIDEOS_AT_ONCE = 32


def measure_collection(
    open_collection: Callable[[], LandmarkCollection], threads: int, keys: Iterable[VideoKey] | None = None
) -> Iterator[VideoMeasures]:
    """Yield what was measured in each video, sorted by split and video ID.

    Args:
        open_collection: Opens the collection; called once for each thread, since threads cannot share one.
        threads: How many threads read and measure.
        keys: (split, video ID) of the videos to measure, in the order to yield them; None measures all.

    Raises:
        OutputError: A video cannot be read.
    """
    keys = open_collection().keys() if keys is None else keys
    own = threading.local()

    def measure(keys: list[VideoKey]) -> list[VideoMeasures]:
        if not hasattr(own, "collection"):
            own.collection = open_collection()
        return [_measure(own.collection, key) for key in keys]

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
                part: PartMeasures(round(frames * row[f"{part}_rate"]), None, None, None, 0.0, None, {}, None, nothing)
                for part in image_parts(dataset.layout)
            }
            signer = row["signer"] or ""
            yield VideoMeasures(row["split"], row["video_id"], signer, frames, statuses, parts, counted_only=True)


def _pieces(keys: Iterable[VideoKey]) -> Iterator[list[VideoKey]]:
    left = iter(keys)
    while piece := list(islice(left, _VIDEOS_AT_ONCE)):
        yield piece


@dataclass(frozen=True, slots=True)
class PartSummary:
    """The measures of one part in a group of videos.

    Attributes:
        rate: Share of the frames in which it was found.
        jitter: Median of the videos' jitters in pixels (`measures.PartMeasures.jitter`), None without any.
        energy: Median of the videos' motion energies (`measures.PartMeasures.energy`), None without any.
        jerk: Median of the videos' jerks (`measures.PartMeasures.jerk`), None without any.
        gaps: How often it vanishes and comes back.
        gap_frames: Frames of all these gaps.
        longest_gap: Frames of the longest.
        scores: int64 (SCORE_BINS,): frames by presence score.
    """

    rate: float
    jitter: float | None
    energy: float | None
    jerk: float | None
    gaps: int
    gap_frames: int
    longest_gap: int
    scores: NDArray[np.int64]

    def score_quantile(self, share: float) -> float | None:
        """Return the score below which a share of the frames lies, to 0.01; None without scores."""
        total = self.scores.sum()
        if not total:
            return None
        return float((np.searchsorted(np.cumsum(self.scores), share * total) + 0.5) / SCORE_BINS)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "rate": self.rate,
            "jitter_pixels": self.jitter,
            "motion_energy_pixels2": self.energy,
            "jerk_pixels": self.jerk,
            "gaps": self.gaps,
            "gap_frames": self.gap_frames,
            "longest_gap": self.longest_gap,
            "scores": self.scores.tolist(),
        }


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group of videos.

    Attributes:
        name: The split, the signer, or split/video; `all` for everything.
        videos: How many.
        frames: Their rows.
        statuses: Rows by status.
        parts: By name.
        unsized: Rows with a part in frames of unknown size, whose movements are in no figure.
        counted_only: Whether statuses and rates are all that is known; everything else is empty.
    """

    name: str
    videos: int
    frames: int
    statuses: dict[str, int]
    parts: dict[str, PartSummary]
    unsized: int = 0
    counted_only: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values, None for what was not measured."""
        parts = {name: part.to_json() for name, part in self.parts.items()}
        if self.counted_only:
            parts = {name: dict.fromkeys(part) | {"rate": part["rate"]} for name, part in parts.items()}
        return {
            "name": self.name,
            "videos": self.videos,
            "frames": self.frames,
            "statuses": self.statuses,
            "frames_without_size": None if self.counted_only else self.unsized,
            "parts": parts,
        }


@dataclass(frozen=True, slots=True)
class Outlier:
    """A video to look at.

    Attributes:
        reason: Why: `lowest rate`, `highest jitter`, `largest jump`, `longest gap`.
        part: Of which part.
        split: Split of the video.
        video_id: The video.
        value: A share for rates, pixels for jitter and jumps, frames for gaps.
        frame: Frame index to look at; None where it is the video as a whole.
    """

    reason: str
    part: str
    split: str
    video_id: str
    value: float
    frame: int | None


def group(videos: Sequence[VideoMeasures], by: Grouping) -> list[GroupSummary]:
    """Return a summary of each group, sorted by name."""
    keys: dict[Grouping, Callable[[VideoMeasures], str]] = {
        "split": lambda video: video.split,
        "signer": lambda video: video.signer or "unknown",
        "video": lambda video: f"{video.split}/{video.video_id}",
    }
    groups: dict[str, list[VideoMeasures]] = {}
    for video in videos:
        groups.setdefault(keys[by](video), []).append(video)
    return [summarise(name, groups[name]) for name in sorted(groups)]


def summarise(name: str, videos: Sequence[VideoMeasures]) -> GroupSummary:
    """Return the summary of some videos of one layout; there is at least one."""
    frames = sum(video.frames for video in videos)
    statuses: Counter[str] = Counter()
    for video in videos:
        statuses.update(video.statuses)
    parts = {part: _summarise_part(part, videos, frames) for part in videos[0].parts}
    unsized = sum(video.unsized for video in videos)
    counted_only = videos[0].counted_only
    return GroupSummary(name, len(videos), frames, dict(sorted(statuses.items())), parts, unsized, counted_only)


def find_outliers(videos: Sequence[VideoMeasures], count: int = OUTLIERS_SHOWN) -> list[Outlier]:
    """Return, for each reason and part, the worst videos, the worst first; of rates only those below the median."""
    long = [video for video in videos if video.frames >= _FEWEST_FRAMES]
    if not long:
        return []
    return [outlier for part in long[0].parts for outlier in _outliers_of_part(part, long, count)]


def _outliers_of_part(part: str, videos: Sequence[VideoMeasures], count: int) -> Iterator[Outlier]:
    usual = float(np.median([video.rate(part) for video in videos]))
    low = [Outlier("lowest rate", part, video.split, video.video_id, video.rate(part), None) for video in videos]
    yield from sorted((video for video in low if video.value < usual), key=lambda video: video.value)[:count]
    shaky, jumps, gaps = [], [], []
    for video in videos:
        measures, key = video.parts[part], (part, video.split, video.video_id)
        if measures.jitter is not None:
            shaky.append(Outlier("highest jitter", *key, measures.jitter, None))
        if measures.jump_frame is not None:
            jumps.append(Outlier("largest jump", *key, measures.jump, measures.jump_frame))
        if measures.longest_gap is not None:
            gaps.append(Outlier("longest gap", *key, measures.longest_gap.frames, measures.longest_gap.first))
    for outliers in (shaky, jumps, gaps):
        yield from sorted(outliers, key=lambda outlier: (-outlier.value, outlier.split, outlier.video_id))[:count]


def _summarise_part(part: str, videos: Sequence[VideoMeasures], frames: int) -> PartSummary:
    measures = [video.parts[part] for video in videos]
    gaps: Counter[int] = Counter()
    for measured in measures:
        gaps.update(measured.gaps)
    return PartSummary(
        rate=sum(measured.found for measured in measures) / frames if frames else 0.0,
        jitter=_median(measured.jitter for measured in measures),
        energy=_median(measured.energy for measured in measures),
        jerk=_median(measured.jerk for measured in measures),
        gaps=gaps.total(),
        gap_frames=sum(length * count for length, count in gaps.items()),
        longest_gap=max(gaps, default=0),
        # A million videos without scores need no table of a hundred million zeros.
        scores=np.zeros(SCORE_BINS, np.int64)
        if videos[0].counted_only
        else np.sum([measured.scores for measured in measures], axis=0, dtype=np.int64),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
