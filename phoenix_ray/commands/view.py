"""`phoenix-ray view OUTPUT`: draws frames of a dataset with their landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.commands.config import LocalPath, check_report_path
from phoenix_ray.errors import ConfigError

if TYPE_CHECKING:
    from phoenix_ray.viewer.film import Form


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
@click.option("--mp4", type=LocalPath(), help="Write the video as a moving picture instead, .mp4.")
@click.option("--gif", type=LocalPath(), help="The same as a GIF, .gif.")
@click.option("--no-frames", is_flag=True, help="MP4 and GIF: the skeleton alone; the source is not read.")
@click.option("--side-by-side", is_flag=True, help="MP4 and GIF: the frame, and its skeleton to the right.")
@click.option("--beside", metavar="OTHER", help="MP4 and GIF: the same video of another dataset to the right.")
@click.option("--range", "span", metavar="FIRST:END", help="MP4 and GIF: only frames FIRST to END - 1.")
def view(
    output: str,
    sheet: Path,
    source: str,
    videos: int,
    frames: int,
    only: tuple[str, ...],
    around: int | None,
    mp4: Path | None,
    gif: Path | None,
    no_frames: bool,
    side_by_side: bool,
    beside: str | None,
    span: str | None,
) -> None:
    """Draw the dataset in OUTPUT: a contact sheet of frames, or a video as a moving picture."""
    from phoenix_ray.config import SourceSettings

    if mp4 or gif:
        _write_moving_pictures([mp4, gif], output, only, source, no_frames, side_by_side, beside, span)
        return
    if no_frames or side_by_side or beside or span:
        raise click.UsageError("--no-frames, --side-by-side, --beside and --range need --mp4 FILE or --gif FILE.")
    from phoenix_ray.viewer.contact_sheet import write_contact_sheet

    check_report_path(sheet)
    write_contact_sheet(output, sheet, SourceSettings(path=source), videos, frames, only, around)
    click.echo(f"{sheet}")


def _write_moving_pictures(
    files: Sequence[Path | None],
    output: str,
    only: tuple[str, ...],
    source: str,
    no_frames: bool,
    side_by_side: bool,
    beside: str | None,
    span: str | None,
) -> None:
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.text import counted, progress_bar
    from phoenix_ray.viewer.moving_pictures import write_moving_picture
    from phoenix_ray.viewer.shown_rows import FrameSpan

    if len(only) != 1:
        raise click.UsageError("An MP4 or GIF shows one video: name it with --video ID.")
    if no_frames + side_by_side + bool(beside and side_by_side) > 1:
        raise click.UsageError("--side-by-side shows frames, and leaves no room for another dataset: choose one.")
    form: Form = "skeleton" if no_frames else "side by side" if side_by_side else "overlay"
    for file, ending in zip(files, (".mp4", ".gif"), strict=True):
        if file is None:
            continue
        if file.suffix.lower() != ending:
            raise ConfigError(f"{file} does not end with {ending}.")
        check_report_path(file)
        with progress_bar(f"drawing {file.name}", "frames") as show:
            done = write_moving_picture(
                output, file, only[0], SourceSettings(path=source), form, beside, FrameSpan.parse(span), show
            )
        length = f"{counted(done.pictures, 'frame')}, {done.seconds:.2f} s"
        size = f"{done.width}x{done.height}, {file.stat().st_size / 1e6:.1f} MB"
        click.echo(f"{file}: {length}, {size}{f'; {done.remark}' if done.remark else ''}")
