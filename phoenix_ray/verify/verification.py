"""The three questions of `phoenix-ray verify`, each put as a comparison of two collections.

| question | reference | candidate | equal means |
|---|---|---|---|
| are two results the same? | A | B | within a tolerance, by default 1e-6 |
| is a dataset what its settings give? | computed afresh, without Ray | the dataset | bit for bit, on the same engine |
| does MediaPipe give the same landmarks? | MediaPipe itself | the dataset | by the bars of `models.holistic.parity` |
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import hash_file
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, image_parts
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.exports.imports import FileCollection, open_collection
from phoenix_ray.exports.openpose_import import FrameSize, OpenPoseCollection
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.holistic.parity import (
    PARITY,
    PARITY_OF_OTHER_ORDER,
    PARITY_OF_OTHER_PARTS,
    ParityTolerances,
)
from phoenix_ray.models.provenance import describe_mixture
from phoenix_ray.verify.comparison import VideoComparison, compare_collections
from phoenix_ray.verify.recompute import RecomputedCollection, recorded_settings
from phoenix_ray.verify.report import Criterion
from phoenix_ray.verify.tolerance import BITS, Tolerance

# As large as what a format loses that stores float32 as text of seven digits.
DEFAULT_TOLERANCE = Tolerance("normalised", 1e-6)
# Where bars judge, single values that are further off are reported for information.
_REPORTED_BEYOND = Tolerance("pixels", 0.5)
# Engines whose parts have bars of their own.
_HOLISTIC_ENGINES = frozenset({"litert", "torch", "mediapipe"})


_BLANK_FRAME = (
    "Where pose-format converts many videos with smoothing, it reuses an instance of MediaPipe and shows it a blank "
    "frame in between. Two filters survive that: in the first second or so of each file, visibility (the confidence of "
    "the body) and world landmarks then differ from those of a fresh instance, by up to 0.4 and 5 cm (docs/modes.md)."
)


@dataclass(frozen=True, slots=True)
class VideoFilter:
    """Which videos to compare: of some splits, by ID, or a sample drawn by a seed; all of them unless anything is set.

    Attributes:
        splits: Only these splits.
        videos: Only these videos, each as its ID or as `split/ID`.
        sample: Only so many of the videos, drawn at random.
        seed: The same seed draws the same videos.
    """

    splits: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0

    def choose(self, keys: Iterable[VideoKey]) -> list[VideoKey]:
        """Return those (split, video ID) that are chosen, sorted, each once.

        Raises:
            ConfigError: A split or a video is not among them, or no video is left.
        """
        chosen = sorted(set(keys))
        _require("split", self.splits, {split for split, _ in chosen})
        _require("video", self.videos, {name for key in chosen for name in _names(key)})
        if self.splits:
            chosen = [key for key in chosen if key[0] in self.splits]
        if self.videos:
            chosen = [key for key in chosen if not _names(key).isdisjoint(self.videos)]
        if not chosen:
            raise ConfigError("There is no video to compare.")
        if self.sample is not None and self.sample < len(chosen):
            chosen = sorted(random.Random(self.seed).sample(chosen, self.sample))
        return chosen


def _names(key: VideoKey) -> set[str]:
    split, video_id = key
    return {video_id, f"{split}/{video_id}"}


def _require(what: str, wanted: Iterable[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise ConfigError(f"Neither side has a {what} {name!r}.{did_you_mean(name, known)}")


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison, ready to run.

    Attributes:
        names: What to call the reference and the candidate.
        reference: What it should be.
        candidate: What it is.
        keys: The videos to compare.
        criterion: What counts as equal.
        statuses: Whether both sides record why a part may be missing.
        source: Where the frames lie, for pictures; empty where it is not known.
        agreed: Videos known to be the same bits → their number of frames.
        extra: What to say of a video that only the candidate has.
    """

    names: tuple[str, str]
    reference: LandmarkCollection
    candidate: LandmarkCollection
    keys: tuple[VideoKey, ...]
    criterion: Criterion
    statuses: bool
    source: str
    agreed: Mapping[VideoKey, int] = field(default_factory=dict)
    extra: str = "the video is extra"

    def compare(self) -> Iterator[VideoComparison]:
        """Yield the result for each video."""
        return compare_collections(
            self.reference,
            self.candidate,
            self.keys,
            self.criterion.tolerance,
            agreed=self.agreed,
            statuses=self.statuses,
            extra=self.extra,
        )

    def remarks(self) -> tuple[str, ...]:
        """Return blocks of lines: which rows of a dataset come from unlike machines, and known traps in files."""
        sides = (self.reference, self.candidate)
        ours = [side for side in sides if isinstance(side, Dataset)]
        blocks = ["\n".join(lines) for side in ours if (lines := describe_mixture(side.kernels()))]
        smoothed = any(side.identity.model.get("smooth_landmarks") == "true" for side in ours)
        if smoothed and any(isinstance(side, FileCollection) and side.suffix == ".pose" for side in sides):
            blocks.append(_BLANK_FRAME)
        return tuple(blocks)


