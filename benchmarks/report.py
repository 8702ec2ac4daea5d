"""What a suite found, as text: `<suite>.json` for programs, `<suite>.md` to be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.machine import Machine
from benchmarks.results import Spread, Verdict
from benchmarks.table import Table


@dataclass(frozen=True, slots=True)
class Findings:
    """What a suite measured.

    Attributes:
        frames: On what it was measured.
        rounds: Repeats; tables give the median, and smallest and largest beside it.
        tables: To be read.
        quantities: What bars are held against, by name.
        notes: What a reader must know to trust the tables, a sentence or more each.
        pictures: Files written beside the report, relative to it.
        raw: Everything that was measured, as plain values.
    """

    frames: str
    rounds: int
    tables: Sequence[Table]
    quantities: Mapping[str, Spread] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Sequence[str] = ()
    raw: object = None


@dataclass(frozen=True, slots=True)
class Report:
    """A finished suite: its findings, when and where, and how they stand against the bars."""

    suite: str
    date: str
    machine: Machine
    findings: Findings
    verdicts: Sequence[Verdict]

    @property
    def passed(self) -> bool:
        """Whether no bar that was measured is missed."""
        return all(verdict.met is not False for verdict in self.verdicts)


def to_json(report: Report) -> str:
    """Return everything that was measured."""
    return json.dumps(asdict(report) | {"passed": report.passed}, indent=1) + "\n"


def to_markdown(report: Report) -> str:
    """Return the conditions, the tables, the bars and the notes."""
    machine, findings = report.machine, report.findings
    count = findings.rounds
    lines = [
        f"{report.date}: {machine.processor}, {machine.cores} cores, {machine.system}, load {machine.load} before the "
        f"start. {findings.frames}. Median of {count} round{'s' * (count != 1)} (smallest to largest).",
    ]
    for table in findings.tables:
        lines += ["", *table.lines()]
    if report.verdicts:
        lines += ["", *Table(("bar", "wanted", "measured", ""), list(_bars(report.verdicts))).lines()]
    for picture in findings.pictures:
        lines += ["", f"![{picture}]({picture})"]
    if findings.notes:
        lines += ["", *(f"- {note}" for note in findings.notes)]
    return "\n".join(lines) + "\n"


def _bars(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    for verdict in verdicts:
        bar = verdict.bar
        measured = "not measured" if verdict.measured is None else verdict.measured.show(2 if bar.limit < 10 else 0)
        word = {True: "met", False: "**missed**", None: ""}[verdict.met]
        yield bar.quantity, f"{bar.sense} {bar.limit:g}", measured, word
