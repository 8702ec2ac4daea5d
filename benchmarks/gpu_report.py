"""The report of `benchmarks.gpu` as a page. The suite `gpu` takes its tables and bars from here too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.gpu_results import GpuReport, Rate, StageTime, to_plain
from benchmarks.parity_report import ParityReport
from benchmarks.table import Table

# Frames of PHOENIX-2014-T, for the time that a whole dataset would take.
PHOENIX_FRAMES = 947_756

# Frames per second that one NVIDIA H200 with 16 cores should reach: (precision, attribute of `Rate`, least rate).
SPEED_BARS = (("exact", "networks", 8_000), ("exact", "end_to_end", 6_000), ("fp16", "end_to_end", 15_000))


@dataclass(frozen=True, slots=True)
class SpeedBar:
    """Frames per second that one NVIDIA H200 with 16 cores should reach, and those of the best batch size."""

    name: str
    wanted: float
    best: float


@dataclass(frozen=True, slots=True)
class Chapter:
    """A table, and what a reader must know to interpret it."""

    title: str
    words: str
    table: Table


def to_json(report: GpuReport) -> str:
    """Return the report as JSON."""
    return json.dumps(to_plain(report), indent=2) + "\n"


def to_markdown(report: GpuReport) -> str:
    """Return the report as a page of Markdown."""
    conditions = report.conditions
    machine = conditions.machine
    lines = [
        f"# Holistic in torch on {conditions.device}",
        "",
        f"{conditions.date}. {machine.processor}, {machine.cores} cores, load {machine.load} before the start. "
        f"{conditions}.",
    ]
    for chapter in chapters(report):
        lines += ["", f"## {chapter.title}", "", chapter.words, "", *chapter.table.lines()]
    if report.left_out:
        lines += ["", "## Left out", "", *(f"- {reason}" for reason in report.left_out)]
    return "\n".join(lines) + "\n"


def chapters(report: GpuReport) -> tuple[Chapter, ...]:
    """Return all tables."""
    limits = ", ".join(f"{rate / 1e12:,.2f} TFLOP/s ({name})" for name, rate in report.product_limits.items())
    return (
        Chapter(
            "Frames per second",
            "Networks: on crops that lie on the device. Pipeline: from frames in memory to landmarks in memory. End to "
            "end: from bytes of picture files to landmarks in memory, decoding the next batch meanwhile.",
            Table(
                ("precision", "batch", "networks", "with crops", "pipeline", "end to end", "PHOENIX-2014-T", "GPU MB"),
                [_rate_cells(rate) for rate in report.rates],
            ),
        ),
        Chapter(
            "Bars",
            "Bars on speed are for one NVIDIA H200 with 16 cores and the best batch size; bars on landmarks are for "
            "any device.",
            Table(("what", "bar", "found", "met"), [*map(_speed_cells, speed_bars(report)), *_landmark_bars(report)]),
        ),
        Chapter(
            "Stages against the roofline",
            f"A copy moves {report.memory_limit / 1e9:,.0f} GB/s; a matrix product reaches {limits}. The bound is the "
            "time that operations or bytes need at these rates, whichever is longer. Bytes are what operators read and "
            "write if none is fused with another.",
            Table(
                ("stage", "precision", "batch", "µs a frame", "bound µs", "bound / time"),
                [_stage_cells(stage) for stage in report.stage_times],
            ),
        ),
        Chapter(
            "Parts of the stages",
            "Sums in any order: the network with sums in the order that torch's libraries choose, which may depend on "
            "the batch size.",
            Table(
                ("stage", "precision", "crops, µs a frame", "sums in any order, µs a frame", "MFLOP", "MB moved"),
                [_further_cells(stage) for stage in report.stage_times],
            ),
        ),
        Chapter(
            "Landmarks against the CPU engine",
            "Distances in pixels of the frame, for parts that both engines found.",
            Table(
                ("precision", "part", "both", "only one", "mean px", "median px", "p99 px", "max px"),
                [cells for name, parity in report.parity.items() for cells in _parity_cells(name, parity)],
            ),
        ),
    )


def speed_bars(report: GpuReport) -> Iterator[SpeedBar]:
    """Yield the bars on speeds that were measured."""
    for precision, name, wanted in SPEED_BARS:
        found = [getattr(rate, name) for rate in report.rates if rate.precision == precision]
        if measured := [speed for speed in found if speed is not None]:
            yield SpeedBar(f"{precision}, {name.replace('_', ' ')}", wanted, max(measured))


def _speed_cells(bar: SpeedBar) -> tuple[str, ...]:
    met = "yes" if bar.best >= bar.wanted else "no"
    return bar.name, f"{bar.wanted:,} frames/s", f"{bar.best:,.0f} frames/s", met


def _landmark_bars(report: GpuReport) -> Iterator[tuple[str, ...]]:
    exact = report.parity.get("exact")
    if exact is not None:
        missed = exact.failures()
        yield "exact, landmarks", "those of docs/parity.md", " ".join(missed) or "all met", "no" if missed else "yes"


def _rate_cells(rate: Rate) -> tuple[str, ...]:
    def show(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

    whole = "" if rate.end_to_end is None else f"{PHOENIX_FRAMES / rate.end_to_end:,.0f} s"
    rates = (rate.networks, rate.with_crops, rate.pipeline, rate.end_to_end)
    return rate.precision, str(rate.batch_size), *map(show, rates), whole, show(rate.memory_mb)


def _stage_cells(stage: StageTime) -> tuple[str, ...]:
    share = stage.bound_microseconds / stage.microseconds
    times = (f"{value:,.1f}" for value in (stage.microseconds, stage.bound_microseconds))
    return stage.name, stage.precision, str(stage.batch_size), *times, f"{share:.0%}"


def _further_cells(stage: StageTime) -> tuple[str, ...]:
    times = (f"{value:,.1f}" for value in (stage.crop_microseconds, stage.library_microseconds))
    return stage.name, stage.precision, *times, f"{stage.operations / 1e6:,.0f}", f"{stage.bytes_moved / 1e6:,.1f}"


def _parity_cells(precision: str, parity: ParityReport) -> Iterator[tuple[str, ...]]:
    for part in parity.parts:
        spread = part.errors.get("xy px")
        if spread is not None:
            figures = (f"{value:.4f}" for value in (spread.mean, spread.median, spread.p99, spread.maximum))
            yield precision, part.part, str(part.both), str(part.only_reference + part.only_candidate), *figures
