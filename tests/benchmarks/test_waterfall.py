from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ceiling import Ceiling
from benchmarks.engines import FrameTimes
from benchmarks.waterfall import draw, steps, to_table

SEEN = {"pose_detection": 1.0, "hand_landmark": 2.0}
ALONE = FrameTimes({"pose_detection": 20.0, "hand_landmark": 20.0}, 5.0, 1.0, 3.0, 1.0, 400.0, SEEN)
CEILING = Ceiling(100.0, 10.0, {"pose_detection": 1e9, "hand_landmark": 0.5e9})


def test_each_step_has_one_more_cost_in_it() -> None:
    found = steps(ALONE, CEILING, workers=2, steady=36.0, whole=30.0)
    rates = [step.rate for step in found]
    assert rates == pytest.approx([100.0, 50.0, 2000 / 45, 2000 / 46, 2000 / 49, 40.0, 36.0, 30.0])


def test_the_table_shows_each_loss() -> None:
    rows = to_table(steps(ALONE, CEILING, workers=2, steady=36.0, whole=30.0)).rows
    assert rows[1][1:] == ("50.0", "-50%", "50%")
    assert rows[-1][1:] == ("30.0", "-17%", "30%")


def test_the_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert draw(steps(ALONE, CEILING, workers=2, steady=36.0, whole=30.0), tmp_path / "waterfall.png")
    assert (tmp_path / "waterfall.png").read_bytes().startswith(b"\x89PNG")
