"""The suite `accuracy`: how far each model's landmarks lie from the true joints of rendered figures.

The figures, their joints and their licence are described in `benchmarks/signer/README.md`. All distances are in pixels
of a 210x260 frame, also where frames are made larger or smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from benchmarks.true_joints import Offsets, TrueJoints, errors, part_sizes
from phoenix_ray.config import ModelSettings
from phoenix_ray.estimation import estimate_frames, first_state, track_frames
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel
from phoenix_ray.sources.base import Frame

Image = NDArray[np.uint8]
Differences = Mapping[str, NDArray[np.float64]]

MODELS: Mapping[str, ModelSettings] = {
    "lite": ModelSettings(complexity=0),
    "full": ModelSettings(),
    "heavy": ModelSettings(complexity=2),
    "full, tracking": ModelSettings(mode="tracking"),
    "full, tracking, not smoothed": ModelSettings(mode="tracking", smooth_landmarks=False),
}
PARTS = ("pose", "left_hand", "right_hand", "face")
# A landmark is correct (PCK) if it lies within this share of the size of its part.
CORRECT = 0.1


@dataclass(frozen=True, slots=True)
class Condition:
    """How frames are made harder or easier than they are.

    Attributes:
        scale: Factor of a frame's width and height before the model sees it.
        blur: Length in pixels of the trail that a sideways motion leaves; 1 leaves none.
    """

    scale: float = 1.0
    blur: int = 1

    def apply(self, image: Image) -> Image:
        """Return a frame, RGB uint8 (height, width, 3), under this condition."""
        if self.blur > 1:
            image = np.asarray(cv2.blur(image, (self.blur, 1)), np.uint8)
        if self.scale == 1:
            return image
        shrinks = self.scale < 1
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=how), np.uint8)

    def __str__(self) -> str:
        if self.blur > 1:
            return f"blurred over {self.blur} px"
        return "as rendered" if self.scale == 1 else f"{self.scale:g} times as large"


AS_RENDERED = Condition()
CONDITIONS = (AS_RENDERED, Condition(scale=0.5), Condition(scale=0.33), Condition(blur=5), Condition(blur=11))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a part was found.

    Attributes:
        frames: Frames in which all joints of the part lie within the picture.
        found: Share of them in which the part was found.
        raw: Median distance from the true joints in pixels, including what the model means by a point.
        median: Median distance without it (`Offsets`).
        worst: The distance that 5 % of landmarks exceed, without it.
        correct: Share of joints within `CORRECT` of the part's size; joints of a part that was not found are wrong.
    """

    frames: int
    found: float
    raw: float
    median: float
    worst: float
    correct: float


@dataclass(frozen=True, slots=True)
class MeasuredVideo:
    """A video's joints and what a model found: `errors`, with and without its offsets."""

    truth: TrueJoints
    raw: Differences
    error: Differences


def run(request: Request) -> Findings:
    """Measure every model as rendered, and the default model under the other conditions."""
    videos = read_truth()
    measured: dict[tuple[str, Condition], dict[str, Accuracy]] = {}
    for name, settings in MODELS.items():
        registry.ensure_ready(settings, request.announce)
        model = registry.create(settings)
        try:
            offsets = None
            for condition in CONDITIONS if name == "full" else (AS_RENDERED,):
                measured[name, condition], offsets = measure(model, videos, condition, offsets)
                request.announce(f"{name}, {condition}: {_summary(measured[name, condition])}")
        finally:
            model.close()
    quantities = {
        f"{name}, {part}, median px": Rounds.of([accuracy.median])
        for (name, condition), parts in measured.items()
        for part, accuracy in parts.items()
        if condition == AS_RENDERED
    }
    raw = [
        {"model": name, "condition": str(condition), "part": part, **asdict(accuracy)}
        for (name, condition), parts in measured.items()
        for part, accuracy in parts.items()
    ]
    rendered = {name: parts for (name, condition), parts in measured.items() if condition == AS_RENDERED}
    hard = {str(condition): parts for (name, condition), parts in measured.items() if name == "full"}
    tables = [_table("model", rendered), _table("full, static", hard)]
    frames = sum(len(truth.positions) for truth, _ in videos)
    return Findings(f"{frames} frames of {len(videos)} rendered videos", 1, tables, quantities, _notes(), raw=raw)


