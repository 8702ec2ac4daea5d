"""Statistics as pictures; needs the extra [plots]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_ray.errors import MissingExtraError, OutputError
from phoenix_ray.statistics.measures import SCORE_BINS, VideoMeasures
from phoenix_ray.statistics.summary import GroupSummary

_SIZE = (8, 4.5)


def write_plots(
    folder: Path, videos: Sequence[VideoMeasures], everything: GroupSummary, groups: Sequence[GroupSummary]
) -> list[Path]:
    """Write `rates.png`, `jitter.png`, `gaps.png` and `scores.png`, and return their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The folder cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Plots", "plots") from None
    jitters = {part: [one.parts[part].jitter for one in videos] for part in everything.parts}
    gaps: dict[str, Counter[int]] = {part: Counter() for part in everything.parts}
    for part, counts in gaps.items():
        for one in videos:
            counts.update(one.parts[part].gaps)
    pictures: dict[str, Callable[[Any], None]] = {
        "rates": lambda axes: _plot_rates(axes, groups),
        "jitter": lambda axes: _plot_jitter(axes, jitters),
        "gaps": lambda axes: _plot_gaps(axes, gaps),
        "scores": lambda axes: _plot_scores(axes, everything),
    }
    files = []
    for name, plot in pictures.items():
        # A Figure of its own instead of pyplot: no global state, no window system.
        figure = Figure(figsize=_SIZE, layout="constrained")
        plot(figure.add_subplot())
        file = folder / f"{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=120)
        except OSError as error:
            raise OutputError(f"{file} cannot be written: {error}") from None
        files.append(file)
    return files


def _plot_rates(axes: Any, groups: Sequence[GroupSummary]) -> None:
    shown = sorted(groups, key=lambda group: min(part.rate for part in group.parts.values()))[:30]
    parts = list(shown[0].parts)
    height = 0.8 / len(parts)
    for number, part in enumerate(parts):
        places = np.arange(len(shown)) + number * height
        axes.barh(places, [100 * group.parts[part].rate for group in shown], height, label=part.replace("_", " "))
    axes.set_yticks(np.arange(len(shown)) + 0.4 - height / 2, [group.name for group in shown])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="frames in which the part was found, in %")
    if len(shown) < len(groups):
        axes.set_title(f"the {len(shown)} lowest of {len(groups):,}")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _plot_jitter(axes: Any, jitters: dict[str, list[float | None]]) -> None:
    from matplotlib.ticker import PercentFormatter

    for part, values in jitters.items():
        if known := [value for value in values if value is not None]:
            axes.ecdf(known, label=part.replace("_", " "))
    axes.set(xlabel="jitter of a video, in pixels", ylabel="videos with at most this", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.set(title="no jitter", xticks=[])


def _plot_gaps(axes: Any, gaps: dict[str, Counter[int]]) -> None:
    for part, counts in gaps.items():
        lengths = sorted(counts)
        axes.plot(lengths, [counts[length] for length in lengths], ".-", label=part.replace("_", " "))
    axes.set(xlabel="length of a gap, in frames", ylabel="gaps")
    # A logarithmic axis cannot be drawn without a value.
    if any(gaps.values()):
        axes.set(xscale="log", yscale="log")
    else:
        axes.set(title="no gaps", xticks=[], yticks=[])
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _plot_scores(axes: Any, everything: GroupSummary) -> None:
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    for name, part in everything.parts.items():
        axes.stairs(100 * part.scores / max(part.scores.sum(), 1), edges, label=name.replace("_", " "))
    axes.set(xlabel="presence score", ylabel="frames, in %", xlim=(0, 1))
    if any(part.scores.any() for part in everything.parts.values()):
        axes.set(yscale="log")
    else:
        axes.set_title("no scores")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
