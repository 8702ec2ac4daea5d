from __future__ import annotations

from phoenix_ray.statistics.report import view_command
from phoenix_ray.statistics.summary import Outlier


def test_the_command_that_shows_an_outlier_can_be_pasted_into_a_shell() -> None:
    outlier = Outlier("largest jump", "face", "train", "a b;rm -rf", 3.0, 17)
    command = view_command("/data/my landmarks", outlier)
    assert command == ("phoenix-ray view '/data/my landmarks' --sheet look.png --video 'train/a b;rm -rf' --around 17")
