"""The sections of a report about how good the landmarks are: rates, movement, gaps, scores, and several datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from phoenix_ray.dataset.descriptions import describe_model
from phoenix_ray.report.charts import (
    Axis,
    bar_plot,
    column_plot,
    cumulative,
    figure,
    legend_of,
    line_plot,
    part_class,
    share_cell,
    value_axis,
)
from phoenix_ray.report.findings import Comparison, Findings
from phoenix_ray.report.markup import ABSENT, Element, Node, brief, element, more, note, table
from phoenix_ray.statistics.measures import SCORE_BINS, PartMeasures, VideoMeasures
from phoenix_ray.statistics.summary import GroupSummary, PartSummary, group
from phoenix_ray.text import counted

GROUPS_SHOWN = 20
# Quantiles of the presence scores, and what they are called.
_QUANTILES = (0.05, 0.5, 0.95)
_SCORES = ("score, 5\u00a0%", "score, median", "score, 95\u00a0%")
_GAP_LENGTHS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))


def part_name(part: str) -> str:
    """Return what people call a part."""
    return part.replace("_", " ")


def part_classes(summary: GroupSummary) -> dict[str, str]:
    """Return part → class of its colour."""
    return {part: part_class(part, number) for number, part in enumerate(summary.parts)}


def rates_section(findings: Findings) -> Element:
    """Return how often each part was found: overall, by split, by signer."""
    everything = findings.everything
    kinds = part_classes(everything)
    rows = [(part_name(part), [(kinds[part], found.rate)]) for part, found in everything.parts.items()]
    plot = figure(
        "How often each part was found",
        "Share of all frames in which the model found the part. Unreadable frames count as frames. A hand may be "
        "missing because it rests below the picture or is hidden, so compare hands between splits and signers.",
        bar_plot("frames in which the part was found, in %", rows),
    )
    rates = {part: [100 * video.rate(part) for video in findings.counted if video.frames] for part in kinds}
    spread = figure(
        "How often in each video",
        "Each curve rises to the share of videos in which the part was found in at most that share of the frames. A "
        "curve that rises at the right end alone says that all videos are alike; one that rises early, that some "
        "videos lose the part.",
        line_plot(
            Axis("frames of a video in which the part was found, in %", 0, 100, (0, 25, 50, 75, 100)),
            "videos with at most this, in %",
            {kinds[part]: cumulative(np.array(values)) for part, values in rates.items() if values},
        ),
        legend_of({kind: part_name(part) for part, kind in kinds.items()}),
    )
    signers = group(findings.counted, "signer")
    by_signer: list[Node] = [element("h3", "By signer")]
    if [signer.name for signer in signers] == ["unknown"]:
        by_signer.append(note("The source does not say who signs."))
    else:
        by_signer += _groups("signer", signers, kinds)
    return element(
        "section",
        element("h2", "What was found"),
        element("div", plot, spread, class_="plots"),
        element("h3", "By split"),
        *_groups("split", group(findings.counted, "split"), kinds),
        *by_signer,
    )


def _groups(noun: str, groups: Sequence[GroupSummary], kinds: dict[str, str]) -> Iterator[Element | None]:
    shown = sorted(groups, key=lambda entry: (-entry.frames, entry.name))[:GROUPS_SHOWN]
    rows: list[list[Node]] = []
    for entry in shown:
        rates = (share_cell(part.rate, kinds[name]) for name, part in entry.parts.items())
        rows.append([brief(entry.name) or ABSENT, f"{entry.videos:,}", f"{entry.frames:,}", *rates])
    yield table([noun, "videos", "frames", *map(part_name, kinds)], rows)
    yield more(len(shown), len(groups), noun)


def movement_section(findings: Findings) -> Element:
    """Return how parts move, where they vanish, and how sure the network is; a sentence where that was not measured."""
    heading = element("h2", "How the landmarks move")
    summary = findings.movement
    if summary is None:
        return element(
            "section", heading, note("Movement, gaps and scores were not measured; a report without --sample 0 does.")
        )
    kinds = part_classes(summary)
    sampled = len(findings.measured) < len(findings.counted)
    remark = (
        f"Measured in {len(findings.measured):,} of {counted(len(findings.counted), 'video')}, spread evenly over the "
        "list."
        if sampled
        else ""
    )
    columns = ["part", "jitter, px", "motion energy, px²/frame²", "jerk, px/frame³", "gaps", "frames in gaps"]
    columns += ["longest gap, frames", *_SCORES]
    return element(
        "section",
        heading,
        note(remark) if remark else None,
        table(columns, ([part_name(name), *_figures(part)] for name, part in summary.parts.items())),
        note(
            "Jitter, energy and jerk are medians over videos, in pixels of the decoded frame: how far a usual point "
            "lies from the middle between its neighbours in time, how far it travels, how abruptly it turns. All "
            "include real signing: compare a part with itself in another dataset, not hands with faces."
        ),
        note(unsized(summary)) if summary.unsized else None,
        element("div", *_plots(findings.measured, summary, kinds), class_="plots"),
    )


def unsized(summary: GroupSummary) -> str:
    """Return how many frames the movements leave out."""
    return (
        f"Movements leave out {counted(summary.unsized, 'frame')}: their size is not recorded, so nothing can be given "
        "in pixels."
    )


def _figures(part: PartSummary) -> list[Node]:
    movements = [ABSENT if value is None else f"{value:,.2f}" for value in (part.jitter, part.energy, part.jerk)]
    quantiles = [part.score_quantile(share) for share in _QUANTILES]
    scores = [ABSENT if value is None else f"{value:.2f}" for value in quantiles]
    return [*movements, *(f"{count:,}" for count in (part.gaps, part.gap_frames, part.longest_gap)), *scores]


def _plots(videos: Sequence[VideoMeasures], summary: GroupSummary, kinds: dict[str, str]) -> Iterator[Element]:
    def values(choose: Callable[[PartMeasures], float | None]) -> dict[str, list[float]]:
        chosen = {part: [choose(video.parts[part]) for video in videos] for part in kinds}
        return {part: [value for value in of_part if value is not None] for part, of_part in chosen.items()}

    curve = "Each curve rises to the share of videos with at most that value: the farther left, the "
    movements: tuple[tuple[str, str, str, Callable[[PartMeasures], float | None]], ...] = (
        ("Jitter of the videos", "jitter of a video, in px", f"{curve}steadier.", lambda part: part.jitter),
        (
            "Motion energy of the videos",
            "motion energy of a video, in px²/frame²",
            f"{curve}less the part moves. Mostly real signing, and shaking.",
            lambda part: part.energy,
        ),
        (
            "Jerk of the videos",
            "jerk of a video, in px/frame³",
            f"{curve}smoother. Much jerk at little jitter means landmarks that jump now and then.",
            lambda part: part.jerk,
        ),
    )
    for title, label, sentence, choose in movements:
        yield _curves(title, label, sentence, values(choose), kinds)
    yield _gap_plot(videos, kinds)
    yield _score_plot(summary, kinds)


def _curves(title: str, label: str, sentence: str, values: dict[str, list[float]], kinds: dict[str, str]) -> Element:
    known = {part: np.array(of_part) for part, of_part in values.items() if of_part}
    if not known:
        return element("figure", element("h3", title), note("No part is found in enough frames in a row."))
    axis = value_axis(label, np.concatenate(list(known.values())))
    lines = {kinds[part]: cumulative(of_part) for part, of_part in known.items()}
    legend = legend_of({kinds[part]: part_name(part) for part in known})
    return figure(title, sentence, line_plot(axis, "videos with at most this, in %", lines), legend)


def _gap_plot(videos: Sequence[VideoMeasures], kinds: dict[str, str]) -> Element:
    columns: dict[str, list[int]] = {}
    for part, kind in kinds.items():
        lengths: Counter[int] = Counter()
        for video in videos:
            lengths.update(video.parts[part].gaps)
        columns[kind] = [
            sum(count for length, count in lengths.items() if first <= length and (last is None or length <= last))
            for first, last in _GAP_LENGTHS
        ]
    names = [
        f"{first}" if first == last else f"{first}+" if last is None else f"{first} to {last}"
        for first, last in _GAP_LENGTHS
    ]
    return figure(
        "Gaps: parts that vanish and come back",
        "Runs of frames without a part, between two frames with it, by their length. Short gaps are usually the "
        "model's, and can be bridged; long ones are usually hands that rest or are hidden.",
        column_plot("length of a gap, in frames", "number of gaps", names, columns),
        legend_of({kind: part_name(part) for part, kind in kinds.items()}),
    )


def _score_plot(summary: GroupSummary, kinds: dict[str, str]) -> Element:
    title = "Presence scores"
    scored = {part: found.scores for part, found in summary.parts.items() if found.scores.any()}
    if not scored:
        return element("figure", element("h3", title), note("No scores are recorded."))
    axis = Axis("presence score of the network, 0 to 1", 0.0, 1.0, (0, 0.25, 0.5, 0.75, 1))
    lines = {
        kinds[part]: [
            ((number + 1) / SCORE_BINS, float(share)) for number, share in enumerate(counts.cumsum() / counts.sum())
        ]
        for part, counts in scored.items()
    }
    return figure(
        title,
        "Each curve rises to the share of frames with at most that score, of those in which the network ran. A curve "
        "that rises only at the right end is a network that is sure; a slope in the middle is doubt.",
        line_plot(axis, "frames with at most this, in %", lines),
        legend_of({kinds[part]: part_name(part) for part in scored}),
    )


def comparison_section(comparison: Comparison) -> Element:
    """Return several datasets in one table, over the videos in all of them."""
    datasets = [(_letter(number), dataset) for number, dataset in enumerate(comparison.datasets)]
    named: list[list[Node]] = [
        [
            letter,
            brief(dataset.name),
            "files of another tool" if dataset.identity is None else brief(describe_model(dataset.identity.model)),
            f"{dataset.summary.frames:,}",
            f"{dataset.left_out:,}",
            element("code", dataset.digest[:12] or ABSENT),
        ]
        for letter, dataset in datasets
    ]
    parts = list(dict.fromkeys(part for _, dataset in datasets for part in dataset.summary.parts))
    rows: list[list[Node]] = []
    for number, part in enumerate(parts):
        for letter, dataset in datasets:
            found = dataset.summary.parts.get(part)
            name = part_name(part) if letter == datasets[0][0] else ""
            rate = share_cell(found.rate, part_class(part, number)) if found is not None else ABSENT
            measured = found is not None and not dataset.summary.counted_only
            rows.append([name, letter, rate, *(_figures(found) if found and measured else [ABSENT] * 9)])
    over = f"{counted(comparison.shared, 'video')} in all datasets"
    if (videos := datasets[0][1].summary.videos) < comparison.shared:
        over += f", of which {videos:,} were measured"
    headings = ["part", "", "found", "jitter, px", "energy, px²/frame²", "jerk, px/frame³", "gaps", "frames in gaps"]
    headings += ["longest gap", *_SCORES]
    return element(
        "section",
        element("h2", "Side by side"),
        table(["", "dataset", "model", "frames compared", "videos left out", "digest"], named, texts=(0, 1, 2)),
        note(
            f"Over {over}. Read rates and gaps of the hands first: a dataset that loses a hand whenever it moves fast "
            "looks steadier than it is. At equal rates, less jitter and less jerk are better, unless the energy falls "
            "much more than the jitter does, which is a sign that movement itself was flattened."
        ),
        table(headings, rows, texts=(0, 1)),
        *(note(f"{letter}: {unsized(dataset.summary)}") for letter, dataset in datasets if dataset.summary.unsized),
    )


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"{number + 1}"
