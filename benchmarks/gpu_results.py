"""What `bench.gpu` found, as data. It needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.machine import Machine
from benchmarks.parity_report import ParityReport
from phoenix_ray.config import Precision


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

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{versions}. {self.frames}; {self.face_points} face points; {self.threads} threads decode"


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


def to_plain(report: GpuReport) -> dict[str, Any]:
    """Return the report as plain values."""
    parity = {precision: compared.to_json() for precision, compared in report.parity.items()}
    return asdict(replace(report, parity={})) | {"parity": parity}
