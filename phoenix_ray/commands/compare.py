"""`phoenix-ray compare`: several models on the same frames of the user's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from phoenix_ray.commands.config import LocalPath, check_report_path, write_report
from phoenix_ray.errors import EXIT_INCOMPLETE, ConfigError
from phoenix_ray.text import printable_line, progress_bar

_PIPE_WIDTH = 200


@click.command("compare")
@click.argument("source")
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="MODEL",
    help="A model's name, the path of a manifest, or settings: 'name=holistic,complexity=2'. Give several.",
)
@click.option("--frames", default=200, show_default=True, type=click.IntRange(min=1), help="Frames in all.")
@click.option("--videos", type=click.IntRange(min=1), help="Videos that they are spread over (default: up to 10).")
@click.option("--splits", default="", help="Only these splits, separated by commas: train,dev.")
@click.option(
    "--labels",
    type=LocalPath(dir_okay=False),
    multiple=True,
    help="COCO or COCO-WholeBody keypoints of some frames (JSON). May be repeated.",
)
@click.option("--reference", metavar="MODEL", help="Compare each model with this alone, instead of each two.")
@click.option("--output", type=LocalPath(file_okay=False), help="Write comparison.json and comparison.html here.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier comparison at --output.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting of source or decoding.")
def compare_command(
    source: str,
    models: tuple[str, ...],
    frames: int,
    videos: int | None,
    splits: str,
    labels: tuple[Path, ...],
    reference: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Run several models on the same frames of SOURCE: speed, what they find, how far apart, how near labels.

    \b
    phoenix-ray compare videos --model holistic --model blazepose
    phoenix-ray compare videos --model holistic --model name=holistic,complexity=2 --output comparison

    It computes in this process, one model after the other, without Ray. Exits with 3 if a model had to be left out.
    """
    from datetime import datetime

    from rich.console import Console

    from phoenix_ray.config_files import load
    from phoenix_ray.model_comparison.as_json import comparison_json
    from phoenix_ray.model_comparison.candidates import find_reference, parse_candidates
    from phoenix_ray.model_comparison.comparison import SampleSize, compare_models
    from phoenix_ray.model_comparison.page import comparison_page
    from phoenix_ray.model_comparison.tables import print_comparison

    if output is not None:
        check_report_path(output)
        if (output / "comparison.json").exists() and not overwrite:
            raise ConfigError(f"{output} holds a comparison already: give --overwrite, or another --output.")
    given: dict[str, object] = {"source.path": source}
    if splits:
        given["source.splits"] = [split.strip() for split in splits.split(",")]
    settings = load(None, overrides, given)
    candidates = parse_candidates(models, settings.model)
    chosen = find_reference(reference, candidates) if reference is not None else None
    with progress_bar("comparing", "models") as show:
        comparison = compare_models(
            settings,
            candidates,
            SampleSize(frames, videos),
            labels,
            chosen,
            lambda line: click.echo(printable_line(line), err=True),
            show,
        )
    text = json.dumps(comparison_json(comparison), indent=1, ensure_ascii=False)
    if as_json:
        for model in comparison.failed:
            click.echo(printable_line(f"Left out: {model.reason}"), err=True)
        click.echo(text)
    else:
        # In a file or a pipe nothing needs to be cut to a terminal's width.
        print_comparison(Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH), comparison)
    if output is not None:
        write_report(output / "comparison.json", text + "\n")
        write_report(output / "comparison.html", comparison_page(comparison, datetime.now().astimezone()))
        click.echo(f"{output / 'comparison.html'}", err=as_json)
    if comparison.failed:
        sys.exit(EXIT_INCOMPLETE)
