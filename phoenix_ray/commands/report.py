"""`phoenix-ray report`: one page of HTML about a dataset, or about several side by side."""

from __future__ import annotations

import os
from pathlib import Path

import click

from phoenix_ray.commands.config import LocalPath, check_report_path, frame_size_option, write_report


@click.command()
@click.argument("dataset")
@click.argument("others", nargs=-1, metavar="[OTHER]...")
@click.option(
    "--out",
    "-o",
    "file",
    type=LocalPath(dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="Page to write.",
)
@click.option("--source", default="", help="Where the frames are (default: where they were when the run began).")
@click.option("--no-frames", is_flag=True, help="Show skeletons alone, no picture of a person.")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=20_000,
    show_default=True,
    help="Measure movement, gaps and scores in so many videos at most, spread evenly; 0: rates alone, in an instant.",
)
@frame_size_option
@click.option("--threads", default=min(8, os.cpu_count() or 1), show_default=True, type=click.IntRange(min=1))
def report(
    dataset: str,
    others: tuple[str, ...],
    file: Path,
    source: str,
    no_frames: bool,
    sample: int,
    threads: int,
    frame_size: tuple[int, int] | None,
) -> None:
    """Write a page about DATASET: what it is, how good it is, what is missing, which videos to look at.

    With OTHER datasets it also shows all of them side by side, over the videos in all. DATASET and OTHER are datasets
    of phoenix-ray, or landmarks of another tool that `stats` understands. The page is one file that fetches nothing.
    """
    from datetime import datetime
    from functools import partial

    from phoenix_ray.config import SourceSettings
    from phoenix_ray.dataset.identity import as_recorded, open_recorded_source
    from phoenix_ray.report.findings import compare, examine
    from phoenix_ray.report.page import make_page

    check_report_path(file)
    findings = examine(dataset, sample, threads, frame_size)
    comparison = compare(findings, others, sample, threads, frame_size) if others else None
    settings, recorded = SourceSettings(path=source), ""
    if findings.record is not None:
        identity = findings.record.identity
        recorded = identity.source_root
        settings = as_recorded(settings, identity)
    shows_frames = not no_frames and bool(source or findings.record is not None)
    open_frames = partial(open_recorded_source, settings, recorded) if shows_frames else None
    write_report(file, make_page(findings, comparison, open_frames, datetime.now().astimezone()))
    click.echo(f"{file}")
