"""A comparison as tables of text: `print_comparison` shows them on a terminal, `page` puts them into HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phoenix_ray.model_comparison.comparison import ComparedModel, ModelComparison
from phoenix_ray.model_comparison.findings_of_model import PartFindings
from phoenix_ray.model_comparison.label_scores import PCK_SHARES
from phoenix_ray.text import counted, printable_line

# Stands where something was not or could not be measured.
_NOTHING = ""


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """A table of text.

    Attributes:
        title: What it shows.
        headings: Of its columns.
        rows: Its cells.
        texts: Columns of text, which stand to the left; all others are numbers.
        note: What to know about it, in a sentence or two.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: tuple[int, ...]
    note: str = ""


def sample_lines(comparison: ModelComparison) -> list[str]:
    """Return lines that say which frames are compared, and what is left out."""
    unread = sum(frame.image is None for run in comparison.runs for frame in run.frames)
    videos = len({(run.video.split, run.video.video_id) for run in comparison.runs})
    lines = [
        comparison.source,
        f"{counted(comparison.frames, 'frame')} of {videos:,} of {counted(comparison.videos, 'video')}, in runs of "
        "consecutive frames; one process, one model after the other",
    ]
    if comparison.problems:
        lines.append(f"{counted(comparison.problems, 'video')} of the source cannot be read: left out")
    if unread:
        lines.append(f"{counted(unread, 'frame')} cannot be read: left out of every share")
    lines += [f"Left out: {model.reason}" for model in comparison.failed]
    if use := comparison.labels:
        lines.append(
            f"Labels: {use.used:,} of the frames have a labelled person; {use.without_person:,} have a label without "
            f"one, {use.unlabelled:,} have no label, {use.unreadable:,} cannot be read"
        )
        others = (
            (use.outside, "lie outside the sample"),
            (use.without_frame, "fit no frame of the source"),
            (use.ambiguous, "fit frames of several videos, or a frame that has a label already: not used"),
            (use.several, "have several people, of whom the largest counts"),
        )
        lines += [f"{counted(number, 'label')}: {what}" for number, what in others if number]
    return lines


def comparison_tables(comparison: ModelComparison) -> Iterator[ComparisonTable]:
    """Yield the tables of a comparison, those without rows left out."""
    for table in (_speeds(comparison), _parts(comparison), _pairs(comparison), _labels(comparison)):
        if table.rows:
            yield table
    for pair in comparison.pairs:
        if not pair.parts:
            yield ComparisonTable(f"{pair.first} and {pair.second} share no point: nothing to compare", (), (), ())


def print_comparison(console: Console, comparison: ModelComparison) -> None:
    """Print the tables."""
    for line in sample_lines(comparison):
        console.print(Text(printable_line(line)), soft_wrap=True)
    for table in comparison_tables(comparison):
        if not table.rows:
            console.print(Text(printable_line(table.title)), soft_wrap=True)
            continue
        shown = Table(title=table.title, title_justify="left", box=box.SIMPLE)
        for column, heading in enumerate(table.headings):
            text = column in table.texts
            shown.add_column(heading, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
        for row in table.rows:
            shown.add_row(*(Text(printable_line(cell)) for cell in row))
        console.print(shown)
        if table.note:
            console.print(Text(table.note, style="dim"), soft_wrap=True)


def _speeds(comparison: ModelComparison) -> ComparisonTable:
    rows = []
    for model in comparison.models:
        speed = model.result.speed
        memory = _NOTHING if speed.memory_growth is None else f"{speed.memory_growth / 1e6:,.0f}"
        rows.append(
            (
                model.label,
                model.result.layout.name,
                _number(speed.frames_per_second, 1),
                f"{speed.threads}",
                f"{speed.batch_size}",
                _number(speed.load_seconds, 2),
                memory,
                _percent(model.findings.person_rate),
                f"{model.result.statuses.get('failed', 0):,}",
            )
        )
    headings = ("model", "layout", "frames/s", "threads", "batch", "load s", "memory +MB", "person %", "failed")
    note = (
        "frames/s: median of the batches after a warm-up, in one process; decoding is not counted. memory: most "
        "resident memory of the process while the model ran, less that before it was loaded."
    )
    return ComparisonTable("Models", headings, tuple(rows), (0, 1), note)


def _parts(comparison: ModelComparison) -> ComparisonTable:
    rows = []
    found = {model.label: _shown_parts(model) for model in comparison.models}
    for part in dict.fromkeys(part for parts in found.values() for part in parts):
        for label, parts in found.items():
            if part in parts:
                rows.append((part.replace("_", " "), label, *_findings(parts[part])))
    headings = ("part", "model", "found %", "jitter px", "jerk px", "confidence")
    note = (
        "On the points among COCO-WholeBody's 133, which mean the same in every model; parts of a layout that has none "
        "of them are shown whole. Confidences are in units of each model's own."
    )
    return ComparisonTable("What is found, and how steadily", headings, tuple(rows), (0, 1), note)


def _shown_parts(model: ComparedModel) -> dict[str, PartFindings]:
    return dict(model.findings.shared or model.findings.parts)


def _findings(part: PartFindings) -> tuple[str, ...]:
    return _percent(part.rate), _number(part.jitter, 2), _number(part.jerk, 2), _number(part.confidence, 2)


def _pairs(comparison: ModelComparison) -> ComparisonTable:
    rows = [
        (
            part.name.replace("_", " "),
            pair.first,
            pair.second,
            f"{part.points}",
            f"{part.both:,}",
            f"{part.only_first:,}",
            f"{part.only_second:,}",
            _number(part.median_px, 2),
            _number(part.p95_px, 2),
            _percent(part.median_share),
            _percent(part.p95_share),
        )
        for pair in comparison.pairs
        for part in pair.parts
    ]
    headings = (
        *("part", "first", "second", "points", "both", "first alone", "second alone"),
        *("median px", "95 % px", "median %", "95 %"),
    )
    note = (
        "Distances where both models found a point that both layouts have. both, alone: frames in which both, or one "
        "of them, found the part. The shares are of the shoulder width, for the face of the distance of the outer "
        "corners of the eyes."
    )
    return ComparisonTable("How far models lie apart", headings, tuple(rows), (0, 1, 2), note)


def _labels(comparison: ModelComparison) -> ComparisonTable:
    rows = [
        (
            part.replace("_", " "),
            model.label,
            f"{score.frames:,}",
            f"{score.points:,}",
            f"{score.not_found:,}",
            *(_percent(score.pck.get(f"{share:g}")) for share in PCK_SHARES),
            _number(score.oks, 3),
            _number(score.recall, 3),
            _percent(score.nme),
        )
        for part in dict.fromkeys(part for model in comparison.models for part in model.scores)
        for model in comparison.models
        if (score := model.scores.get(part)) is not None
    ]
    pck = tuple(f"PCK@{share:g} %" for share in PCK_SHARES)
    headings = ("part", "model", "frames", "points", "not found", *pck, "OKS", "AR", "NME %")
    note = (
        "Against the labels. PCK: share of the labelled points within 0.1 and 0.2 of the shoulder width, for hands and "
        "face of the longer side of their box. OKS and its recall AR as COCO defines them. NME: the face's mean "
        "distance over that of the outer corners of the eyes."
    )
    return ComparisonTable("How near the labels", headings, tuple(rows), (0, 1), note)


def _number(value: float | None, digits: int) -> str:
    return _NOTHING if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.1f}"