def measure(
    model: PoseModel,
    videos: Sequence[tuple[TrueJoints, Sequence[Image]]],
    condition: Condition = AS_RENDERED,
    offsets: Offsets | None = None,
) -> tuple[dict[str, Accuracy], Offsets]:
    """Return part → accuracy of a model in the videos outside of split train, and its offsets.

    Args:
        model: The model.
        videos: Joints and frames of each video.
        condition: What is done to the frames first.
        offsets: What the model means by each point; None measures it in the videos of split train.
    """
    found = []
    for truth, images in videos:
        batch = find_landmarks(model, [condition.apply(image) for image in images])
        found.append((truth, errors(truth, model.layout, batch)))
    offsets = offsets or Offsets.measure(pair for pair in found if pair[0].split == "train")
    judged = [
        MeasuredVideo(truth, raw, offsets.take_off(truth, raw)) for truth, raw in found if truth.split != "train"
    ]
    return {part: _judge(part, judged) for part in PARTS if any(part in _parts(video) for video in judged)}, offsets


def find_landmarks(model: PoseModel, images: Sequence[Image]) -> LandmarkBatch:
    """Return the landmarks of a video's frames, each RGB uint8 (height, width, 3), as a worker computes them."""
    frames = (Frame(index, f"frame-{index}", None, image) for index, image in enumerate(images))
    if isinstance(model, TrackingModel):
        return track_frames(model, frames, 0, len(images), first_state(model)).rows
    return estimate_frames(model, frames, 0, len(images)).rows


def _parts(video: MeasuredVideo) -> set[str]:
    return {name.partition("/")[0] for name in video.raw}


def _judge(part: str, videos: Iterable[MeasuredVideo]) -> Accuracy:
    """Return how well a part was found in videos, in the frames in which all of its joints are in the picture."""
    found, raw, distances, shares = [], [], [], []
    for video in videos:
        names = [name for name in video.raw if name.startswith(f"{part}/")]
        inside = video.truth.inside(names)
        raw.append(_distances(video.raw, names)[inside])
        distances.append(_distances(video.error, names)[inside])
        shares.append(distances[-1] / part_sizes(video.truth, part)[inside, np.newaxis])
        found.append(np.isfinite(raw[-1]).any(axis=1))
    everything, known = np.concatenate(distances), np.concatenate(found)
    return Accuracy(
        frames=len(known),
        found=float(known.mean()),
        raw=float(np.nanmedian(np.concatenate(raw))),
        median=float(np.nanmedian(everything)),
        worst=float(np.nanpercentile(everything, 95)),
        # A comparison with NaN is false.
        correct=float((np.concatenate(shares) <= CORRECT).mean()),
    )


def _distances(differences: Differences, names: Sequence[str]) -> NDArray[np.float64]:
    """Return lengths in pixels, float64 (frames, joints)."""
    return np.stack([np.linalg.norm(differences[name], axis=1) for name in names], axis=1)


def _summary(parts: Mapping[str, Accuracy]) -> str:
    return ", ".join(f"{part} {accuracy.median:.1f} px" for part, accuracy in parts.items())


def _table(head: str, measured: Mapping[str, Mapping[str, Accuracy]]) -> Table:
    return Table(
        (head, "part", "frames", "found", "raw px", "px", "95 % below, px", f"PCK@{CORRECT:g}"),
        list(_rows(measured)),
    )


def _rows(measured: Mapping[str, Mapping[str, Accuracy]]) -> Iterator[tuple[str, ...]]:
    for name, parts in measured.items():
        for part, of in parts.items():
            figures = (f"{of.raw:.2f}", f"{of.median:.2f}", f"{of.worst:.1f}", f"{of.correct:.1%}")
            yield name, part, f"{of.frames}", f"{of.found:.1%}", *figures


def _notes() -> list[str]:
    return [
        "Pixels are those of a 210x260 frame. Raw: distance from the true joint. The other columns are without what the "
        "model means by a point, a constant offset in axes of the body part, measured in the videos of split train. "
        "Only the other videos count, and of those the frames in which the whole part is in the picture.",
        f"PCK@{CORRECT:g}: share of joints within {CORRECT:.0%} of the part's size: of the longer side of a hand's box, "
        "of the distance of the shoulders (pose) or the eyes (face). Joints of a part that is not found count as wrong.",
        "The figures are rendered, and the movements are no sign language. The order of models may differ on people.",
    ]
