"""The results of `benchmarks.gpu` as data, and the folder in which they are written, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import Machine
from benchmarks.table import Table
from phoenix_ray.setting_types import Precision

# Kernels of this package, or the operators of torch's libraries.
Kernels = Literal["triton", "torch"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions under which results were measured.

    Attributes:
        date: When the benchmark began, ISO 8601.
        machine: The machine's processor and cores.
        instructions: The processor's widest vector instructions.
        device: Name of the device.
        versions: Versions of Python, torch, the libraries it computes with, and the GPU's driver.
        environment: Environment variables that change products.
        commit: The code's commit.
        frames: Describes the frames.
        threads: Decoding threads; torch uses as many if the device is a CPU.
    """

    date: str
    machine: Machine
    instructions: str
    device: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    commit: str
    frames: str
    threads: int

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        variables = ", ".join(f"{name}={value}" for name, value in self.environment.items()) or "none"
        return (
            f"{versions}. {self.frames}; {self.threads} threads decode. Commit {self.commit}. Environment variables "
            f"that change products: {variables}"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The measured limits of a device and of its machine.

    Attributes:
        memory: Bytes read and written per second by a copy within the device's memory.
        products: Precision → operations per second of a large matrix product.
        multiply_adds: float32 operations per second of fused multiply-adds without tensor cores; None off a GPU.
        launch: Seconds to start an operator from Python.
        node: Seconds of a node of a captured graph; None off a GPU.
        upload: Bytes per second from page-locked memory to the device; None off a GPU.
        decoding: Pictures that all threads decode per second.
    """

    memory: float
    products: Mapping[str, float]
    multiply_adds: float | None
    launch: float
    node: float | None
    upload: float | None
    decoding: float

    def operations(self, precision: str) -> float:
        """Return the operations per second that bound a network."""
        return self.multiply_adds if precision == "exact" and self.multiply_adds else self.products[precision]


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch of frames costs.

    Attributes:
        operations: Floating-point operations of a frame.
        bytes_moved: Bytes of a frame that operators or kernels read and write.
        launches: Operators or kernels that a batch starts, however large it is.
    """

    operations: float
    bytes_moved: float
    launches: int

    def __add__(self, other: Work) -> Work:
        return Work(
            self.operations + other.operations, self.bytes_moved + other.bytes_moved, self.launches + other.launches
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames per second; None for what was not measured.

    Attributes:
        kernels: What computes.
        precision: Precision of products.
        batch_size: Frames in a batch.
        networks: The networks alone, on crops that lie on the device, started one by one.
        replayed: The same as a captured graph.
        started: The pipeline, from frames to landmarks that both lie on the device, started one by one.
        started_replayed: The same as a captured graph.
        pipeline: From frames in memory to landmarks in memory, including geometry and copies.
        end_to_end: From bytes of picture files to landmarks in memory.
        tracking: As `pipeline`, in tracking mode with as many videos as a batch has frames.
        memory_mb: Most memory that tensors took on the GPU; None on other devices.
        network_work: What the networks cost.
        pipeline_work: What the pipeline costs, as far as the host started it one by one.
    """

    kernels: Kernels
    precision: Precision
    batch_size: int
    networks: float | None = None
    replayed: float | None = None
    started: float | None = None
    started_replayed: float | None = None
    pipeline: float | None = None
    end_to_end: float | None = None
    tracking: float | None = None
    memory_mb: float | None = None
    network_work: Work | None = None
    pipeline_work: Work | None = None

    @property
    def best_networks(self) -> float | None:
        """The networks alone, in the faster of the two ways."""
        return max((rate for rate in (self.networks, self.replayed) if rate is not None), default=None)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Rate:
        """Return the rate that `dataclasses.asdict` made plain."""
        works = {name: Work(**plain[name]) for name in ("network_work", "pipeline_work") if plain.get(name)}
        return cls(**{**plain, **works})


@dataclass(frozen=True, slots=True)
class Chapter:
    """A table, and what a reader must know to interpret it."""

    title: str
    words: str
    table: Table


@dataclass
class GpuResults:
    """Everything that was measured so far; each step adds its part.

    Attributes:
        conditions: The conditions of the measurement.
        chapters: The tables.
        data: Name → figures as plain values: 'limits', 'rates', 'parity' and so on.
        left_out: What was not measured, and why.
    """

    conditions: Conditions | None = None
    chapters: list[Chapter] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def limits(self) -> Limits | None:
        """The device's limits, if they were measured."""
        return Limits(**self.data["limits"]) if "limits" in self.data else None

    @property
    def rates(self) -> list[Rate]:
        """The rates that were measured."""
        return [Rate.of(rate) for rate in self.data.get("rates", [])]

    def put(self, chapter: Chapter) -> None:
        """Add a table, in place of an earlier one with its title."""
        self.chapters = [*(known for known in self.chapters if known.title != chapter.title), chapter]

    def to_json(self) -> str:
        """Return the results as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> GpuResults:
        """Return the results that `to_json` wrote."""
        plain = json.loads(text)
        conditions = plain["conditions"]
        if conditions is not None:
            conditions = Conditions(**conditions | {"machine": Machine(**conditions["machine"])})
        chapters = [
            Chapter(chapter["title"], chapter["words"], _table(**chapter["table"])) for chapter in plain["chapters"]
        ]
        return cls(conditions, chapters, plain["data"], plain["left_out"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(tuple(head), [tuple(row) for row in rows])


def write_whole(path: Path, text: str) -> None:
    """Write a file under its name once it is whole, so that a program that is killed leaves the one before."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
