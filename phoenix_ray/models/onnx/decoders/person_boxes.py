"""Detectors: boxes of persons, and the choice of the person that is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.decode import pick_output
from phoenix_ray.models.onnx.manifest import BoxDecoder, RtmdetDecoder, YoloBoxDecoder, YoloxDecoder

Floats = NDArray[np.float32]

# YOLOX looks at its input in cells of so many pixels, one grid after the other.
YOLOX_STRIDES = (8, 16, 32)
# x1, y1, x2, y2, score: rows of a network that has non-maximum suppression inside.
SUPPRESSED_ROW = 5


@dataclass(frozen=True, slots=True)
class PersonBoxes:
    """The persons that a detector finds in one input, in the order of the network's rows.

    Attributes:
        boxes: float32 (M, 4): x1, y1, x2, y2 in pixels of the input.
        scores: float32 (M,).
    """

    boxes: Floats
    scores: Floats

    def by_prominence(self) -> NDArray[np.int64]:
        """Return the persons that have an area, int64 (M or fewer,): the largest score times area first.

        Equal ones stay in the network's order.
        """
        prominence = self.scores * _areas(self.boxes)
        order = np.argsort(-prominence, kind="stable")
        return order[prominence[order] > 0]


def decode_boxes(outputs: Mapping[str, Floats], decoder: BoxDecoder, size: tuple[int, int]) -> list[PersonBoxes]:
    """Return the persons in each of N inputs, each person once.

    Args:
        outputs: Name → float32 (N, ...).
        decoder: The manifest's decoder.
        size: Width and height of the inputs in pixels.
    """
    rows = pick_output(outputs, decoder.output)
    match decoder:
        case RtmdetDecoder():
            return _above(rows[:, :, :4], rows[:, :, 4], decoder.min_score)
        case YoloxDecoder() if rows.shape[2] == SUPPRESSED_ROW:
            return _above(rows[:, :, :4], rows[:, :, 4], decoder.min_score)
        case YoloxDecoder():
            middle, extent = _yolox_boxes(rows, size)
            scores = rows[:, :, 4] * rows[:, :, 5]
        case YoloBoxDecoder():
            middle, extent = rows[:, :2].transpose(0, 2, 1), rows[:, 2:4].transpose(0, 2, 1)
            scores = rows[:, 4]
    half = extent / 2
    boxes = np.concatenate([middle - half, middle + half], axis=2)
    return [_suppress(found, decoder.max_overlap) for found in _above(boxes, scores, decoder.min_score)]


def _yolox_boxes(rows: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return middle and extent of each anchor's box, each float32 (N, anchors, 2), in pixels of the input."""
    corners, strides = [], []
    for stride in YOLOX_STRIDES:
        down, across = np.mgrid[: size[1] // stride, : size[0] // stride]
        corners.append(np.stack([across, down], axis=2).reshape(-1, 2))
        strides.append(np.full((down.size, 1), stride))
    corner, side = np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
    # In double precision, whose last bit differs between processors, and rounded to single, where it is gone.
    extent = np.exp(rows[:, :, 2:4].astype(np.float64)).astype(np.float32)
    return (rows[:, :, :2] + corner) * side, extent * side


def _above(boxes: Floats, scores: Floats, min_score: float) -> list[PersonBoxes]:
    return [
        PersonBoxes(frame_boxes[counts], frame_scores[counts])
        for frame_boxes, frame_scores, counts in zip(boxes, scores, scores > np.float32(min_score), strict=True)
    ]


def _suppress(found: PersonBoxes, max_overlap: float) -> PersonBoxes:
    """Return the boxes that overlap none of a higher score by more than this (intersection over union)."""
    boxes, areas = found.boxes, _areas(found.boxes)
    kept: list[int] = []
    left = np.argsort(-found.scores, kind="stable")
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        lowest = np.maximum(boxes[best, :2], boxes[left, :2])
        extent = (np.minimum(boxes[best, 2:], boxes[left, 2:]) - lowest).clip(0)
        shared = extent[:, 0] * extent[:, 1]
        left = left[shared <= np.float32(max_overlap) * (areas[best] + areas[left] - shared)]
    kept.sort()
    return PersonBoxes(boxes[kept], found.scores[kept])


def _areas(boxes: Floats) -> Floats:
    extent = (boxes[:, 2:] - boxes[:, :2]).clip(0)
    areas: Floats = extent[:, 0] * extent[:, 1]
    return areas
