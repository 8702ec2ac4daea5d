"""Statistics for people and for programs: tables on a terminal, JSON, and plots (which need the extra [plots])."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phoenix_ray.dataset.snapshot import describe_unreadable, unreadable_in
from phoenix_ray.errors import MissingExtraError, OutputError
from phoenix_ray.statistics.measures import SCORE_BINS, PartMeasures, VideoMeasures
from phoenix_ray.statistics.summary import GroupSummary, Outlier, PartSummary
from phoenix_ray.text import counted, printable_line

_MOVEMENTS = ("jitter px", "energy px²", "jerk px")
_GAPS = ("gaps", "frames in gaps", "longest gap")


def statistics_json(
    everything: GroupSummary, groups: Sequence[GroupSummary], outliers: Sequence[Outlier]
) -> dict[str, Any]:
    """Return plain values; `scores` count frames in equal steps of the presence score from 0 to 1."""
    return {
        "all": everything.to_json(),
        "groups": [group.to_json() for group in groups],
        "outliers": [{name: getattr(outlier, name) for name in outlier.__slots__} for outlier in outliers],
    }


def print_statistics(
    console: Console,
    dataset: str | None,
    everything: GroupSummary,
    groups: Sequence[GroupSummary],
    outliers: Sequence[Outlier],
) -> None:
    """Print the tables; outliers of a reason and part lie together.

    `dataset` is what the user calls the dataset, None for files of other tools, which `view` cannot show.
    """
    console.print(_rates([*groups, everything] if len(groups) != 1 else groups))
    if not everything.counted_only:
        console.print(_movements(everything))
        console.print(_gaps_and_scores(everything))
    if everything.unsized:
        console.print(_left_out(everything.unsized), soft_wrap=True)
    for line in _outliers(dataset, outliers):
        console.print(line, soft_wrap=True)


def print_beside(console: Console, datasets: Sequence[tuple[str, GroupSummary]]) -> None:
    """Print one table of the same videos in two datasets, part by part; each has the name that the user gave it."""
    lettered = list(zip("AB", *zip(*datasets, strict=True), strict=True))
    for letter, name, summary in lettered:
        console.print(Text(f"{letter}  {printable_line(name)}: {counted(summary.frames, 'frame')}"), soft_wrap=True)
    table = Table(title="Side by side, movements as medians of the videos", title_justify="left", box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for name in ("found %", *_MOVEMENTS, *_GAPS):
        table.add_column(name, justify="right")
    for part in dict.fromkeys(part for _, summary in datasets for part in summary.parts):
        for letter, _, summary in lettered:
            found = summary.parts.get(part)
            rate = "" if found is None else f"{100 * found.rate:.1f}"
            measured = () if found is None or summary.counted_only else (*_show_movements(found), *_show_gaps(found))
            table.add_row(f"{part.replace('_', ' ')} {letter}", rate, *measured)
    console.print(table)
    for letter, _, summary in lettered:
        if summary.unsized:
            console.print(f"{letter}: {_left_out(summary.unsized)}", soft_wrap=True)


def _left_out(unsized: int) -> str:
    return (
        f"Jitter, energy, jerk and jumps leave out {counted(unsized, 'frame')}: their size is not recorded, so "
        "movements cannot be given in pixels."
    )


def print_notes(console: Console, videos: pa.Table) -> None:
    """Say which videos of a dataset lack frames, and how many have a frame rate that varies."""
    notes = [describe_unreadable(unreadable_in(videos))]
    if uneven := pc.sum(videos.column("fps_varies")).as_py():
        notes.append(f"The frame rate of {uneven:,} of {videos.num_rows:,} videos varies: fps is the average there.")
    for note in filter(None, notes):
        console.print(Text(printable_line(note)), soft_wrap=True)


def _rates(groups: Sequence[GroupSummary]) -> Table:
    table = Table(title="Found, in % of the frames", title_justify="left", box=box.SIMPLE)
    table.add_column("", overflow="fold")
    for name in ("videos", "frames", *groups[0].parts, "not read"):
        table.add_column(name.replace("_", " "), justify="right", min_width=6)
    for group in groups:
        rates = [f"{100 * part.rate:.1f}" for part in group.parts.values()]
        trouble = group.statuses.get("unreadable", 0) + group.statuses.get("failed", 0)
        table.add_row(printable_line(group.name), f"{group.videos:,}", f"{group.frames:,}", *rates, f"{trouble:,}")
    return table


def _movements(everything: GroupSummary) -> Table:
    table = Table(title="Movement (median of the videos)", title_justify="left", box=box.SIMPLE)
    table.add_column("", overflow="fold")
    for name in _MOVEMENTS:
        table.add_column(name, justify="right")
    for name, part in everything.parts.items():
        table.add_row(name.replace("_", " "), *_show_movements(part))
    return table


def _gaps_and_scores(everything: GroupSummary) -> Table:
    table = Table(title="Gaps and presence scores", title_justify="left", box=box.SIMPLE)
    table.add_column("", overflow="fold")
    for name in (*_GAPS, "score 5 %", "median", "95 %"):
        table.add_column(name, justify="right")
    for name, part in everything.parts.items():
        quantiles = [part.score_quantile(share) for share in (0.05, 0.5, 0.95)]
        shown = ("" if value is None else f"{value:.2f}" for value in quantiles)
        table.add_row(name.replace("_", " "), *_show_gaps(part), *shown)
    return table


def _show_movements(part: PartSummary) -> list[str]:
    return ["" if value is None else f"{value:,.2f}" for value in (part.jitter, part.energy, part.jerk)]


def _show_gaps(part: PartSummary) -> list[str]:
    return [f"{count:,}" for count in (part.gaps, part.gap_frames, part.longest_gap)]


def _outliers(dataset: str | None, outliers: Sequence[Outlier]) -> Iterator[Text]:
    if outliers:
        yield Text("Videos to look at", style="italic")
    for (part, reason), worst in groupby(outliers, key=lambda outlier: (outlier.part, outlier.reason)):
        yield Text(f"{part.replace('_', ' ')}, {reason}", style="bold")
        for outlier in worst:
            shown = _place(outlier) if dataset is None else view_command(dataset, outlier)
            yield Text(f"  {outlier_value(outlier):>12}  {shown}")


def _place(outlier: Outlier) -> str:
    frame = "" if outlier.frame is None else f", frame {outlier.frame}"
    return printable_line("/".join(filter(None, (outlier.split, outlier.video_id)))) + frame


def outlier_value(outlier: Outlier) -> str:
    """Return the value of an outlier with its unit."""
    match outlier.reason:
        case "lowest rate":
            return f"{100 * outlier.value:.1f} %"
        case "longest gap":
            return f"{outlier.value:,.0f} {'frame' if outlier.value == 1 else 'frames'}"
        case _:
            return f"{outlier.value:,.1f} px"


def view_command(dataset: str, outlier: Outlier) -> str:
    """Return the command that shows an outlier in the browser: its video, at the frame in question if there is one."""
    words = ["phoenix-ray", "view", dataset, "--video", printable_line(f"{outlier.split}/{outlier.video_id}")]
    if outlier.frame is not None:
        words += ["--around", str(outlier.frame)]
    return shlex.join(words)


_SIZE = (8, 4.5)


def write_plots(
    folder: Path, videos: Sequence[VideoMeasures], everything: GroupSummary, groups: Sequence[GroupSummary]
) -> list[Path]:
    """Write `rates.png`, `jitter.png`, `energy.png`, `jerk.png`, `gaps.png` and `scores.png`, and return their paths.

    Where detections alone were counted, `rates.png` is the only one.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The folder cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Plots", "plots") from None
    pictures: dict[str, Callable[[Any], None]] = {"rates": lambda axes: _plot_rates(axes, groups)}
    if not everything.counted_only:
        by_part = {part: [video.parts[part] for video in videos] for part in everything.parts}

        def movement(label: str, choose: Callable[[PartMeasures], float | None]) -> Callable[[Any], None]:
            values = {part: [choose(measured) for measured in measures] for part, measures in by_part.items()}
            return lambda axes: _plot_movement(axes, label, values)

        pictures |= {
            "jitter": movement("jitter, in px", lambda part: part.jitter),
            "energy": movement("motion energy, in px²/frame²", lambda part: part.energy),
            "jerk": movement("jerk, in px/frame³", lambda part: part.jerk),
            "gaps": lambda axes: _plot_gaps(axes, by_part),
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


def _plot_movement(axes: Any, label: str, values: Mapping[str, Sequence[float | None]]) -> None:
    """Draw the shares of videos up to each value of a measure, a line per part."""
    from matplotlib.ticker import PercentFormatter

    for part, of_videos in values.items():
        if known := [value for value in of_videos if value is not None]:
            axes.ecdf(known, label=part.replace("_", " "))
    axes.set(xlabel=f"{label} (a video each)", ylabel="videos with at most this", ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.set(title="never found in enough frames in a row", xticks=[])


def _plot_gaps(axes: Any, by_part: Mapping[str, Sequence[PartMeasures]]) -> None:
    gaps: dict[str, Counter[int]] = {}
    for part, measures in by_part.items():
        counts = gaps[part] = Counter()
        for measured in measures:
            counts.update(measured.gaps)
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
