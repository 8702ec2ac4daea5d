"""What is compared with the CPU engine on a device: modes, face points, pose networks; and the CPU engine's landmarks.

A machine with LiteRT computes those landmarks and stores them (`benchmarks.gpu_pack`); the machine with the device then
needs no LiteRT.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.gpu_frames import GpuFrames
from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel
from phoenix_ray.models.weight_files import WEIGHTS, WeightFile

_SCORES = "score of "


@dataclass(frozen=True, slots=True)
class Case:
    """A set of settings that change landmarks.

    Attributes:
        name: Its name, and that of the file of its landmarks.
        mode: Value of `model.mode`.
        face_points: Value of `model.face_points`.
        complexity: Value of `model.complexity`.
    """

    name: str
    mode: Literal["static", "tracking"] = "static"
    face_points: Literal[468, 478] = 468
    complexity: Literal[0, 1, 2] = 1

    def settings(self, **others: Any) -> ModelSettings:
        """Return the settings of the case, with others that the caller chooses."""
        chosen = {"mode": self.mode, "face_points": self.face_points, "complexity": self.complexity}
        return ModelSettings.model_validate(chosen | others)

    def weights(self) -> list[WeightFile]:
        """Return the files of the networks that the case runs."""
        settings = self.settings()
        return [weight for weight in WEIGHTS if weight.is_needed(settings)]

    def file(self, folder: Path) -> Path:
        """Return the file of the CPU engine's landmarks."""
        return folder / f"{self.name}.npz"


# The first matters most.
CASES = (
    Case("static-468"),
    Case("tracking-468", mode="tracking"),
    Case("static-478", face_points=478),
    Case("static-468-lite", complexity=0),
    Case("static-468-heavy", complexity=2),
)


def landmarks_of(model: PoseModel, frames: GpuFrames) -> LandmarkBatch:
    """Return a model's landmarks of all frames; a model that tracks follows each video from its first frame."""
    return track_together(model, frames) if isinstance(model, TrackingModel) else model.estimate(frames.images)


def track_together(model: TrackingModel, frames: GpuFrames) -> LandmarkBatch:
    """Return the landmarks of all frames, where a step is the next frame of each of up to `batch_size` videos."""
    found: list[tuple[int, LandmarkBatch, int]] = []
    for first in range(0, len(frames.videos), model.batch_size):
        videos = frames.videos[first : first + model.batch_size]
        states = np.full((len(videos), model.state_size), np.nan, np.float32)
        for step in range(max(len(video) for video in videos)):
            running = [place for place, video in enumerate(videos) if step < len(video)]
            places = [videos[place][step] for place in running]
            batch, states[running] = model.track([frames.images[place] for place in places], states[running])
            found += [(place, batch, row) for row, place in enumerate(places)]
    found.sort(key=lambda entry: entry[0])
    names, scored = found[0][1].points, found[0][1].scores
    return LandmarkBatch(
        {name: np.stack([batch.points[name][row] for _, batch, row in found]) for name in names},
        {name: np.stack([batch.scores[name][row] for _, batch, row in found]) for name in scored},
    )


def cpu_landmarks(case: Case, weights: Path, frames: GpuFrames) -> LandmarkBatch:
    """Return the landmarks that LiteRT's networks find.

    Raises:
        ImportError: LiteRT is not installed.
        ModelError: Weights are missing or damaged.
    """
    from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert, HolisticLitertTracking

    make = HolisticLitertTracking if case.mode == "tracking" else HolisticLitert
    with closing(make(case.settings(engine="litert"), weights)) as model:
        return landmarks_of(model, frames)


def store_landmarks(file: Path, frames: GpuFrames, found: LandmarkBatch) -> None:
    """Write landmarks into a file that only these frames fit."""
    scores = {_SCORES + name: values for name, values in found.scores.items()}
    arrays: dict[str, Any] = {"digest": np.array(frames.digest), **found.points, **scores}
    np.savez_compressed(file, **arrays)


def stored_landmarks(file: Path, frames: GpuFrames) -> LandmarkBatch:
    """Return the landmarks of a file.

    Raises:
        ModelError: It holds those of other frames.
    """
    with np.load(file) as stored:
        if str(stored["digest"]) != frames.digest:
            raise ModelError(f"{file} holds the landmarks of other frames: pack again, or choose other --references.")
        arrays = {name: stored[name] for name in stored if name != "digest"}
    scores = {name.removeprefix(_SCORES): arrays.pop(name) for name in list(arrays) if name.startswith(_SCORES)}
    return LandmarkBatch(arrays, scores)


def cases_named(names: Iterable[str]) -> tuple[Case, ...]:
    """Return the cases of some names, in the order of `CASES`; all of them if none is named."""
    chosen = set(names) or {case.name for case in CASES}
    return tuple(case for case in CASES if case.name in chosen)
