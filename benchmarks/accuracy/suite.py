"""The suite `accuracy`: how far each model's landmarks lie from the true joints of rendered figures.

What models mean by each point is measured in the demo's split train and taken off; the other videos are judged. All
distances are in pixels of a 210x260 frame, also where frames are made smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.true_joints import Offsets, TrueJoints, errors, part_sizes, read_images, read_truth
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.estimation import estimate_frames, first_state, track_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel
from phoenix_ray.sources.base import Frame

Image = NDArray[np.uint8]
Differences = Mapping[str, NDArray[np.float64]]

DEFAULT = "full"
MODELS: Mapping[str, ModelSettings] = {
    "lite": ModelSettings(complexity=0),
    DEFAULT: ModelSettings(),
    "heavy": ModelSettings(complexity=2),
    "full, tracking": ModelSettings(mode="tracking"),
    "full, tracking, not smoothed": ModelSettings(mode="tracking", smooth_landmarks=False),
}
CALIBRATION_SPLIT = "train"
PARTS = ("pose", "left_hand", "right_hand", "face")
# A landmark is correct (PCK) if it lies within this share of the size of its part.
CORRECT = 0.1


@dataclass(frozen=True, slots=True)
class Change:
    """How frames are made harder than they are.

    Attributes:
        scale: Factor of a frame's width and height before the model sees it, at most 1.
        blur: Length in pixels of the trail that a sideways motion leaves; 1 leaves none.
    """

    scale: float = 1.0
    blur: int = 1

    def apply(self, image: Image) -> Image:
        """Return a frame, RGB uint8 (height, width, 3), after this change."""
        if self.blur > 1:
            image = np.asarray(cv2.blur(image, (self.blur, 1)), np.uint8)
        if self.scale == 1:
            return image
        size = (round(image.shape[1] * self.scale), round(image.shape[0] * self.scale))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def __str__(self) -> str:
        if self.blur > 1:
            return f"blurred over {self.blur} px"
        return "as rendered" if self.scale == 1 else f"{self.scale:g} times as large"


AS_RENDERED = Change()
CHANGES = (Change(scale=0.5), Change(scale=0.33), Change(blur=5), Change(blur=11))


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

    @property
    def is_judged(self) -> bool:
        """Whether it says how good a model is: it neither gave the offsets nor is it made to be hard."""
        return not self.truth.condition and self.truth.split != CALIBRATION_SPLIT


def run(request: Request) -> Findings:
    """Measure every model as rendered, and the default model where frames are hard."""
    videos = [(truth, read_images(truth)) for truth in read_truth()]
    rendered: dict[str, dict[str, Accuracy]] = {}
    hard: dict[str, dict[str, Accuracy]] = {}
    for name, settings in MODELS.items():
        registry.ensure_ready(settings, request.announce)
        model = registry.create(settings)
        try:
            measured, offsets = measure(model, videos)
            rendered[name] = judge(video for video in measured if video.is_judged)
            request.announce(f"{name}: {_summary(rendered[name])}")
            if name == DEFAULT:
                hard[f"{DEFAULT}, as rendered"] = rendered[name]
                for condition in dict.fromkeys(truth.condition for truth, _ in videos if truth.condition):
                    hard[condition] = judge(video for video in measured if video.truth.condition == condition)
                for change in CHANGES:
                    changed, _ = measure(model, videos, change, offsets)
                    hard[str(change)] = judge(video for video in changed if video.is_judged)
                    request.announce(f"{change}: {_summary(hard[str(change)])}")
        finally:
            model.close()
    quantities = {
        f"{name}, {part}, median px": Rounds.of([accuracy.median])
        for name, parts in rendered.items()
        for part, accuracy in parts.items()
    }
    raw = {
        name: {part: asdict(accuracy) for part, accuracy in parts.items()} for name, parts in (rendered | hard).items()
    }
    tables = [_table("model", rendered), _table("frames", hard)]
    frames = sum(len(images) for _, images in videos)
    return Findings(f"{frames} frames of {len(videos)} rendered videos", 1, tables, quantities, _notes(), raw=raw)


def measure(
    model: PoseModel,
    videos: Sequence[tuple[TrueJoints, Sequence[Image]]],
    change: Change = AS_RENDERED,
    offsets: Offsets | None = None,
) -> tuple[list[MeasuredVideo], Offsets]:
    """Return what a model finds in videos, and its offsets.

    Args:
        model: The model.
        videos: Joints and frames of each video.
        change: What is done to the frames first.
        offsets: What the model means by each point; None measures it in the videos of `CALIBRATION_SPLIT`.
    """
    found = []
    for truth, images in videos:
        batch = find_landmarks(model, [change.apply(image) for image in images])
        found.append((truth, errors(truth, model.layout, batch)))
    offsets = offsets or Offsets.measure(pair for pair in found if pair[0].split == CALIBRATION_SPLIT)
    return [MeasuredVideo(truth, raw, offsets.take_off(truth, raw)) for truth, raw in found], offsets


def judge(videos: Iterable[MeasuredVideo]) -> dict[str, Accuracy]:
    """Return part → how well it was found in videos, for the parts that the model has."""
    known = list(videos)
    parts = (part for part in PARTS if any(name.startswith(f"{part}/") for video in known for name in video.raw))
    return {part: _judge(part, known) for part in parts}


def find_landmarks(model: PoseModel, images: Sequence[Image]) -> LandmarkBatch:
    """Return the landmarks of a video's frames, each RGB uint8 (height, width, 3), as a worker computes them."""
    frames = (Frame(index, f"frame-{index}", None, image) for index, image in enumerate(images))
    if isinstance(model, TrackingModel):
        return track_frames(model, frames, 0, len(images), first_state(model)).rows
    return estimate_frames(model, frames, 0, len(images)).rows


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
        "Pixels are those of a 210x260 frame. Raw: distance from the true joint. The other columns are without what "
        "the model means by a point, a constant offset along axes of the body part, measured in the videos of split "
        "train. Only the other videos count, and of those the frames in which the whole part is in the picture.",
        f"PCK@{CORRECT:g}: share of joints within {CORRECT:.0%} of the part's size: of the longer side of a hand's "
        "box, of the distance of the shoulders (pose) or the eyes (face). Joints of a part that is not found count as "
        "wrong.",
        "The figures are rendered, and the movements are not sign language. The order of models may differ on people.",
    ]
