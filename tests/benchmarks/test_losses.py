from __future__ import annotations

import numpy as np
import pytest

from benchmarks.losses import SAME_PIXELS, compare


def frame(*values: float) -> np.ndarray:
    return np.reshape(values, (-1, 2))


def test_equal_results_have_no_change() -> None:
    result = {0: frame(1, 2, np.nan, np.nan), 1: frame(3, 4, 5, 6)}
    assert compare(result, dict(result)) == (0, 0.0)


@pytest.mark.parametrize(
    ("other", "changed", "largest"),
    [
        ({0: frame(1, 2, 3, 4.5), 1: frame(3, 4, 5, 6)}, 1, 0.5),
        ({0: frame(1, 2, np.nan, np.nan), 1: frame(3, 4, 5, 6)}, 1, 0.0),
        ({0: frame(1, 2, 3, 4)}, 1, 0.0),
        ({0: frame(1, 2, 3, 4), 1: frame(3, 4, 5, 6), 2: frame(0, 0, 0, 0)}, 1, 0.0),
        ({0: frame(1, 2, 3, 4 + SAME_PIXELS / 2), 1: frame(3, 4, 5, 6)}, 0, SAME_PIXELS / 2),
    ],
    ids=["moved", "part gone", "frame gone", "frame more", "rounding"],
)
def test_each_kind_of_change_is_counted(other: dict[int, np.ndarray], changed: int, largest: float) -> None:
    result = {0: frame(1, 2, 3, 4), 1: frame(3, 4, 5, 6)}
    count, distance = compare(result, other)
    assert count == changed
    assert distance == pytest.approx(largest)
