"""Runs a model on the sample, and measures how long it takes, how much memory, and what it finds.

Frames go through the functions of the workers (`phoenix_ray.estimation`), in whole batches over all runs, so that a
short run does not make a model look slow; in mode tracking each run is a video of its own.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.estimation import Estimate, estimate_frames, first_state, track_frames
from phoenix_ray.layouts import Layout
from phoenix_ray.model_comparison.candidates import ModelChoice
from phoenix_ray.model_comparison.process_memory import mark_memory, peak_since_mark
from phoenix_ray.model_comparison.sample import SampledRun
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """How fast a model was.

    Attributes:
        load_seconds: From its files to a model that can be called.
        frames_per_second: Median over batches; None where no batch was left after the warm-up.
        batches: Batches that the median is of.
        batch_size: Frames of a full batch.
        threads: The setting `model.threads`.
        memory_growth: Most resident bytes of the process while the model was loaded and ran, less those before; None
            where the system does not say.
    """

    load_seconds: float
    frames_per_second: float | None
    batches: int
    batch_size: int
    threads: int
    memory_growth: int | None


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What a model did on the sample.

    Attributes:
        candidate: The model.
        runs: Its landmarks of each run of the sample, with the frame indices of the video.
        statuses: Frames by status.
        speed: How fast it was.
        kernels: Processor and libraries that computed.
    """

    candidate: ModelChoice
    runs: tuple[VideoLandmarks, ...]
    statuses: Mapping[str, int]
    speed: ModelSpeed
    kernels: str

    @property
    def layout(self) -> Layout:
        """Layout of its landmarks."""
        return self.runs[0].layout


def run_candidate(candidate: ModelChoice, runs: Sequence[SampledRun], announce: Callable[[str], None]) -> ModelResult:
    """Load a model, run it on the sample, and drop it.

    Args:
        candidate: The model.
        runs: The sample, with at least one frame that could be read.
        announce: Receives a line for each download of weights.

    Raises:
        Exception: It cannot be loaded, or failed on every frame.
    """
    registry.ensure_ready(candidate.settings, announce)
    before = mark_memory()
    started = time.perf_counter()
    model = registry.create(candidate.settings)
    loaded = time.perf_counter() - started
    try:
        watched = _WatchedTracker(model) if isinstance(model, TrackingModel) else _WatchedModel(model)
        found = _estimate(watched, runs)
        batch_size = model.batch_size
        kernels = registry.kernels(candidate.settings)
    finally:
        model.close()
    peak = peak_since_mark()
    speed = ModelSpeed(
        loaded,
        watched.rate(),
        len(watched.counted()),
        1 if isinstance(watched, _WatchedTracker) else batch_size,
        candidate.settings.threads,
        None if before is None or peak is None else max(0, peak - before),
    )
    statuses = Counter(status for run in found for status in run.status)
    return ModelResult(candidate, tuple(found), dict(sorted(statuses.items())), speed, kernels)


class _WatchedModel:
    """A model that counts how long each of its batches takes; the first is computed once more before, as a warm-up."""

    def __init__(self, model: PoseModel) -> None:
        self._model = model
        self._warm = False
        self.layout: Layout = model.layout
        self.batch_size = model.batch_size
        # Frames and seconds of each batch.
        self.timed: list[tuple[int, float]] = []

    def estimate(self, images: Sequence[Image]) -> LandmarkBatch:
        """Return the model's landmarks."""
        if not self._warm:
            self._warm = True
            self._model.estimate(images)
        started = time.perf_counter()
        found = self._model.estimate(images)
        self.timed.append((len(images), time.perf_counter() - started))
        return found

    def close(self) -> None:
        """Do nothing: who made the model closes it."""

    def counted(self) -> list[tuple[int, float]]:
        """Return frames and seconds of the full batches, or of all where none is full."""
        return [entry for entry in self.timed if entry[0] == self.batch_size] or self.timed

    def rate(self) -> float | None:
        """Return the median frames per second; None without a batch."""
        rates = [frames / max(seconds, 1e-9) for frames, seconds in self.counted()]
        return statistics.median(rates) if rates else None


class _WatchedTracker(_WatchedModel):
    """As `_WatchedModel` for a model that tracks: one video at a time."""

    def __init__(self, model: TrackingModel) -> None:
        super().__init__(model)
        self._tracker = model
        self.state_size = model.state_size
        self.batch_size = 1

    def track(self, images: Sequence[Image], states: NDArray[np.float32]) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the model's landmarks and states; the first frame of all is the warm-up, which is not repeated."""
        started = time.perf_counter()
        found = self._tracker.track(images, states)
        if self._warm:
            self.timed.append((len(images), time.perf_counter() - started))
        self._warm = True
        return found


def _estimate(model: _WatchedModel, runs: Sequence[SampledRun]) -> list[VideoLandmarks]:
    if isinstance(model, _WatchedTracker):
        estimates = [_track(model, run) for run in runs]
    else:
        estimates = _estimate_together(model, runs)
    return [_landmarks(model.layout, run, estimate) for run, estimate in zip(runs, estimates, strict=True)]


def _track(model: _WatchedTracker, run: SampledRun) -> Estimate:
    first = run.frames[0].index
    return track_frames(model, iter(run.frames), first, first + len(run.frames), first_state(model))


def _estimate_together(model: PoseModel, runs: Sequence[SampledRun]) -> list[Estimate]:
    """Return the estimate of each run, computed as if all were one video."""
    frames = [frame for run in runs for frame in run.frames]
    numbered = [replace(frame, index=number) for number, frame in enumerate(frames)]
    together = estimate_frames(model, iter(numbered), 0, len(numbered))
    estimates, first = [], 0
    for run in runs:
        own = slice(first, first := first + len(run.frames))
        points = {part: values[own] for part, values in together.rows.points.items()}
        scores = {part: values[own] for part, values in together.rows.scores.items()}
        estimates.append(replace(together, records=together.records[own], rows=LandmarkBatch(points, scores)))
    return estimates


def _landmarks(layout: Layout, run: SampledRun, estimate: Estimate) -> VideoLandmarks:
    records = estimate.records
    return VideoLandmarks(
        run.video.split,
        run.video.video_id,
        layout,
        np.array([frame.index for frame in run.frames], np.int32),
        tuple(frame.name for frame in run.frames),
        np.array([np.nan if frame.timestamp is None else frame.timestamp for frame in run.frames], np.float64),
        np.array([[record.width or 0, record.height or 0] for record in records], np.int32).reshape(-1, 2),
        tuple(record.status for record in records),
        estimate.rows.points,
        estimate.rows.scores,
        run.video.fps,
        run.video.annotation,
    )
