"""`phoenix-ray stats`: how good the landmarks of a dataset are."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.commands.config import check_report_path, write_report
from phoenix_ray.errors import OutputError

if TYPE_CHECKING:
    from phoenix_ray.statistics.summary import Grouping

_PIPE_WIDTH = 200


@click.command()
@click.argument("dataset")
@click.option(
    "--by", type=click.Choice(["split", "signer", "video"]), default="split", show_default=True, help="Groups."
)
@click.option("--quick", is_flag=True, help="Only what the table of videos knows: detection rates, in an instant.")
@click.option("--outliers", default=3, show_default=True, type=click.IntRange(min=0), help="Videos shown of each kind.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write everything here too.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Write pictures into this folder.")
@click.option("--threads", default=min(8, os.cpu_count() or 1), show_default=True, type=click.IntRange(min=1))
def stats(
    dataset: str, by: Grouping, quick: bool, outliers: int, json_file: Path | None, plots: Path | None, threads: int
) -> None:
    """Show how often parts are found, how steady they are, where hands vanish, and which videos to look at.

    DATASET is a dataset of phoenix-ray, or landmarks of another tool that `verify` understands.
    """
    from rich.console import Console

    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.dataset.video_landmarks import image_parts
    from phoenix_ray.exports.imports import open_collection
    from phoenix_ray.statistics import report, summary

    for path in filter(None, (json_file, plots)):
        check_report_path(path)
    collection = open_collection(dataset)
    if isinstance(collection, Dataset):
        reading = collection.select(parts=image_parts(collection.layout))
        measures = summary.count_only(reading) if quick else summary.measure_collection(reading.select, threads)
    else:
        # Files of other tools are read by one thread, and have no table to be quick with.
        measures = summary.measure_collection(partial(open_collection, dataset), threads=1)
    videos = list(measures)
    if not videos:
        raise OutputError(f"{dataset} holds no video: there is nothing to count.")
    everything, groups = summary.summarise("all", videos), summary.group(videos, by)
    worst = summary.find_outliers(videos, outliers)
    # In a file or a pipe nothing needs to be cut to a terminal's width.
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    report.print_statistics(console, dataset, everything, groups, worst)
    if isinstance(collection, Dataset):
        report.print_notes(console, collection.videos())
    if json_file is not None:
        write_report(
            json_file, json.dumps(report.statistics_json(everything, groups, worst), indent=1, ensure_ascii=False)
        )
    if plots is not None:
        from phoenix_ray.statistics.report import write_plots

        for file in write_plots(plots, videos, everything, groups):
            click.echo(f"{file}")
