"""Where the person is: the box that a network for one person is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.onnx.manifest import PoseManifest

Box = NDArray[np.float32]
BoxRule = Literal["frame", "blazepose", "detector"]


class BoxFinder(Protocol):
    """Finds the person in each picture, whatever the other pictures are."""

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[Box | None]:
        """Return x1, y1, x2, y2 in pixels, float32 (4,), for each RGB picture; None where nobody is.

        Of several people it takes one: the largest score times area, the first of equals.
        """


class FrameBox:
    """The whole picture, whoever is in it."""

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[Box | None]:
        """Return the box of each whole picture."""
        return [np.array([0, 0, image.shape[1], image.shape[0]], np.float32) for image in images]


def box_rule(manifest: PoseManifest, settings: ModelSettings) -> BoxRule:
    """Return which box a network is shown: what the settings ask for, or else the manifest."""
    return manifest.box if settings.box == "auto" else settings.box


def make_box_finder(manifest: PoseManifest, settings: ModelSettings) -> BoxFinder:
    """Return what finds the box that the settings, or else the manifest, ask for.

    Raises:
        ConfigError: There is no such detector.
        ModelError: The detector cannot be loaded.
        MissingExtraError: onnxruntime is not installed.
    """
    match box_rule(manifest, settings):
        case "frame":
            return FrameBox()
        case "blazepose":
            from phoenix_ray.models.onnx.blazepose_boxes import BlazeposeBox

            return BlazeposeBox(settings)
        case "detector":
            from phoenix_ray.models.onnx.detector_boxes import load_detector

            return load_detector(settings)
