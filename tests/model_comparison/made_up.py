"""Runs of landmarks and models whose differences are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ModelError
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, ModelFacts, ModelInfo, PoseModel
from phoenix_ray.models.synthetic import LAYOUT, SyntheticEntry, SyntheticModel
from phoenix_ray.sources.base import Frame, Video
from tests.sources.made_up import write_frames

SIZE = (200, 100)


def make_run(
    layout: Layout,
    frames: int = 4,
    missing: Mapping[str, Sequence[int]] | None = None,
    shift: tuple[float, float] = (0, 0),
    seed: int = 0,
    first: int = 0,
) -> VideoLandmarks:
    """Landmarks of a run: the same places for the same seed and part, moved by pixels."""
    points: dict[str, NDArray[np.float32]] = {}
    for number, part in enumerate(layout.parts):
        random = np.random.default_rng((seed, number))
        values = random.uniform(0.2, 0.8, (frames, len(part.points), len(part.axes))).astype(np.float32)
        values[:, :, :2] += np.divide(shift, SIZE, dtype=np.float32)
        values[list((missing or {}).get(part.name, ()))] = np.nan
        points[part.name] = values
    scores = {
        part.name: np.where(np.isnan(points[part.name][:, 0, 0]), 0.1, 0.9).astype(np.float32)
        for part in layout.parts
        if part.scored
    }
    found = np.any([~np.isnan(values[:, 0, 0]) for values in points.values()], axis=0)
    return VideoLandmarks(
        "train",
        "clip",
        layout,
        np.arange(first, first + frames, dtype=np.int32),
        tuple(f"frame-{index:06}" for index in range(first, first + frames)),
        np.full(frames, np.nan),
        np.tile(np.array(SIZE, np.int32), (frames, 1)),
        tuple("ok" if there else "no_person" for there in found),
        points,
        scores,
    )


def unreadable(run: VideoLandmarks, row: int) -> VideoLandmarks:
    """The run with a frame that could not be read."""
    sizes = run.sizes.copy()
    sizes[row] = 0
    points = {part: values.copy() for part, values in run.points.items()}
    for values in points.values():
        values[row] = np.nan
    status = tuple("unreadable" if place == row else status for place, status in enumerate(run.status))
    return replace(run, sizes=sizes, points=points, status=status)


def listed(names: Mapping[str, int], split: str = "train") -> list[Video]:
    """Videos as a source lists them, by ID and number of frames."""
    return [Video(split, name, "video_file", f"/videos/{name}.mp4", count, "s") for name, count in names.items()]


def frames_of(images: Sequence[NDArray[np.uint8] | None]) -> tuple[Frame, ...]:
    return tuple(
        Frame(index, f"frame-{index:06}", None, image, None if image is not None else "damaged")
        for index, image in enumerate(images)
    )


class ShiftedModel(SyntheticModel):
    """The synthetic model, all of whose points lie 3 px to the right and 4 px below."""

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        found = super().estimate(images)
        sizes = np.array([image.shape[1::-1] for image in images], np.float32).reshape(-1, 1, 2)
        for values in found.points.values():
            values[:, :, :2] += np.array([3, 4], np.float32) / sizes
        return found


class MadeUpEntry(SyntheticEntry):
    """A model of the tests in the registry."""

    def __init__(self, name: str, make: Callable[[int], PoseModel]) -> None:
        self.info = ModelInfo(name, "made up", (), (LAYOUT.name,))
        self._make = make

    def facts(self, settings: ModelSettings) -> ModelFacts:
        return replace(super().facts(settings), identity={"model": self.info.name})

    def create(self, settings: ModelSettings) -> PoseModel:
        return self._make(4)


class AbsentEntry(MadeUpEntry):
    """A model whose file is not there."""

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        raise ModelError("absent.onnx cannot be read: add it with `phoenix-ray models add`.")


class FailingModel(SyntheticModel):
    """A model that fails on every frame."""

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        raise RuntimeError("out of luck")


@contextmanager
def made_up_models() -> Iterator[None]:
    """The registry with `shifted`, `absent` and `failing`."""
    with pytest.MonkeyPatch.context() as patch:
        for entry in (
            MadeUpEntry("shifted", ShiftedModel),
            AbsentEntry("absent", SyntheticModel),
            MadeUpEntry("failing", FailingModel),
        ):
            patch.setitem(registry._ENTRIES, entry.info.name, entry)
        yield


def write_source(folder: Path, videos: int = 3, frames: int = 12) -> Path:
    """Frame folders."""
    for number in range(videos):
        write_frames(folder / "train" / f"clip-{number}", frames)
    return folder
