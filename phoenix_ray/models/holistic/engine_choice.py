"""Whether torch on a GPU may stand for the CPU engine: the judgement of a trial, from what `torch_trial` measured."""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_ray.models.agreement import PartAgreement
from phoenix_ray.models.holistic.bars import BARS, missed_bars

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
