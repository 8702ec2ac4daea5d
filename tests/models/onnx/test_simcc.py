from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.simcc import decode_simcc
from phoenix_ray.models.onnx.manifest import SimccDecoder

# Few different values, so that maxima are often equal; and often none is above 0.
BINS = st.integers(-8, 4).map(lambda value: value / 4)


def decoder(score: str = "min", split_ratio: float = 2) -> SimccDecoder:
    return SimccDecoder.model_validate({"kind": "simcc", "score": score, "split_ratio": split_ratio})


@pytest.mark.parametrize("score", ["min", "mean"])
@given(
    x=arrays.arrays(np.float32, (2, 3, 8), elements=BINS),
    y=arrays.arrays(np.float32, (2, 3, 10), elements=BINS),
)
def test_a_point_is_at_the_first_highest_bin_of_both_axes(
    score: str, x: NDArray[np.float32], y: NDArray[np.float32]
) -> None:
    found = decode_simcc(x, y, decoder(score))
    for frame in range(2):
        for point in range(3):
            along, down = [float(value) for value in x[frame, point]], [float(value) for value in y[frame, point]]
            high, low = max(along), max(down)
            expected = min(high, low) if score == "min" else (high + low) / 2
            assert found.scores[frame, point] == np.float32(expected)
            if expected > 0:
                place = [along.index(high) / 2, down.index(low) / 2]
                assert found.xy[frame, point].tolist() == place
            else:
                assert np.isnan(found.xy[frame, point]).all()
    assert found.person is None


def test_the_split_ratio_is_the_number_of_bins_of_a_pixel() -> None:
    x, y = np.zeros((1, 1, 12), np.float32), np.zeros((1, 1, 12), np.float32)
    x[0, 0, 9], y[0, 0, 4] = 1, 1
    assert decode_simcc(x, y, decoder(split_ratio=3)).xy.tolist() == [[[3, pytest.approx(4 / 3)]]]
