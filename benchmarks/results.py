"""What a benchmark measured, and the bars it is held against. Pure: no clock, no process.

Bars are ratios and shares wherever they can be: a figure in frames/s says as much about the machine as about the code.
They lie in `bars.yaml` beside this module, by suite.
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
        frames: Frames it finished.
        steady_seconds: Wall time without start-up: from the first process that is ready to the last frame that is done.
        wall_seconds: Wall time of the whole command.
        peak_memory_mb: Largest resident size of a process that holds a model; None where nobody looked.
        details: What else the contestant says of itself.
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
class Spread:
    """Median, smallest and largest of what the rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))

    def show(self, digits: int = 1) -> str:
        """Return "median (low to high)", or the median alone where there is no more to tell."""
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold for the median of a quantity."""

    quantity: str
    sense: Literal["at least", "at most"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Return whether a value is good enough."""
        return value >= self.limit if self.sense == "at least" else value <= self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar, what was measured, and whether it is met; None where nothing was measured."""

    bar: Bar
    measured: Spread | None
    met: bool | None


def read_bars(suite: str, file: Path = BARS) -> list[Bar]:
    """Return the bars of a suite, in the order of the file; none where it names none."""
    tree: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    senses: dict[str, Literal["at least", "at most"]] = {"at_least": "at least", "at_most": "at most"}
    return [
        Bar(quantity, senses[sense], limit)
        for quantity, demand in tree.get(suite, {}).items()
        for sense, limit in demand.items()
    ]


def judge(found: Mapping[str, Spread], bars: Iterable[Bar]) -> list[Verdict]:
    """Return a verdict for each bar."""
    verdicts = []
    for bar in bars:
        measured = found.get(bar.quantity)
        verdicts.append(Verdict(bar, measured, None if measured is None else bar.met_by(measured.median)))
    return verdicts


def ratios(ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> Spread:
    """Return our steady rate over theirs, taken within each round: noise that lasts hits both sides."""
    return Spread.of(mine.steady_rate / other.steady_rate for mine, other in zip(ours, theirs, strict=True))
