"""What computed the landmarks: the processor and the libraries that a model's numbers depend on.

The *architecture* and the generation of LiteRT's or onnxruntime's arithmetic belong to a dataset's identity: rows that
differ in them are not comparable. Everything else is recorded with each partition, in a line of text named *kernels*,
such as `arch=x86_64 isa=avx512 litert=2.3.0 numpy=2.4.6 opencv=4.13.0`. It shows later which rows come from unlike
machines, and `compare_kernels` how far these lie apart (measured in docs/parity.md).
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

# Fields of a model's identity that depend on the machine, not on the settings.
MACHINE_FIELDS = frozenset({"architecture", "litert", "onnxruntime", "torch", "torchvision"})

# Names of processors as Python reports them → as an identity records them.
_ARCHITECTURES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
# x86-64 without FMA and AVX2 (before 2013) rounds each product before it is added, so it counts as an architecture.
WITHOUT_FMA = "x86_64-without-fma"

# Instruction set → its flag in Linux, the widest first.
_INSTRUCTION_SETS = {"avx512": "avx512f", "avx2": "avx2", "sse4": "sse4_2", "sve": "sve", "neon": "asimd"}

# Libraries that compute networks: without them a model computes nothing that processors round differently.
_NETWORK_LIBRARIES = frozenset({"litert", "mediapipe", "onnxruntime", "torch", "torchvision"})

# Library → distributions that may contain it; the first installed one counts.
_DISTRIBUTIONS: Mapping[str, Sequence[str]] = {
    "litert": ("ai-edge-litert",),
    "mediapipe": ("mediapipe",),
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "triton": ("triton",),
}

# Version of LiteRT → versions that give the same bits (docs/parity.md); 1.2, 1.4 and 2.0 are up to 2.3 px off.
_LITERT_GENERATIONS = {"2.1": "2.1-2.3", "2.2": "2.1-2.3", "2.3": "2.1-2.3"}

# The same for onnxruntime (docs/engines.md): 1.30.0, 1.31.1 and 1.32.0 were tried; 1.23 and 1.27 differ.
_ONNXRUNTIME_GENERATIONS = {"1.30": "1.30-1.32", "1.31": "1.30-1.32", "1.32": "1.30-1.32"}

# Largest distance of landmarks of two architectures, in pixels of a 210x260 to 480x640 frame (docs/parity.md).
_PIXELS_APART = {
    frozenset(("x86_64", "aarch64")): 1.25,
    frozenset(("x86_64", WITHOUT_FMA)): 0.27,
}


def architecture() -> str:
    """Return the kind of arithmetic of this machine's processor, such as `x86_64` or `aarch64`."""
    machine = platform.machine().lower()
    known = _ARCHITECTURES.get(machine, machine)
    flags = _processor_flags()
    return WITHOUT_FMA if known == "x86_64" and flags and not {"fma", "avx2"} <= flags else known


def vector_architecture() -> str:
    """Return the architecture and, on x86-64, the instruction set by which onnxruntime chooses the order of its sums.

    `x86_64-avx512`, `x86_64-avx2`, or else what `architecture` returns.
    """
    known, vectors = architecture(), instruction_set()
    return f"{known}-{vectors}" if known == "x86_64" and vectors in ("avx2", "avx512") else known


def without_vectors(named: str) -> str:
    """Return the architecture of `vector_architecture`'s, for engines whose sums do not depend on more."""
    return named.removesuffix("-avx2").removesuffix("-avx512")


def instruction_set() -> str:
    """Return the widest vector instructions of this machine's processor, by which libraries choose kernels."""
    flags = _processor_flags()
    return next((name for name, needed in _INSTRUCTION_SETS.items() if needed in flags), "unknown")


def litert_generation() -> str:
    """Return which versions of LiteRT give the same bits as the installed one; that version alone if not checked."""
    return _generation(_version("litert"))


def onnxruntime_version() -> str:
    """Return the version of the installed onnxruntime, for the CPU or a GPU; empty if there is none."""
    return _version("onnxruntime")


def onnxruntime_generation() -> str:
    """Return which versions of onnxruntime give the same bits on a CPU as the installed one."""
    return _onnxruntime_generation(onnxruntime_version())


