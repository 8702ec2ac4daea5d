"""Runs a network on frames: box, region, input, network, decoder, layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, frames_per_call
from phoenix_ray.models.onnx.boxes import make_box_finder
from phoenix_ray.models.onnx.decoders.decode import decode
from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.entry import layout_of_manifest
from phoenix_ray.models.onnx.manifest import PoseManifest
from phoenix_ray.models.onnx.regions import Region, fill_input, region_of, to_picture
from phoenix_ray.models.onnx.session import OnnxSession

Image = NDArray[np.uint8]


class OnnxModel:
    """A `PoseModel` of a network in an ONNX file."""

    def __init__(self, manifest: PoseManifest, path: Path, settings: ModelSettings) -> None:
        self.layout: Layout = layout_of_manifest(manifest)
        self.batch_size = frames_per_call(settings)
        self._manifest = manifest
        self._session = OnnxSession(path, settings)
        self._boxes = make_box_finder(manifest, settings)

    def estimate(self, images: Sequence[Image]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ within a batch."""
        form = self._manifest.input
        sizes = np.array([image.shape[1::-1] for image in images], np.float32).reshape(-1, 1, 2)
        regions = [region_of(box, form) for box in self._boxes.find(images) if box is not None]
        inputs = np.stack([fill_input(image, region, form) for image, region in zip(images, regions, strict=True)])
        found = decode(self._session.run(inputs, form.name), self._manifest.decoder, regions[0].size)
        return to_landmarks(self.layout, found, regions, sizes, self._manifest.missing_below)

    def close(self) -> None:
        """Drop the session."""


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
        missing = score < missing_below
        if found.person is not None:
            missing |= np.isnan(found.person)
        points[part.name] = np.where(missing[:, np.newaxis, np.newaxis], np.float32(np.nan), values)
        scores[part.name] = score
    return LandmarkBatch(points, scores)
