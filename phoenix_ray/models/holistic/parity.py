"""How near landmarks of another engine must come to pass for those of MediaPipe: tolerances, and the judgement by them.

`verify --recompute` on another engine, `verify --reference mediapipe`, `benchmarks.parity`, the golden tests and the
trial of a GPU judge by the same tolerances. Two engines round differently and networks amplify that, so the tolerances
limit the distribution of distances over all points, not each distance: docs/parity.md and docs/engines.md have what was
measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phoenix_ray.models.agreement import PartAgreement


@dataclass(frozen=True, slots=True)
class PartTolerance:
    """How far a part's points may lie apart, in pixels of the frame: on average, and 99 % of them."""

    mean: float
    p99: float


# Part name → tolerance; parts without one are not judged.
ParityTolerances = Mapping[str, PartTolerance]

# A few hundredths of a pixel are rounding; a wrong region of interest moves a part by several pixels.
PARITY: ParityTolerances = {
    "pose": PartTolerance(mean=0.02, p99=0.5),
    "left_hand": PartTolerance(mean=0.08, p99=0.5),
    "right_hand": PartTolerance(mean=0.08, p99=0.5),
    "face": PartTolerance(mean=0.02, p99=0.5),
}
# For engines that add up in another order than XNNPACK on x86-64: libraries on GPUs, LiteRT on aarch64. Measured (pose,
# hands, face): 0.027, 0.25 and 0.028 px on average, 0.47, 1.3 and 0.19 px for 99 %.
PARITY_OF_OTHER_ORDER: ParityTolerances = {
    "pose": PartTolerance(mean=0.03, p99=0.5),
    "left_hand": PartTolerance(mean=0.3, p99=3.0),
    "right_hand": PartTolerance(mean=0.3, p99=3.0),
    "face": PartTolerance(mean=0.06, p99=0.6),
}
# For parts of other networks. A rule, not a measurement: on CPUs the kernels of onnxruntime moved points by 1e-4 px
# (docs/engines.md), and a point in a hundred whose maximum falls into the next bin of a heat map may be further off.
PARITY_OF_OTHER_PARTS = PartTolerance(mean=0.1, p99=0.5)
# Share of frame x part in which both found the part, or neither did. A score just at a threshold may fall either way.
MIN_PRESENCE = 0.99

# Detections of a part by the CPU engine that a trial needs to judge torch: frames of nobody prove nothing.
LEAST_FOUND = 4


def presence_agreement(parts: Sequence[PartAgreement], tolerances: ParityTolerances) -> float:
    """Return the share of frame x part in which both found the part, or neither did; 1 where nothing was compared."""
    judged = [part for part in parts if part.part in tolerances]
    differing = sum(part.only_reference + part.only_candidate for part in judged)
    return 1 - differing / max(sum(part.frames for part in judged), 1)


def parity_failures(parts: Sequence[PartAgreement], tolerances: ParityTolerances) -> tuple[str, ...]:
    """Return a sentence for each tolerance that is exceeded; none when the candidate may stand for the reference."""
    failures = []
    if not any(part.both for part in parts):
        failures.append("In no frame did both find anything, so nothing was compared.")
    agreed = presence_agreement(parts, tolerances)
    if agreed < MIN_PRESENCE:
        failures.append(f"Presence agrees in {agreed:.2%} of frame x part; at least {MIN_PRESENCE:.0%} must.")
    for part in parts:
        distances, tolerance = part.errors.get("xy px"), tolerances.get(part.part)
        if distances is None or tolerance is None:
            continue
        for name, found, allowed in (
            ("mean", distances.mean, tolerance.mean),
            ("p99", distances.p99, tolerance.p99),
        ):
            if found > allowed:
                failures.append(f"{part.part}: {name} {found:.4f} px; at most {allowed} px is parity.")
    return tuple(failures)


def objection_to_gpu(parts: Sequence[PartAgreement], gpu_rate: float, cpu_rate: float) -> str | None:
    """Return why a run should not use torch on a GPU, as a clause; None if it should.

    Args:
        parts: The landmarks of torch compared with those of the CPU engine.
        gpu_rate: Frames per second of a GPU.
        cpu_rate: Frames per second of the CPU workers that would run in its place.
    """
    # Left and right hands go through the same networks.
    kinds = {"poses": {"pose"}, "hands": {"left_hand", "right_hand"}, "faces": {"face"}}
    counts = {
        kind: sum(part.both + part.only_reference for part in parts if part.part in names)
        for kind, names in kinds.items()
        if any(part.part in names for part in parts)
    }
    if min(counts.values()) < LEAST_FOUND:
        listed = ", ".join(f"{number} {what}" for what, number in counts.items())
        return f"the CPU engine found {listed} in {parts[0].frames} frames of the source, too few to judge by"
    if failures := parity_failures(parts, PARITY):
        return f"its landmarks are not those of the CPU engine ({failures[0].rstrip('.')})"
    if gpu_rate <= cpu_rate:
        return f"it computes {gpu_rate:,.0f} frames/s, the CPU workers in its place {cpu_rate:,.0f}"
    return None


def largest_distance(parts: Sequence[PartAgreement]) -> float:
    """Return the largest distance of a point in the judged parts, in pixels; 0 where nothing was compared."""
    return max((part.errors["xy px"].maximum for part in parts if part.part in PARITY and part.both), default=0.0)
