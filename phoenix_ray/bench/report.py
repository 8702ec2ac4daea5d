"""A benchmark as text: `results.json` for programs, `results.md` to be read and pasted into docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from phoenix_ray.bench.machine import Machine
from phoenix_ray.bench.results import (
    EFFICIENCY,
    VERSUS_STATIC_WHOLE,
    EngineTimes,
    Measurement,
    Round,
    Spread,
    Verdict,
)

HOW_IT_RAN = (
    "Rounds are interleaved (ours, one worker alone, static, stateless, ours, …) and ratios are taken within a round. "
    "Processes are not pinned to cores. Steady: from the first process that is ready to the last frame that is done; "
    "ours ends with the last commit. Whole command: from its start to its exit, Ray's start and compaction included."
)


@dataclass(frozen=True, slots=True)
class Report:
    """A finished benchmark.

    Attributes:
        date: When it began, ISO 8601.
        machine: Where.
        frames: On what.
        workers: Processes of each contestant.
        settings: Of our command, where they are not the default.
        rounds: What was measured.
        quantities: What follows, by name.
        verdicts: How it stands against the bars.
    """

    date: str
    machine: Machine
    frames: str
    workers: int
    settings: Mapping[str, object]
    rounds: Sequence[Round]
    quantities: Mapping[str, Spread]
    verdicts: Sequence[Verdict]

    @property
    def passed(self) -> bool:
        """Whether no bar that was measured is missed."""
        return all(verdict.met is not False for verdict in self.verdicts)


def to_json(report: Report) -> str:
    """Return everything that was measured."""
    return json.dumps(asdict(report) | {"passed": report.passed}, indent=2) + "\n"


def to_markdown(report: Report) -> str:
    """Return three tables: contestants, bars, the parts of a frame; and the conditions they hold under."""
    machine, count = report.machine, len(report.rounds)
    lines = [
        f"{report.date}: {machine.processor}, {machine.cores} cores, {machine.system}, load {machine.load} before the "
        f"start. {report.frames}. Median of {count} round{'s' * (count != 1)} (smallest to largest).",
        "",
        *_table(("", "frames", "frames/s, steady", "frames/s, whole command", "MB a process"), _contestants(report)),
        "",
        *_table(("bar", "wanted", "measured", ""), _bars(report)),
        "",
        *_table(("one worker alone", "ms a frame", "share"), _engine(report)),
        "",
        *_further(report),
        "",
        HOW_IT_RAN,
        "",
        *_versions(report),
    ]
    return "\n".join(lines) + "\n"


def show(spread: Spread, digits: int = 1) -> str:
    """Return "median (low to high)", or the median alone where there is no more to tell."""
    median, low, high = (f"{value:.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low} to {high})"


def _contestants(report: Report) -> Iterator[tuple[str, ...]]:
    count = report.workers
    entries: tuple[tuple[str, list[Measurement]], ...] = (
        (
            f"**phoenix_ray**, pictures to committed Parquet through Ray, {count} workers",
            [r.ours for r in report.rounds],
        ),
        (f"MediaPipe static image mode, {count} processes", [r.static for r in report.rounds if r.static]),
        (
            f"MediaPipe stateless (reset before each frame), {count} processes",
            [r.stateless for r in report.rounds if r.stateless],
        ),
    )
    for name, measurements in entries:
        if measurements:
            yield (
                name,
                f"{measurements[0].frames:,}",
                show(Spread.of([one.steady_rate for one in measurements])),
                show(Spread.of([one.whole_rate for one in measurements])),
                f"{max(one.peak_memory_mb for one in measurements):.0f}",
            )


def _bars(report: Report) -> Iterator[tuple[str, ...]]:
    for verdict in report.verdicts:
        bar = verdict.bar
        measured = "not measured" if verdict.measured is None else show(verdict.measured, 2 if bar.limit < 10 else 0)
        word = {True: "met", False: "**missed**", None: ""}[verdict.met]
        yield bar.quantity, f"{bar.sense} {bar.limit:g}", measured, word


def _engine(report: Report) -> Iterator[tuple[str, ...]]:
    spreads = {
        part.name: Spread.of([getattr(one.engine, part.name) for one in report.rounds]) for part in fields(EngineTimes)
    }
    whole = sum(spread.median for spread in spreads.values())
    for name, spread in spreads.items():
        yield name, show(spread, 2), f"{spread.median / whole:.1%}"
    yield "together", f"{whole:.2f}", ""


def _further(report: Report) -> Iterator[str]:
    if VERSUS_STATIC_WHOLE in report.quantities:
        yield f"- {VERSUS_STATIC_WHOLE}: {show(report.quantities[VERSUS_STATIC_WHOLE], 2)}."
    yield (
        f"- {EFFICIENCY}: {show(report.quantities[EFFICIENCY], 2)}; 1 would be {report.workers} workers that do "
        "nothing but run networks as fast as one alone does."
    )


def _versions(report: Report) -> Iterator[str]:
    first = report.rounds[0]
    for name, measurement in (("phoenix_ray", first.ours), ("MediaPipe", first.static)):
        versions = measurement.details.get("versions") if measurement else None
        if isinstance(versions, Mapping):
            yield f"- {name}'s side: {', '.join(f'{package} {version}' for package, version in versions.items())}."


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
