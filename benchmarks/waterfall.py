"""The rate after each loss, from the CPU's limit down to the whole command, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.ceiling import Ceiling
from benchmarks.engines import FrameTimes
from benchmarks.table import Table

_BAR_COLOUR, _LOSS_COLOUR = "#2a6f97", "#d9d9d9"


@dataclass(frozen=True, slots=True)
class Step:
    """A rate in frames/s, and the name of the cost that it includes."""

    name: str
    rate: float


def steps(alone: FrameTimes, ceiling: Ceiling, workers: int, steady: float, whole: float) -> list[Step]:
    """Return the rates from the limit down to the whole command; each step includes one more cost.

    Args:
        alone: One worker without Ray.
        ceiling: The limit of one core.
        workers: Number of processes, each on its own core.
        steady: Frames/s of the command without start-up.
        whole: Frames/s of the whole command.
    """
    least = sum(ceiling.least_ms(name, crops) for name, crops in alone.seen.items())
    found = [Step(f"{workers} cores at their matrix rate", workers * 1000 / least)]
    spent = 0.0
    parts = (
        ("networks as they are", alone.in_networks),
        ("+ crops", alone.crops),
        ("+ geometry, rest of the model", alone.rest),
        ("+ decoding pictures", alone.decode),
        ("+ writing partitions", alone.write),
    )
    for name, milliseconds in parts:
        spent += milliseconds
        found.append(Step(name, workers * 1000 / spent))
    return [*found, Step("through Ray, all workers at once", steady), Step("start-up and compaction too", whole)]


def to_table(found: Sequence[Step]) -> Table:
    """Return a table with a row for each step, and its loss against the step before."""
    rows = [(found[0].name, f"{found[0].rate:.1f}", "", "100%")]
    for before, step in pairwise(found):
        rows.append(
            (step.name, f"{step.rate:.1f}", f"{step.rate / before.rate - 1:+.0%}", f"{step.rate / found[0].rate:.0%}")
        )
    return Table(("from the limit to the command", "frames/s", "loss", "of the limit"), rows)


def draw(found: Sequence[Step], picture: Path) -> bool:
    """Draw the waterfall as a picture; return False if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 0.45 * len(found) + 1), layout="constrained")
    axes = figure.subplots()
    positions = range(len(found))
    highest = [found[max(0, index - 1)].rate for index in positions]
    axes.barh(positions, highest, color=_LOSS_COLOUR)
    axes.barh(positions, [step.rate for step in found], color=_BAR_COLOUR)
    for index, step in enumerate(found):
        axes.text(max(highest[index], step.rate), index, f" {step.rate:.1f}", va="center")
    axes.set_yticks(positions, [step.name for step in found])
    axes.invert_yaxis()
    axes.set_xlabel("frames/s; grey: lost at this step")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=120)
    return True
