"""What a benchmark measured, the ratios that follow, and the bars they are held against. Pure: no clock, no process."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# A name each: in the table of bars, in the report, in results.json.
VERSUS_STATIC = "steady frames/s ÷ MediaPipe static"
VERSUS_STATELESS = "steady frames/s ÷ MediaPipe stateless"
VERSUS_STATIC_WHOLE = "frames/s of the whole command ÷ MediaPipe static"
WORKER_MEMORY = "peak memory of a worker, MB"
EFFICIENCY = "steady frames/s ÷ the networks' own limit"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one contestant.

    Attributes:
        frames: Frames it finished.
        steady_seconds: Wall time without start-up: from the first process that is ready to the last frame that is done.
        wall_seconds: Wall time of the whole command.
        peak_memory_mb: Largest resident size of a process that holds a model.
        details: What else the contestant says of itself.
    """

    frames: int
    steady_seconds: float
    wall_seconds: float
    peak_memory_mb: float
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
class EngineTimes:
    """Where the time of one frame goes in one worker process that nothing else disturbs, in milliseconds.

    Attributes:
        networks: In the networks, filling their inputs included.
        crops: Cutting ROIs out of the frame.
        rest: In the model beside these two: geometry, decoding of detections.
        decode: Reading the picture file into pixels.
        write: Encoding and committing the partition.
    """

    networks: float
    crops: float
    rest: float
    decode: float
    write: float


@dataclass(frozen=True, slots=True)
class Round:
    """One run of each contestant, one after the other; MediaPipe's are None where it was left out."""

    ours: Measurement
    engine: EngineTimes
    static: Measurement | None = None
    stateless: Measurement | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of what the rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold for the median of a quantity."""

    quantity: str
    sense: Literal["at least", "at most"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Return whether a value is good enough."""
        return value >= self.limit if self.sense == "at least" else value <= self.limit


BARS = (
    Bar(VERSUS_STATIC, "at least", 1.25),
    Bar(VERSUS_STATELESS, "at least", 2.3),
    Bar(WORKER_MEMORY, "at most", 450.0),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar, what was measured, and whether it is met; None where nothing was measured."""

    bar: Bar
    measured: Spread | None
    met: bool | None


def quantities(rounds: Sequence[Round], workers: int) -> dict[str, Spread]:
    """Return what is compared, by name. Ratios are taken within a round, so that noise that lasts hits both sides."""
    found = {
        WORKER_MEMORY: Spread.of([one.ours.peak_memory_mb for one in rounds]),
        EFFICIENCY: Spread.of([one.ours.steady_rate * one.engine.networks / 1000 / workers for one in rounds]),
    }
    static = [(one.ours, one.static) for one in rounds if one.static]
    if static:
        found[VERSUS_STATIC] = Spread.of([ours.steady_rate / theirs.steady_rate for ours, theirs in static])
        found[VERSUS_STATIC_WHOLE] = Spread.of([ours.whole_rate / theirs.whole_rate for ours, theirs in static])
    stateless = [(one.ours, one.stateless) for one in rounds if one.stateless]
    if stateless:
        found[VERSUS_STATELESS] = Spread.of([ours.steady_rate / theirs.steady_rate for ours, theirs in stateless])
    return found


def judge(found: Mapping[str, Spread], bars: Iterable[Bar] = BARS) -> list[Verdict]:
    """Return a verdict for each bar."""
    verdicts = []
    for bar in bars:
        measured = found.get(bar.quantity)
        verdicts.append(Verdict(bar, measured, None if measured is None else bar.met_by(measured.median)))
    return verdicts
