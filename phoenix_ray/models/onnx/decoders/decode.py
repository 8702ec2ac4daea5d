"""Which decoder a manifest names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.heatmap import decode_heatmaps
from phoenix_ray.models.onnx.decoders.paf import decode_fields
from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.decoders.simcc import decode_simcc
from phoenix_ray.models.onnx.decoders.yolo_pose import decode_yolo_pose
from phoenix_ray.models.onnx.manifest import (
    Channels,
    HeatmapDecoder,
    PafDecoder,
    PoseDecoder,
    SimccDecoder,
    YoloPoseDecoder,
)

Outputs = Mapping[str, NDArray[np.float32]]


def decode(outputs: Outputs, decoder: PoseDecoder, size: tuple[int, int]) -> DecodedPoints:
    """Return the points that a network's outputs mean.

    Args:
        outputs: Name → float32 (N, ...).
        decoder: The manifest's decoder.
        size: Width and height in pixels of the inputs that the network saw.
    """
    match decoder:
        case SimccDecoder():
            return decode_simcc(outputs[decoder.x], outputs[decoder.y], decoder)
        case HeatmapDecoder():
            return decode_heatmaps(pick_output(outputs, decoder.output), decoder, size)
        case YoloPoseDecoder():
            return decode_yolo_pose(pick_output(outputs, decoder.output), decoder)
        case PafDecoder():
            return decode_fields(_channels(outputs, decoder.heatmaps), _channels(outputs, decoder.fields), decoder)


def pick_output(outputs: Outputs, name: str) -> NDArray[np.float32]:
    """Return the output of a name; the first if the name is empty."""
    return outputs[name] if name else next(iter(outputs.values()))


def _channels(outputs: Outputs, channels: Channels) -> NDArray[np.float32]:
    last = None if channels.count is None else channels.first + channels.count
    return outputs[channels.output][:, channels.first : last]
