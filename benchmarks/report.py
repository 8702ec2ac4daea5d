"""The findings of a suite as text: `<suite>.md` for people, `<suite>.json` for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.machine import Machine
from benchmarks.results import BarResult, Rounds
from benchmarks.table import Table
from phoenix_ray.text import counted


@dataclass(frozen=True, slots=True)
class Findings:
    """What a suite measured.

    Attributes:
        frames: Describes the frames or videos that were measured.
        rounds: How often each measurement was repeated; tables give the median with the smallest and largest value.
        tables: The tables of the report.
        quantities: The quantities that bars limit, by name.
        notes: What a reader must know to interpret the tables, in whole sentences.
        pictures: Files written beside the report, relative to it.
        raw: Everything that was measured, as plain values.
    """

    frames: str
    rounds: int
    tables: Sequence[Table]
    quantities: Mapping[str, Rounds] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Sequence[str] = ()
    raw: object = None


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """A finished suite: its findings, when and where they were made, and whether they meet the bars."""

    suite: str
    date: str
    machine: Machine
    findings: Findings
    verdicts: Sequence[BarResult]

    @property
    def passed(self) -> bool:
        """Whether every bar that was measured is met."""
        return all(result.met is not False for result in self.verdicts)


def to_json(report: SuiteReport) -> str:
    """Return everything that was measured."""
    return json.dumps(asdict(report) | {"passed": report.passed}, indent=1) + "\n"


def to_markdown(report: SuiteReport) -> str:
    """Return the conditions, the tables, the bars and the notes."""
    machine, findings = report.machine, report.findings
    lines = [
        f"{report.date}: {machine.processor}, {machine.cores} cores, {machine.system}, load {machine.load} before the "
        f"start. {findings.frames}. Median of {counted(findings.rounds, 'round')} (smallest to largest).",
    ]
    for table in findings.tables:
        lines += ["", *table.lines()]
    if report.verdicts:
        lines += ["", *Table(("bar", "wanted", "measured", ""), list(_bar_rows(report.verdicts))).lines()]
    for picture in findings.pictures:
        lines += ["", f"![{picture}]({picture})"]
    if findings.notes:
        lines += ["", *(f"- {note}" for note in findings.notes)]
    return "\n".join(lines) + "\n"


def _bar_rows(results: Sequence[BarResult]) -> Iterator[tuple[str, ...]]:
    for result in results:
        bar = result.bar
        measured = "not measured" if result.measured is None else result.measured.show(2 if bar.limit < 10 else 0)
        word = {True: "met", False: "**missed**", None: ""}[result.met]
        yield bar.quantity, f"{bar.sense} {bar.limit:g}", measured, word