def describe_kernels(libraries: Sequence[str], device: str = "") -> str:
    """Return the line of text that partitions record of this machine.

    Args:
        libraries: The libraries whose version may matter, such as `litert`, `numpy`, `opencv`, `torch`, `triton`.
        device: Name of the GPU that computes, empty for the processor.
    """
    facts = {"arch": architecture(), "isa": instruction_set(), "device": device.replace(" ", "_")}
    facts |= {library: _version(library) for library in sorted(libraries)}
    return " ".join(f"{name}={value}" for name, value in facts.items() if value)


def with_libraries(kernels: str, libraries: Sequence[str]) -> str:
    """Return a line of `describe_kernels` with the versions of further libraries, where it does not have them."""
    known = _parse(kernels)
    versions = {library: _version(library) for library in libraries if library not in known}
    return " ".join([kernels, *(f"{library}={version}" for library, version in versions.items() if version)])


def compare_kernels(kernels: Collection[str]) -> str | None:
    """Return how far rows of several kernels lie apart, as a clause; None where they are the same bits.

    Args:
        kernels: Lines of `describe_kernels`.
    """
    farthest = 0.0
    for some, others in combinations([_parse(line) for line in kernels], 2):
        distance = _pixels_apart(some, others)
        if distance is None:
            return "how far they are apart has not been measured; `phoenix-ray verify --recompute` measures it"
        farthest = max(farthest, distance)
    return f"up to {farthest:g} px apart where it was measured (docs/parity.md)" if farthest else None


def describe_mixture(kernels: Mapping[str, int]) -> tuple[str, ...]:
    """Return lines for the user about rows from unlike machines; none where all are the same bits.

    Args:
        kernels: Line of `describe_kernels` → number of frames with it.
    """
    distance = compare_kernels(kernels)
    if distance is None:
        return ()
    counts = sorted(kernels.items(), key=lambda item: -item[1])
    return (
        f"Rows come from unlike machines, {distance}:",
        *(f"  {frames:,} frames: {line}" for line, frames in counts),
    )


def _pixels_apart(some: Mapping[str, str], others: Mapping[str, str]) -> float | None:
    """Return the largest distance measured between two kernels, None where none was measured."""
    if some and others and _NETWORK_LIBRARIES.isdisjoint(some.keys() | others.keys()):
        return 0.0
    if any(some.get(name) != others.get(name) for name in ("device", "torch", "torchvision", "mediapipe")):
        return None
    if _onnxruntime_generation(some.get("onnxruntime", "")) != _onnxruntime_generation(others.get("onnxruntime", "")):
        return None
    if _generation(some.get("litert", "")) != _generation(others.get("litert", "")):
        return None
    architectures = frozenset((some.get("arch", ""), others.get("arch", "")))
    if len(architectures) > 1:
        return _PIXELS_APART.get(architectures)
    # Our own engines were tried with each instruction set of x86-64; the legacy package, torchvision and other
    # processors were not.
    tried = architectures == {"x86_64"} and not {"mediapipe", "torchvision"} & some.keys()
    return 0.0 if tried or some.get("isa") == others.get("isa") else None


def _generation(version: str) -> str:
    return _LITERT_GENERATIONS.get(".".join(version.split(".")[:2]), version)


def _onnxruntime_generation(version: str) -> str:
    return _ONNXRUNTIME_GENERATIONS.get(".".join(version.split(".")[:2]), version)


def _parse(kernels: str) -> dict[str, str]:
    return dict(fact.split("=", 1) for fact in kernels.split(" ") if "=" in fact)


def _version(library: str) -> str:
    """Return the installed version of a library, empty if it is not installed."""
    installed = (found for name in _DISTRIBUTIONS[library] for found in importlib.metadata.distributions(name=name))
    return next((found.version for found in installed), "")


@lru_cache(maxsize=1)
def _processor_flags() -> frozenset[str]:
    """Return the processor's features as Linux lists them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return next(
        (frozenset(line.split()) for line in lines if line.lower().startswith(("flags", "features"))), frozenset()
    )