def two_results(
    reference: str,
    candidate: str,
    videos: VideoFilter,
    tolerance: Tolerance | None,
    source: str,
    *,
    full: bool,
    frame_size: FrameSize | None = None,
) -> Verification:
    """Prepare to compare two datasets of ours, or files of other tools.

    Args:
        reference: Path of the reference.
        candidate: Path of the candidate.
        videos: Which videos.
        tolerance: What counts as equal; None takes `DEFAULT_TOLERANCE`.
        source: Where the frames lie; empty takes what a dataset records.
        full: Whether to read also what the digests of two datasets vouch for.
        frame_size: As for `open_collection`; without it a dataset on one side says the sizes of files of OpenPose on
            the other.

    Raises:
        ConfigError: `videos` names what is not there.
        OutputError: A side cannot be read.
    """
    opened = [open_collection(name, frame_size) for name in (reference, candidate)]
    ours = [side for side in opened if isinstance(side, Dataset)]
    first, second = (
        side.sized_like(ours[0]) if isinstance(side, OpenPoseCollection) and ours else side for side in opened
    )
    return Verification(
        (reference, candidate),
        first,
        second,
        tuple(videos.choose(chain(first.keys(), second.keys()))),
        Criterion(tolerance or DEFAULT_TOLERANCE),
        statuses=len(ours) == 2,
        source=source or next((side.identity.source_root for side in ours), ""),
        agreed=agreed_videos(reference, candidate) if len(ours) == 2 and not full else {},
    )


def against_recomputation(
    path: str, videos: VideoFilter, tolerance: Tolerance | None, source: str, overrides: Iterable[str]
) -> Verification:
    """Compare a dataset of ours with its landmarks computed afresh in this process.

    Args:
        path: Where the dataset lies.
        videos: Which videos.
        tolerance: What counts as equal; None asks for the same bits where engine, device and all else that is recorded
            are the same here, and for the bars of the engine where they are not.
        source: Where the frames lie; empty takes what the dataset records.
        overrides: `section.key=value` words that go before the recorded settings.

    Raises:
        ConfigError: A word or `videos` names what is not there, or no tolerance is known.
        SourceError: The source has none of the videos.
        PhoenixRayError: The dataset, the source or the model cannot be opened.
    """
    dataset = Dataset.open(path)
    identity = dataset.identity
    settings = recorded_settings(identity, source, tuple(overrides))
    criterion = Criterion(tolerance) if tolerance else expected_nearness(identity, settings.model)
    name = "recomputed" if criterion.bars is None else f"recomputed by {settings.model.engine}"
    return _against(dataset, (name, path), settings, videos, criterion)


def against_mediapipe(
    path: str, videos: VideoFilter, tolerance: Tolerance | None, source: str, overrides: Iterable[str]
) -> Verification:
    """Compare a dataset of ours with MediaPipe itself, reset before each frame, in the environment that holds it.

    The arguments and errors are those of `against_recomputation`; without a tolerance the bars of the dataset's engine
    judge.

    Raises:
        MissingExtraError: MediaPipe is not installed here.
    """
    dataset = Dataset.open(path)
    identity = dataset.identity
    settings = recorded_settings(identity, source, tuple(overrides))
    reference = {"engine": "mediapipe", "device": "auto", "precision": "exact", "kernels": "auto"}
    model = settings.model.model_copy(update=reference)
    criterion = Criterion(tolerance) if tolerance else Criterion(_REPORTED_BEYOND, _bars(identity))
    registry.ensure_ready(model)
    return _against(dataset, ("mediapipe", path), settings.model_copy(update={"model": model}), videos, criterion)


