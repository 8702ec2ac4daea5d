"""The person that a detector in an ONNX file finds (YOLOX, RTMDet, YOLO), as the box of another network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.onnx.boxes import FrameBox
from phoenix_ray.models.onnx.catalog import LocatedManifest, find_manifest
from phoenix_ray.models.onnx.decoders.person_boxes import PersonBoxes, decode_boxes
from phoenix_ray.models.onnx.manifest import DetectorManifest
from phoenix_ray.models.onnx.regions import fill_input, input_shape, region_of, rows_of_sizes
from phoenix_ray.models.onnx.session import OnnxSession

Floats = NDArray[np.float32]
Box = Floats


class DetectorBox:
    """The most prominent person of a detector, within the picture; a `BoxFinder`.

    Args:
        manifest: The detector's manifest.
        path: Its file.
        settings: As for `OnnxSession`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file is not an ONNX network.
    """

    def __init__(self, manifest: DetectorManifest, path: Path, settings: ModelSettings) -> None:
        self._manifest = manifest
        self._device = settings.device
        self._session = OnnxSession(path, settings)

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[Box | None]:
        """Return the box of the person with the largest score times area in each picture; None where nobody is."""
        form = self._manifest.input
        regions = [region_of(box, form) for box in FrameBox().find(images) if box is not None]
        found: list[Box | None] = [None] * len(images)
        for size, rows in rows_of_sizes(regions).items():
            inputs = np.empty((len(rows), *input_shape(regions[rows[0]], form)), np.float32)
            for target, row in zip(inputs, rows, strict=True):
                fill_input(images[row], regions[row], form, out=target)
            persons = [person for batch in self._batches(inputs) for person in self._decode(batch, size)]
            for row, person in zip(rows, persons, strict=True):
                best = person.by_prominence()[:1]
                if not len(best):
                    continue
                region = regions[row]
                corners = person.boxes[best[0]].reshape(2, 2).astype(np.float64) * region.scale + region.offset
                box = corners.clip(0, images[row].shape[1::-1]).astype(np.float32).reshape(4)
                found[row] = box if (box[2:] > box[:2]).all() else None
        return found

    def _batches(self, inputs: Floats) -> Iterator[Floats]:
        """Yield what goes through the network at once.

        With suppression inside, a network may give another number of boxes for each picture, which do not fit into one
        array. A CPU computes one picture at a time anyway.
        """
        if self._device in ("auto", "cpu"):
            yield from inputs[:, np.newaxis]
        else:
            yield inputs

    def _decode(self, inputs: Floats, size: tuple[int, int]) -> list[PersonBoxes]:
        return decode_boxes(self._session.run(inputs, self._manifest.input.name), self._manifest.decoder, size)


def find_detector(settings: ModelSettings) -> tuple[DetectorManifest, LocatedManifest]:
    """Return the manifest of `model.detector`, and where it was found.

    Raises:
        ConfigError: The setting is empty, there is no such manifest, or it is one of another kind.
    """
    if not settings.detector:
        raise ConfigError("model.box=detector needs model.detector: the name or path of a detector's manifest.")
    located = find_manifest(settings.detector, settings.weights_path, kind="detector")
    assert isinstance(located.manifest, DetectorManifest)
    return located.manifest, located


def load_detector(settings: ModelSettings) -> DetectorBox:
    """Return the detector of `model.detector`.

    Raises:
        ConfigError: As `find_detector`.
        MissingExtraError: onnxruntime is not installed.
        ModelError: Its file is not an ONNX network.
    """
    manifest, located = find_detector(settings)
    path = located.folder / (manifest.weights.file or f"{manifest.name}.onnx")
    return DetectorBox(manifest, path, settings)
