"""The results of `benchmarks.gpu` as data, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.machine import Machine
from benchmarks.parity_report import ParityReport
from phoenix_ray.setting_types import Precision


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions under which results were measured.

    Attributes:
        date: When the benchmark began, ISO 8601.
        machine: The machine's processor and cores.
        device: Name of the device.
        versions: Versions of torch and of the libraries it computes with.
        frames: Describes the frames.
        face_points: 468 or 478.
        threads: Decoding threads; torch uses as many if the device is a CPU.
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
    """Frames per second at one precision and batch size; None for what was not measured.

    Attributes:
        precision: Precision of products.
        batch_size: Frames in a batch.
        networks: The networks alone, on crops that lie on the device.
        with_crops: The networks and cutting their crops.
        pipeline: From frames in memory to landmarks in memory, including geometry and copies.
        end_to_end: From bytes of picture files to landmarks in memory.
        memory_mb: Most memory that tensors took on the GPU; None on other devices.
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
    """The time of a stage, and the time that the device's limits would allow. Everything is per frame.

    Attributes:
        name: Name of the stage.
        precision: Precision of products.
        batch_size: Frames in a batch.
        microseconds: Time of the network.
        crop_microseconds: Time to cut its crops.
        library_microseconds: Time of the network with sums in the order that torch's libraries choose.
        operations: Floating-point operations.
        bytes_moved: Bytes of the inputs and outputs of all operators.
        bound_microseconds: Time that operations or bytes need at the device's limits, whichever is longer.
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
        conditions: The conditions of the measurement.
        memory_limit: Bytes per second that a copy reaches.
        product_limits: Precision → operations per second that a matrix product reaches.
        rates: The rates of each precision and batch size.
        stage_times: The stages of each precision, at one batch size.
        parity: Precision → comparison of landmarks with the CPU engine's.
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
