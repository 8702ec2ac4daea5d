"""What `bench.gpu` found, and how it reads as a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from phoenix_ray.bench.machine import Machine
from phoenix_ray.bench.parity_report import ParityReport
from phoenix_ray.config import Precision

# All frames of PHOENIX-2014-T, for the time a whole dataset would take.
PHOENIX_FRAMES = 947_756

# Frames a second that one NVIDIA H200 with 16 cores should reach: precision, what of a `Rate`, at least.
SPEED_BARS = (("exact", "networks", 8_000), ("exact", "end_to_end", 6_000), ("fp16", "end_to_end", 15_000))


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under what the figures hold.

    Attributes:
        date: When it began, ISO 8601.
        machine: Its processor and cores.
        device: Name of the device.
        versions: Of torch and what it computes with.
        frames: What the frames are.
        face_points: 468 or 478.
        threads: Threads that decode; of torch too where the device is a CPU.
    """

    date: str
    machine: Machine
    device: str
    versions: Mapping[str, str]
    frames: str
    face_points: int
    threads: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames a second at one precision and batch size; None where it was left out.

    Attributes:
        precision: Of the products.
        batch_size: Frames at once.
        networks: The networks alone, on crops that lie on the device.
        with_crops: And the crops.
        pipeline: Frames in memory to landmarks in memory, geometry and copies included.
        end_to_end: Bytes of picture files to landmarks in memory.
        memory_mb: Most memory that tensors took on the GPU; None on others.
    """

    precision: Precision
    batch_size: int
    networks: float | None = None
    with_crops: float | None = None
    pipeline: float | None = None
    end_to_end: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True, slots=True)
class StageTime:
    """A stage beside what the device's limits would allow it.

    Attributes:
        name: Of the stage.
        precision: Of the products.
        batch_size: Frames at once.
        microseconds: Time a frame of the network.
        crop_microseconds: Time a frame of its crops.
        library_microseconds: Time a frame of the network with sums in whatever order torch's libraries like.
        operations: Floating-point operations a frame.
        bytes_moved: Bytes a frame that operators read and write, each its inputs and outputs once.
        bound_microseconds: The larger of operations and bytes divided by what the device was seen to reach.
    """

    name: str
    precision: Precision
    batch_size: int
    microseconds: float
    crop_microseconds: float
    library_microseconds: float
    operations: float
    bytes_moved: float
    bound_microseconds: float


@dataclass(frozen=True, slots=True)
class GpuReport:
    """Everything that was measured.

    Attributes:
        conditions: Under what.
        memory_limit: Bytes a second that a copy reaches.
        product_limits: Operations a second that a matrix product reaches, by precision.
        rates: For each precision and batch size.
        stage_times: For one batch size, by precision.
        parity: Precision → how landmarks compare with the CPU engine's.
        left_out: What was not measured, and why.
    """

    conditions: Conditions
    memory_limit: float
    product_limits: Mapping[str, float]
    rates: Sequence[Rate]
    stage_times: Sequence[StageTime]
    parity: Mapping[str, ParityReport]
    left_out: Sequence[str]


def to_json(report: GpuReport) -> str:
    """Return the report as JSON."""
    parity = {precision: compared.to_json() for precision, compared in report.parity.items()}
    return json.dumps(asdict(replace(report, parity={})) | {"parity": parity}, indent=2) + "\n"


def to_markdown(report: GpuReport) -> str:
    """Return the report as a page of Markdown."""
    conditions = report.conditions
    versions = ", ".join(f"{name} {version}" for name, version in conditions.versions.items())
    lines = [
        f"# Holistic in torch on {conditions.device}",
        "",
        f"{conditions.date}. {conditions.machine.processor}, {conditions.machine.cores} cores, load "
        f"{conditions.machine.load} before the start. {versions}. {conditions.frames}; {conditions.face_points} face "
        f"points; {conditions.threads} threads decode.",
        "",
        "## Frames a second",
        "",
        "Networks: on crops that lie on the device. Pipeline: frames in memory to landmarks in memory. End to end: "
        "bytes of picture files to landmarks in memory, the next batch decoded meanwhile.",
        "",
        *_table(
            ("precision", "batch", "networks", "with crops", "pipeline", "end to end", "PHOENIX-2014-T", "GPU MB"),
            (_rate_cells(rate) for rate in report.rates),
        ),
        "",
        "## Bars",
        "",
        "Speeds are for one NVIDIA H200 with 16 cores, the best of the batch sizes; landmarks for any device.",
        "",
        *_table(("what", "bar", "found", "met"), (*_speed_bars(report), *_landmark_bars(report))),
        "",
        "## Stages against the roofline",
        "",
        f"A copy moves {report.memory_limit / 1e9:,.0f} GB/s; a matrix product reaches "
        + ", ".join(f"{rate / 1e12:,.2f} TFLOP/s ({name})" for name, rate in report.product_limits.items())
        + ". The bound is the larger of operations and bytes divided by these; bytes are what operators read and write "
        "when none is fused with another.",
        "",
        *_table(
            ("stage", "precision", "batch", "µs a frame", "bound µs", "bound / time"),
            (_stage_cells(stage) for stage in report.stage_times),
        ),
        "",
        *_table(
            ("stage", "precision", "crops, µs a frame", "sums in any order, µs a frame", "MFLOP", "MB moved"),
            (_further_cells(stage) for stage in report.stage_times),
        ),
        "",
        "## Landmarks against the CPU engine",
        "",
        *_table(
            ("precision", "part", "both", "only one", "mean px", "median px", "p99 px", "max px"),
            (cells for name, parity in report.parity.items() for cells in _parity_cells(name, parity)),
        ),
    ]
    if report.left_out:
        lines += ["", "## Left out", "", *(f"- {reason}" for reason in report.left_out)]
    return "\n".join(lines) + "\n"


def _speed_bars(report: GpuReport) -> Iterator[tuple[str, ...]]:
    for precision, name, bar in SPEED_BARS:
        found = [getattr(rate, name) or 0.0 for rate in report.rates if rate.precision == precision]
        if found:
            best = max(found)
            met = "yes" if best >= bar else "no"
            yield f"{precision}, {name.replace('_', ' ')}", f"{bar:,} frames/s", f"{best:,.0f} frames/s", met


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


def _table(head: Sequence[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
