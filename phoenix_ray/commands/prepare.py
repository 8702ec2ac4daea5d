"""`phoenix-ray prepare`: a dataset as training inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phoenix_ray.commands.config import LocalPath, check_report_path
from phoenix_ray.text import counted, printable_line, progress_bar

if TYPE_CHECKING:
    from phoenix_ray.prepare.pipeline import PrepareSettings

# Short options and the settings they stand for.
_SWITCHES = (
    ("--points", "points.select", "Sets of points, separated by commas: upper_body,hands,lips."),
    ("--normalise", "normalise.reference", "none, image, shoulders or part_box."),
    ("--fill", "clean.fill", "none, linear or hold."),
    ("--smooth", "clean.smooth", "none, one_euro or savitzky_golay."),
    ("--frame-rate", "time.frame_rate", "Frames per second to resample to."),
    ("--length", "time.length", "Frames to resample every video to."),
    ("--mirror", "mirror.mode", "no, only or also."),
    ("--format", "files.format", "npz, parquet or webdataset."),
    ("--splits", "files.splits", "Only these splits, separated by commas."),
)
_LISTS = ("points.select", "files.splits")


def _with_switches(command: Any) -> Any:
    for flag, key, text in reversed(_SWITCHES):
        command = click.option(flag, key.replace(".", "__"), help=f"{text}  [{key}]")(command)
    return command


@click.command()
@click.argument("dataset", required=False)
@click.argument("output", required=False, type=LocalPath())
@click.argument("overrides", nargs=-1, metavar="[SECTION.KEY=VALUE]...")
@click.option("--config", "-c", type=LocalPath(), help="YAML file of settings.")
@_with_switches
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option("--settings", "show_settings", is_flag=True, help="Print all settings and what they mean, and exit.")
def prepare(
    dataset: str | None,
    output: Path | None,
    overrides: tuple[str, ...],
    config: Path | None,
    workers: int,
    show_settings: bool,
    **switches: str | None,
) -> None:
    """Write the DATASET as training inputs into the folder OUTPUT, from where an earlier call stopped.

    \b
    phoenix-ray prepare /data/landmarks /data/inputs --points holistic_178 --fill linear --format webdataset
    phoenix-ray prepare --settings
    """
    settings = _load(config, overrides, switches)
    if show_settings:
        from phoenix_ray.config_files import describe_settings, format_value

        for key, value, default, text in describe_settings(settings):
            click.secho(f"{'*' if value != default else ' '} {key}: {format_value(value)}", bold=value != default)
            click.echo(click.wrap_text(text, 100, "      ", "      "))
        return
    if dataset is None or output is None:
        raise click.UsageError("Give the dataset and the folder to write: phoenix-ray prepare DATASET OUTPUT.")

    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.dataset.storage import LocalStorage
    from phoenix_ray.prepare.preparation import prepare_dataset

    check_report_path(output)
    with progress_bar("preparing", "shards") as show:
        report = prepare_dataset(Dataset.open(dataset), LocalStorage(str(output)), settings, workers, show)
    for split, counts in report["splits"].items():
        share = 100 / max(counts["values"], 1)
        click.echo(
            f"{printable_line(split)}: {counted(counts['videos'], 'video')}, {counted(counts['frames'], 'frame')}; "
            f"{counts['missing'] * share:.1f} % of points missing, {counts['filled'] * share:.1f} % filled"
        )
        for video_id in counts["without_measure"]:
            click.echo(f"  {printable_line(video_id)}: shoulders never found, so all its points are missing", err=True)
    if (unreadable := report["partly_unreadable"])["videos"]:
        click.echo(
            f"{counted(unreadable['videos'], 'video')} partly unreadable; {unreadable['left_out']:,} left out "
            f"(files.max_unreadable={settings.files.max_unreadable:g})",
            err=True,
        )
    size = sum(file["bytes"] for file in report["files"])
    click.echo(
        f"Each frame has {len(report['points'])} points with {', '.join(report['axes'])}. "
        f"{size / 1e6:,.1f} MB in {output}; prepare.json there records what was done."
    )


def _load(config: Path | None, overrides: tuple[str, ...], switches: dict[str, str | None]) -> PrepareSettings:
    from phoenix_ray.config_files import find_config, load_tree
    from phoenix_ray.prepare.pipeline import PrepareSettings

    given = {name.replace("__", "."): value for name, value in switches.items() if value is not None}
    words = [f"{key}={f'[{value}]' if key in _LISTS else value}" for key, value in given.items()]
    return load_tree(PrepareSettings, find_config(config) if config else None, [*overrides, *words])
