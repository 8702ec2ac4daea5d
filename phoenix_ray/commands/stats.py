"""`phoenix-ray stats`: how good the landmarks of a dataset are."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.commands.config import LocalPath, check_report_path, frame_size_option, write_report
from phoenix_ray.errors import OutputError
from phoenix_ray.text import counted, printable_line

if TYPE_CHECKING:
    from phoenix_ray.dataset.video_landmarks import LandmarkCollection
    from phoenix_ray.statistics.measures import VideoMeasures
    from phoenix_ray.statistics.summary import Grouping

_PIPE_WIDTH = 200


@click.command()
@click.argument("dataset")
@click.option(
    "--beside",
    metavar="OTHER",
    help="Print one table of DATASET and of OTHER, over the videos in both: static beside tracking, for example.",
)
@click.option(
    "--by", type=click.Choice(["split", "signer", "video"]), default="split", show_default=True, help="Groups."
)
@click.option("--quick", is_flag=True, help="Only what the table of videos knows: detection rates, in an instant.")
@click.option("--outliers", default=3, show_default=True, type=click.IntRange(min=0), help="Videos shown of each kind.")
@click.option("--json", "json_file", type=LocalPath(dir_okay=False), help="Write everything here too.")
@click.option("--plots", type=LocalPath(file_okay=False), help="Write pictures into this folder.")
@frame_size_option
@click.option("--threads", default=min(8, os.cpu_count() or 1), show_default=True, type=click.IntRange(min=1))
def stats(
    dataset: str,
    beside: str | None,
    by: Grouping,
    quick: bool,
    outliers: int,
    json_file: Path | None,
    plots: Path | None,
    threads: int,
    frame_size: tuple[int, int] | None,
) -> None:
    """Show how often parts are found, how they move, where hands vanish, and which videos to look at.

    DATASET is a dataset of phoenix-ray, or landmarks of another tool that `verify` understands.
    """
    from rich.console import Console

    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.exports.imports import open_collection
    from phoenix_ray.statistics import report, summary

    if beside is not None and plots is not None:
        raise click.UsageError("--plots draws one dataset: leave out --beside.")
    for path in filter(None, (json_file, plots)):
        check_report_path(path)
    collection = open_collection(dataset, frame_size)
    videos = _measure(dataset, collection, quick, threads, frame_size)
    # In a file or a pipe nothing needs to be cut to a terminal's width.
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    tree: dict[str, object] = {}
    if beside is not None:
        others = _measure(beside, open_collection(beside, frame_size), quick, threads, frame_size)
        videos, others = _in_both(dataset, videos, beside, others)
        other = summary.summarise("all", others)
        report.print_beside(console, ((dataset, summary.summarise("all", videos)), (beside, other)))
        tree["beside"] = report.statistics_json(
            other, summary.group(others, by), summary.find_outliers(others, outliers)
        )
    everything, groups = summary.summarise("all", videos), summary.group(videos, by)
    worst = summary.find_outliers(videos, outliers)
    if beside is None:
        named = dataset if isinstance(collection, Dataset) else None
        report.print_statistics(console, named, everything, groups, worst)
        if isinstance(collection, Dataset):
            report.print_notes(console, collection.videos())
    if json_file is not None:
        tree = report.statistics_json(everything, groups, worst) | tree
        write_report(json_file, json.dumps(tree, indent=1, ensure_ascii=False))
    if plots is not None:
        for file in report.write_plots(plots, videos, everything, groups):
            click.echo(f"{file}")
        if quick:
            click.echo("The other plots need more than counts: leave out --quick.")


def _measure(
    dataset: str, collection: LandmarkCollection, quick: bool, threads: int, frame_size: tuple[int, int] | None
) -> list[VideoMeasures]:
    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.dataset.video_landmarks import image_parts
    from phoenix_ray.exports.imports import open_collection
    from phoenix_ray.statistics import summary

    if isinstance(collection, Dataset):
        reading = collection.select(parts=image_parts(collection.layout))
        measures = summary.count_only(reading) if quick else summary.measure_collection(reading.select, threads)
    else:
        # Files of other tools are read by one thread, and have no table to be quick with.
        measures = summary.measure_collection(partial(open_collection, dataset, frame_size), threads=1)
    videos = list(measures)
    if not videos:
        raise OutputError(f"{dataset} holds no video: there is nothing to count.")
    return videos


def _in_both(
    dataset: str, videos: list[VideoMeasures], other: str, others: list[VideoMeasures]
) -> tuple[list[VideoMeasures], list[VideoMeasures]]:
    """Return the videos that two datasets share, of each; say how many that are and what is left out."""
    ours, theirs = ({(video.split, video.video_id): video for video in some} for some in (videos, others))
    both = [key for key in ours if key in theirs]
    if not both:
        raise OutputError(f"{dataset} and {other} share no video: split and video ID must be the same.")
    click.echo(f"{counted(len(both), 'video')} in both")
    for name, measured in ((dataset, ours), (other, theirs)):
        if left_out := len(measured) - len(both):
            click.echo(f"{counted(left_out, 'video')} only in {printable_line(name)}: left out")
    return [ours[key] for key in both], [theirs[key] for key in both]
