"""The model `synthetic`: landmarks computed from the pixels by arithmetic, without weights, in a fraction of a ms.

It stands in for a real model where the model is not the point: in tests of the cluster, and in measurements of how the
rest scales. Like a real model it is a pure function of each frame, and misses persons and hands in some frames. In mode
tracking it smooths colours over time, loses track where the person is missing, and lets what is found depend on every
frame before, so that one frame too few or a state from elsewhere shows in all frames after. It uses integer and IEEE
arithmetic only, so the same frames give the same bits on every machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.layouts import Part
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, ModelFacts, ModelInfo, PoseModel, frames_per_call
from phoenix_ray.models.provenance import describe_kernels

LAYOUT = layouts.holistic(468)

# Raise it when a change moves a landmark of this model.
VERSION = "1"

# A frame is reduced to the mean colours of GRID x GRID cells; everything follows from these.
GRID = 8
# The checksum of the cells decides what is missing: the person in 1 frame of 16, the left hand in 3 of 8, the right
# hand in 2 of 8, the face in 1 of 8.
NO_PERSON_OF_16 = 1
MISSING_OF_8 = {"pose": 0, "pose_world": 0, "left_hand": 3, "right_hand": 2, "face": 1}


class SyntheticModel:
    """Landmarks from mean colours; see the module."""

    layout = LAYOUT

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""
        cells = [mean_colours(image) for image in images]
        return _landmarks(cells, [zlib.crc32(cell.tobytes()) for cell in cells])

    def close(self) -> None:
        """Do nothing: the model holds no resources."""


class SyntheticTracker(SyntheticModel):
    """A `TrackingModel`. Its state: the colours so far (none where track was lost), and a checksum of all frames."""

    state_size = GRID * GRID * 3 + 1

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of each video, and the states after it; see `TrackingModel`."""
        following = np.full((len(images), self.state_size), np.nan, np.float32)
        cells: list[NDArray[np.float32]] = []
        checksums: list[int] = []
        for row, (image, state) in enumerate(zip(images, states, strict=True)):
            now = mean_colours(image).astype(np.float32)
            colours, before = state[:-1].reshape(now.shape), 0 if np.isnan(state[-1]) else int(state[-1])
            cells.append(np.where(np.isnan(colours), now, (colours + now) * np.float32(0.5)))
            checksums.append(zlib.crc32(cells[-1].tobytes(), before))
            if checksums[-1] % 16 >= NO_PERSON_OF_16:
                following[row, :-1] = cells[-1].reshape(-1)
            # float32 holds integers of 24 bits exactly.
            following[row, -1] = checksums[-1] >> 8
        return _landmarks(cells, checksums), following


class SyntheticEntry:
    """The synthetic model in the registry."""

    info = ModelInfo(
        name="synthetic",
        description="No model: landmarks computed from the pixels, to test and to measure everything else.",
        engines=(),
        layouts=(LAYOUT.name,),
    )

    def resolve_auto(self, settings: ModelSettings, *, has_gpu: bool) -> ModelSettings:  # noqa: ARG002 - the protocol has it
        """Return the settings: there is nothing to decide."""
        return settings

    def facts(self, settings: ModelSettings) -> ModelFacts:
        """Return the only layout; the identity is name and version, and the mode where it is not static."""
        identity = {"model": self.info.name, "pipeline_version": VERSION}
        tracks = settings.mode == "tracking"
        if tracks:
            identity["mode"] = settings.mode
        return ModelFacts(LAYOUT, identity, frames_per_call(settings), uses_gpu=False, tracks=tracks)

    def kernels(self, settings: ModelSettings) -> str:  # noqa: ARG002 - the protocol has it
        """Return processor and libraries of this machine; none of them changes a landmark."""
        return describe_kernels(("numpy", "opencv"))

    def trial(self, settings: ModelSettings, *, has_gpu: bool) -> None:
        """Return None: there is nothing to decide."""

    def ensure_ready(self, settings: ModelSettings, announce: Callable[[str], None]) -> None:
        """Do nothing: the model needs no weights."""

    def create(self, settings: ModelSettings) -> PoseModel:
        """Return the model of the mode."""
        model = SyntheticTracker if settings.mode == "tracking" else SyntheticModel
        return model(frames_per_call(settings))


def mean_colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean colours, rounded down, of a grid of cells: uint8 (GRID, GRID, 3)."""
    height, width, _ = image.shape
    top, left = np.arange(GRID) * height // GRID, np.arange(GRID) * width // GRID
    # A frame with fewer pixels than cells repeats pixels: reduceat takes a single pixel where two bounds are equal.
    sums: NDArray[np.int64] = np.add.reduceat(np.add.reduceat(image, top, axis=0, dtype=np.int64), left, axis=1)
    rows, columns = np.diff(top, append=height).clip(1), np.diff(left, append=width).clip(1)
    means: NDArray[np.uint8] = (sums // (rows[:, None] * columns)[..., None]).astype(np.uint8)
    return means


def _landmarks(cells: Sequence[NDArray[np.uint8 | np.float32]], checksums: Sequence[int]) -> LandmarkBatch:
    """Return the landmarks of frames with these colours (GRID, GRID, 3) and checksums."""
    points = {
        part.name: np.stack([_points(part, index, *frame) for frame in zip(cells, checksums, strict=True)])
        if cells
        else np.empty((0, len(part.points), len(part.axes)), np.float32)
        for index, part in enumerate(LAYOUT.parts)
    }
    scores = {
        part.name: np.array([_score(index, part.name, checksum) for checksum in checksums], np.float32)
        for index, part in enumerate(LAYOUT.parts)
        if part.scored
    }
    return LandmarkBatch(points, scores)


def _points(part: Part, index: int, cells: NDArray[np.uint8 | np.float32], checksum: int) -> NDArray[np.float32]:
    shape = (len(part.points), len(part.axes))
    if not _present(index, part.name, checksum):
        return np.full(shape, np.nan, np.float32)
    # Each point has a place of rest, from which the colours of a cell move it by up to a tenth of the picture.
    numbers = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    rest = (numbers * 7919 % 1000).astype(np.float32) / np.float32(1250) + np.float32(0.1)
    moved = cells.reshape(-1)[(numbers * 31 + index) % cells.size].astype(np.float32) / np.float32(2550)
    points: NDArray[np.float32] = rest + moved
    return points


def _present(index: int, part: str, checksum: int) -> bool:
    return checksum % 16 >= NO_PERSON_OF_16 and (checksum >> (4 + 3 * index)) % 8 >= MISSING_OF_8[part]


def _score(index: int, part: str, checksum: int) -> float:
    if checksum % 16 < NO_PERSON_OF_16 and part != "pose":
        return float("nan")
    fraction = (checksum >> (8 + 3 * index)) % 64 / 128
    return 0.5 + fraction if _present(index, part, checksum) else fraction
