"""Plots as SVG inside the page: lines, columns and bars, each with a title, labelled axes and a sentence below.

Colours come from the page's style by class, so that a plot follows light, dark and paper, its text can be selected, and
it takes a few kilobytes. That is also why no plotting library draws them: a report must be possible wherever a run is,
without further packages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.report.markup import Element, add, brief, element

WIDTH, HEIGHT = 460, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 12, 44
# Points of a line at most: a million videos need no longer line than a thousand.
_MOST_POINTS = 120
# Largest value, in typical ones, from which on an axis is logarithmic.
_WIDE = 20
_KNOWN_PARTS = ("pose", "left_hand", "right_hand", "face")


def part_class(part: str, number: int) -> str:
    """Return the class that gives a part its colour: its own, or that of its place among the parts."""
    return part.replace("_", "-") if part in _KNOWN_PARTS else f"other-{number % 4}"


@dataclass(frozen=True, slots=True)
class Axis:
    """The x axis of a plot: `low` to `high` (not equal), with ticks at values between them."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return how far from `low` a value lies, 0 to 1 for those on the axis."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def value_axis(label: str, values: NDArray[np.float64]) -> Axis:
    """Return an axis for values ≥ 0, at least one: logarithmic where the largest are far from the typical ones."""
    positive = values[values > 0]
    high = float(values.max()) or 1.0
    if len(positive) and high > _WIDE * float(np.median(positive)):
        low = float(max(positive.min(), high / 1e5))
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = tuple(10.0**power for power in range(first, last + 1))
        return Axis(label, ticks[0], ticks[-1], ticks, logarithmic=True)
    step = 10.0 ** math.floor(math.log10(high / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if high / (step * factor) <= 5)
    ticks = tuple(step * number for number in range(math.ceil(high / step - 1e-9) + 1))
    return Axis(label, 0.0, ticks[-1], ticks)


def figure(title: str, sentence: str, plot: Element, legend: Element | None = None) -> Element:
    """Return a plot with its title, the legend of its colours, and the sentence that says how to read it."""
    plot.set("role", "img")
    plot.set("aria-label", title)
    return element("figure", element("h3", title), legend, plot, element("figcaption", sentence))


def legend_of(entries: Mapping[str, str]) -> Element:
    """Return a legend: class → what it stands for."""
    items = (
        element("span", element("i", class_=f"key {kind}"), label, class_="entry") for kind, label in entries.items()
    )
    return element("p", *items, class_="legend")


def cumulative(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return points (value, share of the values up to it) of some values, at most `_MOST_POINTS`."""
    ordered = np.sort(values)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_POINTS)).round().astype(int))
    return [(float(ordered[place]), float(place + 1) / len(ordered)) for place in places]


def line_plot(axis: Axis, y_label: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Element:
    """Return curves of shares from 0 to 1 over an axis, each a staircase up to the right.

    Args:
        axis: The x axis; what lies below it counts, but begins at its left end.
        y_label: What the shares are shares of; they are given in percent.
        lines: Class of a curve → its points, ascending.
    """
    plot = _frame(axis.label, y_label)
    _y_ticks(plot, (0, 0.25, 0.5, 0.75, 1), lambda share: f"{100 * share:.0f} %", 1)
    for tick in axis.ticks:
        x = _LEFT + axis.place(tick) * (WIDTH - _LEFT - _RIGHT)
        add(plot, element("line", x1=_n(x), x2=_n(x), y1=_TOP, y2=HEIGHT - _BOTTOM, class_="grid"))
        add(plot, element("text", _short(tick), x=_n(x), y=HEIGHT - _BOTTOM + 16, class_="tick middle"))
    for kind, points in lines.items():
        before = [share for value, share in points if value <= axis.low]
        path = [f"M{_LEFT} {_n(_y(before[-1] if before else 0))}"]
        for value, share in points:
            if value > axis.low:
                path.append(f"H{_n(_LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT))}V{_n(_y(share))}")
        path.append(f"H{WIDTH - _RIGHT}")
        add(plot, element("path", d="".join(path), class_=f"curve {kind}"))
    return plot


def column_plot(x_label: str, y_label: str, groups: Sequence[str], columns: Mapping[str, Sequence[int]]) -> Element:
    """Return columns of counts side by side.

    Args:
        x_label: What the groups are.
        y_label: What is counted.
        groups: The name of each group of columns.
        columns: Class of a column → its count in each group.
    """
    plot = _frame(x_label, y_label)
    largest = max((count for counts in columns.values() for count in counts), default=0)
    axis = value_axis("", np.array([max(largest, 4)], np.float64))
    _y_ticks(plot, axis.ticks, _short, axis.high)
    wide = (WIDTH - _LEFT - _RIGHT) / max(len(groups), 1)
    thick = 0.8 * wide / max(len(columns), 1)
    for number, name in enumerate(groups):
        start = _LEFT + number * wide
        add(plot, element("text", name, x=_n(start + wide / 2), y=HEIGHT - _BOTTOM + 16, class_="tick middle"))
        for place, (kind, counts) in enumerate(columns.items()):
            if count := counts[number]:
                top = _y(count / axis.high)
                x, height = start + 0.1 * wide + place * thick, HEIGHT - _BOTTOM - top
                bar = element("rect", x=_n(x), y=_n(top), width=_n(thick * 0.9), height=_n(height))
                bar.set("class", f"bar {kind}")
                add(bar, element("title", f"{name}: {count:,}"))
                add(plot, bar)
    return plot


def bar_plot(x_label: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> Element:
    """Return horizontal bars of shares from 0 to 1; a bar of one piece has its percentage beside it.

    Args:
        x_label: What the shares are shares of.
        rows: The name of each row, and the pieces of its bar as (class, share), laid end to end.
    """
    left, right, thick, gap = 126, 56, 20, 10
    height = _TOP + len(rows) * (thick + gap) + _BOTTOM - gap
    bottom = height - _BOTTOM + 4
    plot = element("svg", class_="plot", viewBox=f"0 0 {WIDTH} {height}")
    for percent in (0, 25, 50, 75, 100):
        x = left + percent / 100 * (WIDTH - left - right)
        add(plot, element("line", x1=_n(x), x2=_n(x), y1=_TOP - 4, y2=bottom, class_="grid"))
        add(plot, element("text", f"{percent} %", x=_n(x), y=bottom + 15, class_="tick middle"))
    middle = left + (WIDTH - left - right) / 2
    add(plot, element("text", x_label, x=_n(middle), y=height - 6, class_="label middle"))
    for number, (name, pieces) in enumerate(rows):
        y = _TOP + number * (thick + gap)
        shown = brief(name, 16)
        label = element("text", shown, x=left - 8, y=y + 14, class_="tick end")
        add(label, element("title", name))
        add(plot, label)
        x = float(left)
        for kind, share in pieces:
            long = share * (WIDTH - left - right)
            bar = element("rect", x=_n(x), y=y, width=_n(long), height=thick, class_=f"bar {kind}")
            add(bar, element("title", f"{name}, {kind.replace('-', ' ')}: {100 * share:.1f} %"))
            add(plot, bar)
            x += long
        if len(pieces) == 1:
            add(plot, element("text", f"{100 * pieces[0][1]:.1f} %", x=_n(x + 5), y=y + 14, class_="tick value"))
    return plot


def share_cell(share: float, kind: str) -> Element:
    """Return a percentage with a small bar below it, for a table."""
    small = element("svg", class_="share", viewBox="0 0 100 6", preserveAspectRatio="none")
    add(small, element("rect", width=100, height=6, class_="track"))
    add(small, element("rect", width=_n(100 * share), height=6, class_=f"bar {kind}"))
    small.set("aria-hidden", "true")
    return element("span", f"{100 * share:.1f} %", small, class_="rate")


def _frame(x_label: str, y_label: str) -> Element:
    plot = element("svg", class_="plot", viewBox=f"0 0 {WIDTH} {HEIGHT}")
    middle = _TOP + (HEIGHT - _TOP - _BOTTOM) / 2
    across = _LEFT + (WIDTH - _LEFT - _RIGHT) / 2
    add(plot, element("text", x_label, x=_n(across), y=HEIGHT - 8, class_="label middle"))
    turned = element("text", y_label, x=13, y=_n(middle), transform=f"rotate(-90 13 {_n(middle)})")
    turned.set("class", "label middle")
    add(plot, turned)
    return plot


def _y_ticks(plot: Element, ticks: Sequence[float], show: Callable[[float], str], high: float) -> None:
    for tick in ticks:
        y = _y(tick / high)
        add(plot, element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_n(y), y2=_n(y), class_="grid"))
        add(plot, element("text", show(tick), x=_LEFT - 6, y=_n(y + 4), class_="tick end"))


def _y(share: float) -> float:
    return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _n(value: float) -> str:
    """Return a coordinate to a tenth of a unit, as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")
