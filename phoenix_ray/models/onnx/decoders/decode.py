"""Which decoder a manifest names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.decoders.simcc import decode_simcc
from phoenix_ray.models.onnx.manifest import PoseDecoder, SimccDecoder


def decode(outputs: Mapping[str, NDArray[np.float32]], decoder: PoseDecoder) -> DecodedPoints:
    """Return the points that a network's outputs mean.

    Args:
        outputs: Name → float32 (N, ...).
        decoder: The manifest's decoder.
    """
    match decoder:
        case SimccDecoder():
            return decode_simcc(outputs[decoder.x], outputs[decoder.y], decoder)
        case _:
            raise NotImplementedError(decoder.kind)
