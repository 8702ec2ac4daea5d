"""The page itself: the sections of a report in the order in which a researcher asks.

What is it, what was found, how do the landmarks move, what is missing, what should I look at, how was it made, where
did the time go. The page is a function of its arguments: the same dataset gives the same bytes at the same `now`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import resources

import numpy as np

from phoenix_ray import __version__
from phoenix_ray.report.charts import cumulative, figure, line_plot, share_cell, value_axis
from phoenix_ray.report.findings import Comparison, DatasetRecord, Findings
from phoenix_ray.report.making import duration, making_section, time_section
from phoenix_ray.report.markup import ABSENT, Element, Node, brief, definitions, document, element, more, table
from phoenix_ray.report.quality import comparison_section, movement_section, part_classes, part_name, rates_section
from phoenix_ray.report.trouble import STATUS_TEXTS, missing_section, outliers_section, take_pictures
from phoenix_ray.sources.base import Source
from phoenix_ray.statistics.measures import VideoMeasures
from phoenix_ray.text import counted

SPLITS_SHOWN = 20
_STATUS_SENTENCES = {
    "no_person": "No person was found in {}.",
    "unreadable": "{} could not be read.",
    "failed": "The model failed on {}.",
}


def make_page(
    findings: Findings,
    comparison: Comparison | None,
    open_frames: Callable[[], Source] | None,
    now: datetime,
) -> str:
    """Return the page about a dataset.

    Args:
        findings: The dataset.
        comparison: It beside others; None for it alone.
        open_frames: Opens the source, for pictures of its frames; None shows skeletons alone.
        now: When the page is made, with its time zone.

    Raises:
        OutputError: The dataset cannot be read.
    """
    pictures = take_pictures(findings, open_frames)
    record = findings.record
    sections = [
        _header(findings, now),
        _identity_section(findings),
        comparison_section(comparison) if comparison is not None else None,
        rates_section(findings),
        movement_section(findings),
        missing_section(findings, pictures),
        outliers_section(pictures, findings.name if record is not None else None),
        *((making_section(record), time_section(record)) if record is not None else ()),
        element(
            "footer",
            f"Made by phoenix-ray {__version__} on {now:%Y-%m-%d %H:%M %Z}. The pages Statistics and Report of its "
            "documentation say what each figure means. This page fetches nothing and runs no script.",
        ),
    ]
    style = (resources.files("phoenix_ray.report") / "style.css").read_text(encoding="utf-8")
    return document(f"{findings.name}: landmarks", style, [section for section in sections if section is not None])


def _header(findings: Findings, now: datetime) -> Element:
    everything, record = findings.everything, findings.record
    kinds = part_classes(everything)
    signers = {video.signer for video in findings.counted} - {""}
    facts = [
        counted(everything.videos, "video"),
        counted(everything.frames, "frame"),
        counted(len({video.split for video in findings.counted}), "split"),
        counted(len(signers), "signer") if signers else "",
    ]
    tiles = [_fact(*fact.split(" ")) for fact in facts if fact]
    if record and record.text.seconds:
        tiles.insert(2, _fact(duration(record.text.seconds), "of video"))
    rates = (
        element("div", share_cell(part.rate, kinds[name]), element("span", part_name(name)), class_="tile")
        for name, part in everything.parts.items()
    )
    return element(
        "header",
        element("p", f"Landmark report, {now:%Y-%m-%d %H:%M %Z}", class_="kicker"),
        element("h1", findings.name),
        element("ul", *(element("li", text, class_=kind) for kind, text in _state(findings))),
        element("div", *tiles, class_="tiles"),
        element("p", "found in % of all frames", class_="kicker"),
        element("div", *rates, class_="tiles"),
    )


def _fact(value: str, name: str) -> Element:
    return element("div", element("b", value), element("span", name), class_="tile")


def _state(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield (`good` or `warning`, sentence): how complete the dataset is, and what to know before using it."""
    record = findings.record
    if record is None:
        yield "plain", "Landmarks of another tool: nothing is recorded of how and when they were made."
    else:
        yield from _completeness(record)
    for status, sentence in _STATUS_SENTENCES.items():
        if affected := [count for video in findings.counted if (count := video.statuses.get(status))]:
            where = f"{counted(sum(affected), 'frame')} of {counted(len(affected), 'video')}"
            yield "plain" if status == "no_person" else "warning", sentence.format(where)
    if record is not None and record.text.uneven:
        yield "plain", f"The frame rate of {counted(record.text.uneven, 'video')} varies: fps is the average there."
    if (shared := _shared_signers(findings)) is not None:
        yield "plain", shared


