"""What the outputs of a head mean: logits, values and a quality for each crop.

The quality is the square root of confidence times heat-map quality. The confidence is the largest of the classes'
probabilities; the heat-map quality is the mean over the maps of their highest values, each clipped to 0..1. A network
without maps has its confidence as quality, one without classes the heat-map quality, and one with neither has none.
EmoNet does not define a quality of its maps: the clipping and the mean are a definition of phoenix_ray.

Sums are taken number by number in one order, and the exponential is that of `holistic.elementary`, so that the bits do
not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.models.holistic.elementary import exponential
from phoenix_ray.models.onnx.manifest import HeadDecoder, OutputOfHead

Floats = NDArray[np.float32]
Outputs = Mapping[str, Floats]


def read_outputs(outputs: Outputs, decoder: HeadDecoder) -> Floats:
    """Return a row for each of N crops, float32 (N, `Head.width`): logits, values, quality.

    Args:
        outputs: Name → float32 (N, ...).
        decoder: What they mean.

    Raises:
        ModelError: An output is missing, or has too few numbers; the message names the manifest's field.
    """
    columns: list[Floats] = []
    confidence = sharpness = None
    if decoder.logits is not None:
        logits = _numbers(outputs, decoder.logits, len(decoder.classes), "decoder.logits")
        confidence = highest_probability(logits, decoder.probabilities)
        columns.append(logits)
    for name, value in decoder.values.items():
        number = _numbers(outputs, value, 1, f"decoder.values.{name}")
        columns.append(number if value.clamp is None else np.clip(number, *np.array(value.clamp, np.float32)))
    if decoder.heatmap:
        sharpness = heatmap_quality(_find(outputs, decoder.heatmap, "decoder.heatmap"))
    columns.append(quality(len(columns[0]), confidence, sharpness)[:, np.newaxis])
    return np.concatenate(columns, axis=1)


def quality(
    count: int, confidence: NDArray[np.float64] | None, sharpness: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Return the quality of each crop, float32 (count,), NaN where there is nothing to judge by.

    Args:
        count: Crops.
        confidence: (count,): largest probability; None without classes.
        sharpness: (count,): heat-map quality; None without maps.
    """
    match confidence, sharpness:
        case None, None:
            return np.full(count, np.nan, np.float32)
        case None, known:
            return np.asarray(known, np.float32)
        case known, None:
            return np.asarray(known, np.float32)
        case _:
            return np.sqrt(confidence * sharpness).astype(np.float32)


def highest_probability(logits: Floats, are_probabilities: bool = False) -> NDArray[np.float64]:
    """Return the largest of the classes' probabilities (softmax of the logits), float64 (N,), of (N, classes)."""
    highest: NDArray[np.float64] = logits.max(axis=1).astype(np.float64)
    if are_probabilities:
        return highest
    powers = exponential(logits.astype(np.float64) - highest[:, np.newaxis])
    return np.asarray(1.0 / _sum_in_order(powers), np.float64)


def heatmap_quality(maps: Floats) -> NDArray[np.float64]:
    """Return the mean over maps of their highest values, each clipped to 0..1: float64 (N,), of (N, maps, h, w)."""
    peaks = np.clip(maps.reshape(*maps.shape[:2], -1).max(axis=2).astype(np.float64), 0, 1)
    return np.asarray(_sum_in_order(peaks) / peaks.shape[1], np.float64)


def _sum_in_order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros(len(values))
    for column in values.T:
        total = total + column
    return total


def _numbers(outputs: Outputs, which: OutputOfHead, count: int, field: str) -> Floats:
    """Return some numbers of an output, float32 (N, count)."""
    found = _find(outputs, which.output, f"{field}.output")
    flat = found.reshape(len(found), -1)
    if flat.shape[1] < which.first + count:
        raise ModelError(
            f"{field}: the output has {flat.shape[1]} numbers, but {count} from number {which.first} on are asked for."
        )
    return flat[:, which.first : which.first + count]


def _find(outputs: Outputs, name: str, field: str) -> Floats:
    if not name and len(outputs) == 1:
        return next(iter(outputs.values()))
    if name not in outputs:
        asked = f"there is no output '{name}'" if name else "there are several outputs: name one"
        raise ModelError(f"{field}: {asked}. The network has {', '.join(outputs)}.")
    return outputs[name]
