"""`phoenix-ray view DATASET`: shows a dataset in the browser, or draws a contact sheet of it."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from phoenix_ray.commands.config import LocalPath, check_report_path
from phoenix_ray.errors import ConfigError

# Options that only the page has, and only the sheet; a word that would be ignored is refused.
_PAGE_OPTIONS = ("beside", "no_frames", "host", "port", "no_open")
_SHEET_OPTIONS = ("videos", "frames")


@click.command()
@click.argument("output", metavar="DATASET")
@click.option("--beside", metavar="OTHER", help="Another dataset of the same videos: both are shown side by side.")
@click.option("--source", default="", help="Where the frames are (default: where they were when the run began).")
@click.option("--no-frames", is_flag=True, help="Show skeletons only: no picture is read.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on (default: one that is free)."
)
@click.option("--no-open", is_flag=True, help="Do not open the browser.")
@click.option("--sheet", type=LocalPath(), help="Write a contact sheet instead, .png or .jpg.")
@click.option("--videos", type=click.IntRange(min=1), default=2, show_default=True, help="Sheet: videos of each split.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Sheet: frames of each video, spread evenly.",
)
@click.option(
    "--video", "only", multiple=True, metavar="ID", help="Show this video (or split/ID); a sheet takes several."
)
@click.option("--around", type=click.IntRange(min=0), help="Show this frame; on a sheet, with those around it.")
@click.pass_context
def view(
    context: click.Context,
    output: str,
    beside: str | None,
    source: str,
    no_frames: bool,
    host: str,
    port: int,
    no_open: bool,
    sheet: Path | None,
    videos: int,
    frames: int,
    only: tuple[str, ...],
    around: int | None,
) -> None:
    """Show the dataset in DATASET in the browser: its videos with their landmarks.

    The page is served on this machine until Ctrl-C. With --sheet, write a picture of some frames instead.
    """
    from phoenix_ray.config import SourceSettings

    if sheet is not None:
        from phoenix_ray.viewer.contact_sheet import write_contact_sheet

        _refuse(context, _PAGE_OPTIONS, "belongs to the page: leave out --sheet")
        check_report_path(sheet)
        write_contact_sheet(output, sheet, SourceSettings(path=source), videos, frames, only, around)
        click.echo(f"{sheet}")
        return
    _refuse(context, _SHEET_OPTIONS, "belongs to a contact sheet: give --sheet FILE")
    if len(only) > 1 or (around is not None and not only):
        raise click.UsageError("The page opens with one --video, and --around names a frame of it.")
    settings = None if no_frames else SourceSettings(path=source)
    paths = [output, beside] if beside is not None else [output]
    _show(paths, settings, host, port, not no_open, only[0] if only else None, around)


def _show(
    paths: list[str],
    source: Any,
    host: str,
    port: int,
    opens_browser: bool,
    video: str | None,
    frame: int | None,
) -> None:
    """Serve the page of one or two datasets until Ctrl-C."""
    from phoenix_ray.viewer.library import Library, ShownDataset
    from phoenix_ray.viewer.server import serve

    datasets = [ShownDataset(path, source) for path in paths]
    start = {}
    if video is not None:
        key = datasets[0].videos.named(video)
        if key is None:
            raise ConfigError(f"{paths[0]} has no video '{video}' (--video): give its ID, or split/ID.")
        start = {"split": key[0], "video": key[1], "frame": str(frame or 0)}
    serve(Library(datasets), host, port, announcer(opens_browser), start)


def announcer(opens_browser: bool) -> Callable[[str], None]:
    """Return a function that prints the address of a page, and opens it if that is wanted."""

    def announce(address: str) -> None:
        click.echo(f"Viewer: {address}")
        click.echo("Ctrl-C ends it.", err=True)
        if opens_browser:
            webbrowser.open(address)

    return announce


def _refuse(context: click.Context, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} {reason}.")
