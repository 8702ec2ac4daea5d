"""docs/data-format.md says of each layout which exports and sets of points it has: as the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phoenix_ray.exports.requirements import fitting_formats
from phoenix_ray.layouts import BLAZEPOSE, Layout, holistic
from phoenix_ray.prepare.point_sets import point_sets
from tests.zoo import OWN_LAYOUT, ZOO, layout_id

PAGE = Path(__file__).parents[2] / "docs" / "data-format.md"
LAYOUTS = (holistic(468), holistic(478), BLAZEPOSE, *(layout for layout in ZOO if layout != OWN_LAYOUT))
EVERY_LAYOUT = {"npz", "csv", "webdataset", "pose", "delta"}


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def rows(heading: str) -> dict[str, list[str]]:
    """Return layout → the other cells of its row in the table whose heading begins so."""
    (table,) = (table for table in PAGE.read_text(encoding="utf-8").split("\n\n") if table.startswith(heading))
    cells = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return {layout: others for first, *others in cells for layout in names(first)}


def test_the_tables_name_every_layout() -> None:
    assert set(rows("| layout | parts")) == set(rows("| layout | further")) == {layout.name for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_the_table_says_what_each_layout_goes_into(layout: Layout) -> None:
    parts, axes = rows("| layout | parts")[layout.name]
    assert all(part.name in parts and str(len(part.points)) in parts for part in layout.parts)
    assert axes.strip() == "the same" or all(axis in axes for part in layout.parts for axis in part.axes)
    exports, sets = rows("| layout | further")[layout.name]
    assert {*names(exports), *EVERY_LAYOUT} == set(fitting_formats(layout))
    assert names(sets) == list(point_sets(layout))