def expected_nearness(identity: DatasetIdentity, model: ModelSettings) -> Criterion:
    """Return how near a recomputation with a model must come to a dataset.

    Holistic's parts have bars that were measured; parts of other models have `PARITY_OF_OTHER_PARTS`, whatever their
    names.

    Raises:
        ConfigError: No tolerance is stated for the two.
    """
    if dict(registry.facts(model).identity) == dict(identity.model):
        return Criterion(BITS)
    facts = registry.facts(model)
    here = replace(identity, model=facts.identity)
    bars = [_bars(identity), _bars(here)]
    other_order = PARITY_OF_OTHER_ORDER in bars or here.model.get("architecture") != identity.model.get("architecture")
    holistic = all(side.model.get("engine") in _HOLISTIC_ENGINES for side in (identity, here))
    stated = (PARITY_OF_OTHER_ORDER if other_order else PARITY) if holistic else {}
    # Parts that are not relative to the image have no distance in pixels; Holistic's goes with the pose.
    others = dict.fromkeys(image_parts(facts.layout), PARITY_OF_OTHER_PARTS)
    return Criterion(_REPORTED_BEYOND, {**others, **{part: bar for part, bar in stated.items() if part in others}})


def _bars(identity: DatasetIdentity) -> ParityTolerances:
    """Return how near the engine of a dataset comes to MediaPipe."""
    if identity.model.get("precision", "exact") != "exact":
        raise ConfigError(
            f"No tolerance is stated for model.precision={identity.model['precision']}: give one with --pixels "
            "(docs/engines.md says how far landmarks move)."
        )
    return PARITY_OF_OTHER_ORDER if identity.model.get("engine") == "torch" else PARITY


def _against(
    dataset: Dataset, names: tuple[str, str], settings: Settings, videos: VideoFilter, criterion: Criterion
) -> Verification:
    fresh = RecomputedCollection(settings, dataset, dataset.identity.source_root)
    there = set(fresh.keys())
    keys = tuple(videos.choose(chain(there, dataset.keys())))
    committed = set(keys).intersection(dataset.keys())
    if committed and not committed & there:
        fresh.close()
        raise SourceError(
            f"{fresh.source_root} holds none of the videos to compute again, or none that can be opened: "
            f"{'/'.join(min(committed))}{' and others' if len(committed) > 1 else ''}. Say where they are now: "
            "--source NEWPATH"
        )
    extra = f"{fresh.source_root} does not have it, or it cannot be opened there"
    return Verification(names, fresh, dataset, keys, criterion, statuses=True, source=settings.source.path, extra=extra)


class _Vouched(NamedTuple):
    digest: int
    frames: int


def agreed_videos(reference: str, candidate: str) -> dict[VideoKey, int]:
    """Return (split, video ID) → frames of the videos that are the same, bit for bit, in two datasets of ours.

    A digest is of names, numbers, statuses, scores and coordinates of all frames (`dataset.tally`). The footer of a
    data file holds those of its videos, computed from the rows when they were written. It is believed only of a file
    whose bytes still have the sha256 in the manifest; videos in other files are read row by row.

    Raises:
        OutputError: A dataset cannot be read.
    """
    expected, found = _vouched(reference), _vouched(candidate)
    return {key: entry.frames for key, entry in expected.items() if found.get(key) == entry}


def _vouched(path: str) -> dict[VideoKey, _Vouched]:
    storage = open_for_reading(path)
    identity = read_identity(storage)
    survey = take_survey(storage, identity)
    videos = {
        (entry.split, entry.video_id): _Vouched(entry.tally.digest, entry.frame_count)
        for file in survey.manifest.files
        if hash_file(storage, file.name)[1] == file.sha256
        for entry in read_entries(storage, identity, file.name)
        if not survey.dropped.bans(entry.split, entry.video_id, entry.annotation)
    }
    superseded = {(video.split, video.video_id) for video in survey.open_videos() if video.live is not None}
    return {key: entry for key, entry in videos.items() if key not in superseded}
