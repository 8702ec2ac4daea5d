from __future__ import annotations

import math
from typing import Literal

import pytest

from phoenix_ray.cluster.actors import memory_limit


@pytest.mark.parametrize(
    ("setting", "warm_mb", "limit_mb"),
    [("auto", 200.0, 1224.0), ("auto", 2000.0, 6000.0), (800, 200.0, 800.0), (0, 200.0, math.inf)],
)
def test_a_worker_may_hold_what_is_set_or_a_multiple_of_what_it_held_at_first(
    setting: int | Literal["auto"], warm_mb: float, limit_mb: float
) -> None:
    assert memory_limit(setting, warm_mb) == limit_mb