def _completeness(record: DatasetRecord) -> Iterator[tuple[str, str]]:
    history = record.history
    if record.failures:
        yield "warning", "Some shards or videos failed; the failure list is below."
    if history.at_work:
        names = ", ".join(holder.run_id for holder in history.at_work[:3])
        yield "warning", f"A run is at work ({names}): this page shows what was committed when it was made."
    if record.unfinished:
        yield (
            "warning",
            f"{counted(record.unfinished, 'video')} without all frames. Videos of which no frame is committed are not "
            "here at all.",
        )
    elif history.is_finished and not record.failures and not history.at_work:
        yield "good", "Finished: every frame has its row."
    if not history.runs:
        yield "warning", "No run has left a record here, so how and when it was computed is only known in part."
    elif not history.runs[0].ended and not history.at_work:
        yield "warning", f"The last run ended without a summary while it was {history.runs[0].state}."
    elif history.runs[0].ended and history.runs[0].state != "finished":
        yield "warning", f"The last run ended as {history.runs[0].state}; the same command goes on from there."
    for line in history.damaged:
        yield "warning", f"{line}."


def _shared_signers(findings: Findings) -> str | None:
    """Return whether signers of one split occur in another, which decides what a test result means."""
    splits: dict[str, set[str]] = {}
    for video in findings.counted:
        if video.signer:
            splits.setdefault(video.signer, set()).add(video.split)
    if not splits or len(set().union(*splits.values())) < 2:
        return None
    several = sum(len(where) > 1 for where in splits.values())
    if not several:
        return "No signer occurs in more than one split."
    return f"{several:,} of {counted(len(splits), 'signer')} {'occurs' if several == 1 else 'occur'} in several splits."


def _identity_section(findings: Findings) -> Element:
    record = findings.record
    if record is None:
        pairs: list[tuple[str, Node]] = [("layout", findings.collection.layout.name)]
    else:
        model, text = record.identity.model, record.text
        videos = len(findings.counted)
        glosses = f"{text.glosses:,} different, {_share(text.with_gloss, videos)}"
        pairs = [
            ("source", brief(record.identity.source_root, 300) or "not recorded"),
            ("model", f"{model.get('model', model.get('name', 'not recorded'))}, engine {model.get('engine', ABSENT)}"),
            ("mode", model.get("mode", "static")),
            ("layout", record.identity.layout),
            ("frame rate", _rates(text.rates)),
            ("frames of a video", "all" if (limit := record.identity.limit_frames) is None else f"the first {limit:,}"),
            ("glosses", glosses if text.with_gloss else "none"),
            ("translations", _share(text.with_translation, videos) if text.with_translation else "none"),
        ]
    lengths = np.array([video.frames for video in findings.counted], np.float64)
    plot = figure(
        "Length of the videos",
        "The curve rises to the share of videos with at most so many frames; where it is steepest, most videos lie.",
        line_plot(
            value_axis("frames of a video", lengths), "videos with at most this, in %", {"other-1": cumulative(lengths)}
        ),
    )
    return element(
        "section",
        element("h2", "What it is"),
        element("div", definitions(pairs), plot, class_="plots"),
        element("h3", "Splits"),
        *_splits(findings),
    )


def _share(count: int, videos: int) -> str:
    return f"in {100 * count / videos:.1f} % of the videos"


def _rates(rates: tuple[float, float] | None) -> str:
    if rates is None:
        return "not known"
    low, high = rates
    return f"{low:g} fps" if low == high else f"{low:g} to {high:g} fps"


def _splits(findings: Findings) -> Iterator[Node]:
    splits: dict[str, list[VideoMeasures]] = {}
    for video in findings.counted:
        splits.setdefault(video.split, []).append(video)
    largest = sorted(splits, key=lambda split: (-len(splits[split]), split))[:SPLITS_SHOWN]
    rows = []
    for split in largest:
        videos = splits[split]
        frames = [video.frames for video in videos]
        statuses = [sum(video.statuses.get(status, 0) for video in videos) for status in STATUS_TEXTS]
        signers = len({video.signer for video in videos} - {""})
        rows.append(
            [
                brief(split) or ABSENT,
                f"{len(videos):,}",
                f"{sum(frames):,}",
                f"{min(frames):,} to {max(frames):,}",
                f"{signers:,}" if signers else ABSENT,
                *(f"{count:,}" for count in statuses),
            ]
        )
    names = [name for name, _ in STATUS_TEXTS.values()]
    yield table(["split", "videos", "frames", "frames of a video", "signers", *names], rows)
    yield more(len(largest), len(splits), "split")
