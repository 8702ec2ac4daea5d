"""Runs a network on pictures of noise, before it is added: what its file declares may not be what it does.

`adding` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError, PhoenixRayError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.onnx.manifest import DetectorManifest, HeadManifest, PoseManifest
from phoenix_ray.models.onnx.network_file import output_mismatches
from phoenix_ray.models.onnx.regions import fill_input, region_of
from phoenix_ray.models.onnx.session import OnnxSession

# Height and width of the pictures in pixels: PHOENIX's, and a wide one.
NOISE_SIZES = ((260, 210), (270, 480))


def try_network(manifest: PoseManifest | DetectorManifest | HeadManifest, file: Path) -> Iterator[str]:
    """Run a network on pictures of noise of two sizes, a head on their middle; yield a line for each.

    Raises:
        ModelError: It fails.
    """
    random = np.random.default_rng(0)
    for height, width in NOISE_SIZES:
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        try:
            if isinstance(manifest, PoseManifest):
                seen = _points_in(image, manifest, file)
            elif isinstance(manifest, HeadManifest):
                seen = _numbers_of(image, manifest, file)
            else:
                seen = _person_in(image, manifest, file)
        except PhoenixRayError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{file} fails on a picture of {width}x{height} as its manifest describes it: {reason}"
            ) from error
        yield f"{width}x{height}: {seen}"


def _points_in(image: NDArray[np.uint8], manifest: PoseManifest, file: Path) -> str:
    from phoenix_ray.models.onnx.engine import OnnxModel

    _refuse_other_outputs(image, manifest, file)
    model = OnnxModel(manifest, file, ModelSettings(box="frame", device="cpu"))
    batch = model.estimate([image])
    model.close()
    counts = {part: np.count_nonzero(~np.isnan(points[0, :, 0])) for part, points in batch.points.items()}
    # Noise holds nobody, so few points or none are right; scores show a threshold in other units than the network's.
    return ", ".join(
        f"{part} {count} of {batch.points[part].shape[1]} points (score {batch.scores[part][0]:.3g})"
        for part, count in counts.items()
    )


def _refuse_other_outputs(image: NDArray[np.uint8], manifest: PoseManifest, file: Path) -> None:
    """Raise ModelError where outputs are not those of the manifest; a file may leave their sizes open."""
    form = manifest.input
    region = region_of(np.array([0, 0, *image.shape[1::-1]], np.float32), form)
    session = OnnxSession(file, ModelSettings(device="cpu"))
    outputs = session.run(fill_input(image, region, form)[np.newaxis], form.name)
    session.close()
    if problems := output_mismatches(manifest, {name: output.shape for name, output in outputs.items()}):
        lines = "\n  ".join(problems)
        raise ModelError(f"{file} gives other outputs than its manifest describes:\n  {lines}")


def _person_in(image: NDArray[np.uint8], manifest: DetectorManifest, file: Path) -> str:
    from phoenix_ray.models.onnx.detector_boxes import DetectorBox

    (box,) = DetectorBox(manifest, file, ModelSettings(device="cpu")).find([image])
    return "nobody" if box is None else f"a person at {', '.join(f'{value:.0f}' for value in box)}"


def _numbers_of(image: NDArray[np.uint8], manifest: HeadManifest, file: Path) -> str:
    from phoenix_ray.models.heads.crops import Square, cut_square
    from phoenix_ray.models.heads.head_reader import HeadReader

    side = np.float32(0.5)
    crop = cut_square(image, Square((side, side), (side, side)), manifest.crop.scale, manifest.input)
    (row,) = HeadReader(manifest, file, ModelSettings(device="cpu")).read([crop])
    decoder = manifest.decoder
    count = len(decoder.classes)
    names = (*decoder.values, "quality")
    numbers = [f"{name} {value:.3g}" for name, value in zip(names, row[count:], strict=True) if not np.isnan(value)]
    return ", ".join([*([decoder.classes[int(row[:count].argmax())]] if count else []), *numbers])
