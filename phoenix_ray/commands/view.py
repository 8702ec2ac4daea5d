"""`phoenix-ray view OUTPUT`: draws frames of a dataset with their landmarks."""

from __future__ import annotations

from pathlib import Path

import click

from phoenix_ray.commands.config import LocalPath, check_report_path


@click.command()
@click.argument("output")
@click.option(
    "--sheet",
    type=LocalPath(),
    default=Path("sheet.png"),
    show_default=True,
    help="Picture to write, .png or .jpg.",
)
@click.option("--source", default="", help="Where the frames are (default: where they were when the run began).")
@click.option("--videos", type=click.IntRange(min=1), default=2, show_default=True, help="Videos of each split.")
@click.option(
    "--frames", type=click.IntRange(min=1), default=5, show_default=True, help="Frames of each video, spread evenly."
)
@click.option("--video", "only", multiple=True, metavar="ID", help="Show this video (or split/ID); may be repeated.")
@click.option("--around", type=click.IntRange(min=0), help="Show the frames around this frame, side by side.")
def view(
    output: str, sheet: Path, source: str, videos: int, frames: int, only: tuple[str, ...], around: int | None
) -> None:
    """Draw frames of the dataset in OUTPUT with their landmarks: a contact sheet."""
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.viewer.contact_sheet import write_contact_sheet

    check_report_path(sheet)
    write_contact_sheet(output, sheet, SourceSettings(path=source), videos, frames, only, around)
    click.echo(f"{sheet}")
