from __future__ import annotations

import pytest

from phoenix_ray.statistics.report import _value, view_command
from phoenix_ray.statistics.summary import Outlier


def test_the_command_that_shows_an_outlier_can_be_pasted_into_a_shell() -> None:
    outlier = Outlier("largest jump", "face", "train", "a b;rm -rf", 3.0, 17)
    command = view_command("/data/my landmarks", outlier)
    assert command == ("phoenix-ray view '/data/my landmarks' --sheet look.png --video 'train/a b;rm -rf' --around 17")


@pytest.mark.parametrize(
    ("reason", "value", "shown"),
    [
        ("lowest rate", 0.917, "91.7 %"),
        ("longest gap", 1.0, "1 frame"),
        ("longest gap", 1200.0, "1,200 frames"),
        ("largest jump", 3.25, "3.2 px"),
    ],
)
def test_an_outlier_shows_its_value_in_its_unit(reason: str, value: float, shown: str) -> None:
    assert _value(Outlier(reason, "face", "train", "a", value, None)) == shown
