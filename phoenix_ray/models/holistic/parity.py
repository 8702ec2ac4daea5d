"""How near landmarks of another engine must come to pass for those of MediaPipe: data, and the judgement by it.

`verify --recompute` on another engine, `verify --reference mediapipe`, `bench.parity`, the golden tests and the trial
of a GPU judge by the same bars. Two engines round differently and networks amplify that, so the bars are on the spread
of all points, not on each: docs/parity.md and docs/engines.md have what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phoenix_ray.models.agreement import PartAgreement


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a part's points may lie apart, in pixels of the frame: on average, and 99 % of them."""

    mean: float
    p99: float


Bars = Mapping[str, Bar]

# A few hundredths of a pixel are rounding; what a wrong region of interest does to a part is several pixels.
BARS: Bars = {
    "pose": Bar(mean=0.02, p99=0.5),
    "left_hand": Bar(mean=0.08, p99=0.5),
    "right_hand": Bar(mean=0.08, p99=0.5),
    "face": Bar(mean=0.02, p99=0.5),
}
# Where sums are added up in another order than XNNPACK's on x86-64: by GPUs' libraries, by LiteRT on aarch64. Measured
# (pose, hands, face): 0.027, 0.25 and 0.028 px on average, 0.47, 1.3 and 0.19 px for 99 %.
OTHER_ORDER_BARS: Bars = {
    "pose": Bar(mean=0.03, p99=0.5),
    "left_hand": Bar(mean=0.3, p99=3.0),
    "right_hand": Bar(mean=0.3, p99=3.0),
    "face": Bar(mean=0.06, p99=0.6),
}
# Share of frame x part in which both found the part, or neither did. Scores just at a threshold may fall either way.
MIN_PRESENCE = 0.99


def presence(parts: Sequence[PartAgreement], bars: Bars) -> float:
    """Return the share of frame x part in which both found the part, or neither did; 1 where nothing was compared."""
    judged = [part for part in parts if part.part in bars]
    differing = sum(part.only_reference + part.only_candidate for part in judged)
    return 1 - differing / max(sum(part.frames for part in judged), 1)


def missed_bars(parts: Sequence[PartAgreement], bars: Bars) -> tuple[str, ...]:
    """Return a sentence for each bar that is missed; none when the candidate may stand for the reference."""
    missed = []
    if not any(part.both for part in parts):
        missed.append("In no frame did both find anything, so nothing was compared.")
    agreed = presence(parts, bars)
    if agreed < MIN_PRESENCE:
        missed.append(f"Presence agrees in {agreed:.2%} of frame x part; at least {MIN_PRESENCE:.0%} must.")
    for part in parts:
        spread, bar = part.errors.get("xy px"), bars.get(part.part)
        if spread is None or bar is None:
            continue
        for name, found, allowed in (("mean", spread.mean, bar.mean), ("p99", spread.p99, bar.p99)):
            if found > allowed:
                missed.append(f"{part.part}: {name} {found:.4f} px; at most {allowed} px is parity.")
    return tuple(missed)


# Times that the CPU engine must have found a part for torch to be judged by it: where nobody is, any network is right.
LEAST_FOUND = 4


def objection(parts: Sequence[PartAgreement], gpu_rate: float, cpu_rate: float) -> str | None:
    """Return what speaks against torch, None where nothing does.

    Args:
        parts: Its landmarks compared with the CPU engine's.
        gpu_rate: Frames a second of a GPU.
        cpu_rate: Frames a second of the CPU workers that there would be in its place.
    """
    found = {part.part: part.both + part.only_reference for part in parts}
    # Left and right hands go through the same networks.
    counts = {"poses": found["pose"], "hands": found["left_hand"] + found["right_hand"], "faces": found["face"]}
    if min(counts.values()) < LEAST_FOUND:
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"the CPU engine found {told} in {parts[0].frames} frames of the source, too few to judge by"
    if missed := missed_bars(parts, BARS):
        return f"its landmarks are not those of the CPU engine ({missed[0].rstrip('.')})"
    if gpu_rate <= cpu_rate:
        return f"it computes {gpu_rate:,.0f} frames/s, the CPU workers in its place {cpu_rate:,.0f}"
    return None


def largest_distance(parts: Sequence[PartAgreement]) -> float:
    """Return how far a point of the parts that are judged lies from the CPU engine's at most, in pixels."""
    return max((part.errors["xy px"].maximum for part in parts if part.part in BARS and part.both), default=0.0)
