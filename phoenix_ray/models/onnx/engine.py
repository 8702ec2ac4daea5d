"""Runs a network on frames: box, region, input, network, decoder, layout.

Frames whose inputs have one shape go through the network together. What a frame's input shows depends on that frame
alone, and `session` sees to it that its outputs do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.onnx.boxes import BoxFinder, make_box_finder
from phoenix_ray.models.onnx.decoders.decode import decode
from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.manifest import PoseManifest
from phoenix_ray.models.onnx.network_layout import layout_of_manifest, refuse_other_points
from phoenix_ray.models.onnx.regions import Region, fill_input, input_shape, region_of, rows_of_sizes, to_picture
from phoenix_ray.models.onnx.session import OnnxSession, frames_at_once

Image = NDArray[np.uint8]


class OnnxModel:
    """A `PoseModel` of a network in an ONNX file.

    Args:
        manifest: What the network takes and gives.
        path: Its file.
        settings: Device, precision, box and what else `OnnxSession` needs, with every 'auto' decided.

    Raises:
        ConfigError: The manifest's layout, or the detector of `model.detector`, is not known.
        MissingExtraError: onnxruntime is not installed.
        ModelError: The network, or the one that finds boxes, cannot be loaded.
    """

    def __init__(self, manifest: PoseManifest, path: Path, settings: ModelSettings) -> None:
        self.layout: Layout = layout_of_manifest(manifest)
        self.batch_size = frames_at_once(settings)
        self._manifest = manifest
        self._path = path
        self._session = OnnxSession(path, settings)
        self._boxes: BoxFinder | None = make_box_finder(manifest, settings)

    def estimate(self, images: Sequence[Image]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch.

        All is NaN for a frame in which there is no box, or in whose box the network finds nobody.

        Raises:
            ModelError: The file and its manifest do not fit together.
            MemoryError: The GPU's memory is too small for a single frame.
        """
        form = self._manifest.input
        points = {
            part.name: np.full((len(images), len(part.points), len(part.axes)), np.nan, np.float32)
            for part in self.layout.parts
        }
        scores = {part.name: np.full(len(images), np.nan, np.float32) for part in self.layout.parts}
        boxes = self._boxes.find(images) if self._boxes is not None else []
        seen = [row for row, box in enumerate(boxes) if box is not None]
        regions = [region_of(box, form) for box in boxes if box is not None]
        for size, members in rows_of_sizes(regions).items():
            rows, own = [seen[member] for member in members], [regions[member] for member in members]
            inputs = np.empty((len(rows), *input_shape(own[0], form)), np.float32)
            for target, row, region in zip(inputs, rows, own, strict=True):
                fill_input(images[row], region, form, out=target)
            found = self._decode(inputs, size)
            sizes = np.array([images[row].shape[1::-1] for row in rows], np.float32).reshape(-1, 1, 2)
            landmarks = to_landmarks(self.layout, found, own, sizes, self._manifest.missing_below)
            for name in points:
                points[name][rows] = landmarks.points[name]
                scores[name][rows] = landmarks.scores[name]
        return LandmarkBatch(points, scores, self._session.take_events())

    def close(self) -> None:
        """Release the networks and their memory."""
        self._session.close()
        self._boxes = None

    def _decode(self, inputs: NDArray[np.float32], size: tuple[int, int]) -> DecodedPoints:
        """Return the points of inputs of one size, those alone that the layout has."""
        found = decode(self._session.run(inputs, self._manifest.input.name), self._manifest.decoder, size)
        refuse_other_points(self._manifest, self.layout, found.xy.shape[1], self._path)
        return keep_points(found, self._manifest.keep)


def keep_points(found: DecodedPoints, keep: Sequence[int]) -> DecodedPoints:
    """Return some of the points, by their numbers, in that order; all where `keep` is empty."""
    if not keep:
        return found
    chosen = list(keep)
    return DecodedPoints(found.xy[:, chosen], found.scores[:, chosen], found.person, found.clipped)


def to_landmarks(
    layout: Layout, found: DecodedPoints, regions: Sequence[Region], sizes: NDArray[np.float32], missing_below: float
) -> LandmarkBatch:
    """Return points of inputs as landmarks: normalised to the pictures, cut into parts, missing parts as NaN.

    Args:
        layout: Its parts in a row are the points.
        found: Points in the pixels of N inputs.
        regions: Where each input lies in its picture.
        sizes: float32 (N, 1, 2): width and height of each picture.
        missing_below: A part whose mean score is below is missing.
    """
    xy = (to_picture(found.xy, regions) / sizes).astype(np.float32)
    if found.clipped:
        xy = xy.clip(0, 1)
    points, scores, first = {}, {}, 0
    for part in layout.parts:
        own = slice(first, first := first + len(part.points))
        values = np.concatenate([xy[:, own], found.scores[:, own, np.newaxis]], axis=2)
        score = found.scores[:, own].mean(axis=1, dtype=np.float32)
        # Written so that a score that is not a number counts as missing.
        missing = ~(score >= missing_below)
        if found.person is not None:
            missing |= np.isnan(found.person)
        points[part.name] = np.where(missing[:, np.newaxis, np.newaxis], np.float32(np.nan), values)
        scores[part.name] = score
    return LandmarkBatch(points, scores)
