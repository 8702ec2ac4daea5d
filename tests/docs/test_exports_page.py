"""The page docs/exports.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from phoenix_ray.exports.registry import FORMATS
from phoenix_ray.layouts.coco import HOLISTIC_POINTS

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")


def test_the_mapping_is_that_of_the_module() -> None:
    rows = re.findall(r"^\| (\d+) to (\d+) [^|]* \| (\w+) \| ([\d, ]+) \|$", PAGE, re.MULTILINE)
    documented = [(part, int(index)) for _, _, part, indices in rows for index in indices.split(",")]
    assert documented == list(HOLISTIC_POINTS)
    assert [int(first) for first, *_ in rows] == [0, *(int(last) + 1 for _, last, *_ in rows[:-1])]


def test_every_format_has_its_row() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [one.name for one in FORMATS]
