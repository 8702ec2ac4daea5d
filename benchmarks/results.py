"""Measurements, and the bars that they must meet. Pure functions: no clock, no process.

Bars are ratios and shares where possible, because a figure in frames/s says as much about the machine as about the
code. `bars.yaml`, beside this module, holds them by suite.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

BARS = Path(__file__).with_name("bars.yaml")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one contestant.

    Attributes:
        frames: Frames that it finished.
        steady_seconds: Wall time without start-up: from when the first process is ready until the last frame is done.
        wall_seconds: Wall time of the whole command.
        peak_memory_mb: Largest resident size of a process that holds a model; None if it was not measured.
        details: Further facts that the contestant reports.
    """

    frames: int
    steady_seconds: float
    wall_seconds: float
    peak_memory_mb: float | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def steady_rate(self) -> float:
        """Frames per second without start-up."""
        return self.frames / self.steady_seconds

    @property
    def whole_rate(self) -> float:
        """Frames per second of the whole command."""
        return self.frames / self.wall_seconds


@dataclass(frozen=True, slots=True)
class Rounds:
    """Median, smallest and largest value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Rounds:
        """Return the median and extremes of at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))

    def show(self, digits: int = 1) -> str:
        """Return "median (low to high)", or only the median if low and high look the same."""
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit on the median of a quantity."""

    quantity: str
    sense: Literal["at least", "at most"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Return whether a value is good enough."""
        return value >= self.limit if self.sense == "at least" else value <= self.limit


@dataclass(frozen=True, slots=True)
class BarResult:
    """A bar, the measured quantity, and whether the bar is met; None if the quantity was not measured."""

    bar: Bar
    measured: Rounds | None
    met: bool | None


def read_bars(suite: str, file: Path = BARS) -> list[Bar]:
    """Return the bars of a suite in the order of the file, which may have none."""
    tree: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    senses: dict[str, Literal["at least", "at most"]] = {"at_least": "at least", "at_most": "at most"}
    return [
        Bar(quantity, senses[sense], limit)
        for quantity, demand in tree.get(suite, {}).items()
        for sense, limit in demand.items()
    ]


def judge(found: Mapping[str, Rounds], bars: Iterable[Bar]) -> list[BarResult]:
    """Return the result for each bar."""
    results = []
    for bar in bars:
        measured = found.get(bar.quantity)
        results.append(BarResult(bar, measured, None if measured is None else bar.met_by(measured.median)))
    return results


def ratios(ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> Rounds:
    """Return our steady rate ÷ theirs, taken within each round, so that noise that lasts affects both."""
    return Rounds.of(
        our_run.steady_rate / their_run.steady_rate for our_run, their_run in zip(ours, theirs, strict=True)
    )
