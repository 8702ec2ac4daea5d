"""`phoenix-ray view DATASET`: shows a dataset in the browser, or writes it as pictures, videos or a page."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phoenix_ray.commands.config import LocalPath, check_report_path
from phoenix_ray.errors import ConfigError

if TYPE_CHECKING:
    from phoenix_ray.viewer.film import Form

# What is made, and the options that it takes beside DATASET; an option that would be ignored is refused.
_OPTIONS = {
    "page": ("source", "no_frames", "beside", "host", "port", "no_open", "only", "around"),
    "sheet": ("sheet", "source", "videos", "frames", "only", "around"),
    "mp4": ("mp4", "source", "no_frames", "side_by_side", "beside", "span", "only"),
    "gif": ("gif", "source", "no_frames", "side_by_side", "beside", "span", "only"),
    "html": ("html", "source", "with_frames", "no_frames", "only"),
}
_NAMES = {
    "page": "the page",
    "sheet": "a contact sheet (--sheet)",
    "mp4": "an MP4 (--mp4)",
    "gif": "a GIF (--gif)",
    "html": "an HTML file (--html)",
}


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
@click.option(
    "--video", "only", multiple=True, metavar="ID", help="Show this video (or split/ID); sheet and HTML take several."
)
@click.option("--around", type=click.IntRange(min=0), help="Show this frame; on a sheet, with those around it.")
@click.option("--sheet", type=LocalPath(), help="Write a contact sheet instead, .png or .jpg.")
@click.option("--videos", type=click.IntRange(min=1), default=2, show_default=True, help="Sheet: videos of each split.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Sheet: frames of each video, spread evenly.",
)
@click.option("--mp4", type=LocalPath(), help="Write a video as a moving picture instead, .mp4.")
@click.option("--gif", type=LocalPath(), help="The same as a GIF.")
@click.option("--side-by-side", is_flag=True, help="MP4 and GIF: the frame, and its skeleton to the right.")
@click.option("--range", "span", metavar="FIRST:END", help="MP4 and GIF: only frames FIRST to END - 1.")
@click.option("--html", type=LocalPath(), help="Write the page with the videos inside it: one file to send, .html.")
@click.option("--with-frames", is_flag=True, help="HTML: with the frames; otherwise it holds no pixel of a person.")
@click.pass_context
def view(context: click.Context, /, **options: Any) -> None:
    """Show the dataset in DATASET in the browser: its videos with their landmarks.

    The page is served on this machine until Ctrl-C. With --sheet, --mp4, --gif or --html, write
    a file instead.
    """
    given = {
        name for name in options if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    } - {"output"}
    made = [name for name in ("sheet", "mp4", "gif", "html") if name in given]
    if len(made) > 1 and made != ["mp4", "gif"]:
        raise click.UsageError("Write one thing at a time: " + ", ".join(f"--{name}" for name in made) + ".")
    _refuse_others(context, given, made or ["page"])
    match made:
        case []:
            _show(options)
        case ["sheet"]:
            _write_sheet(options)
        case ["html"]:
            _write_html(options)
        case _:
            _write_moving_pictures(options, made)


def _refuse_others(context: click.Context, given: set[str], made: Sequence[str]) -> None:
    allowed = {name for what in made for name in _OPTIONS[what]}
    for parameter in context.command.params:
        if parameter.name in given - allowed:
            fitting = " or ".join(_NAMES[what] for what, names in _OPTIONS.items() if parameter.name in names)
            raise click.UsageError(f"{parameter.opts[0]} belongs to {fitting}, not to {_NAMES[made[0]]}.")


def _show(options: dict[str, Any]) -> None:
    """Serve the page of one or two datasets until Ctrl-C."""
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.viewer.library import Library, ShownDataset
    from phoenix_ray.viewer.server import serve

    only, around = options["only"], options["around"]
    if len(only) > 1 or (around is not None and not only):
        raise click.UsageError("The page opens with one --video, and --around names a frame of it.")

    source = None if options["no_frames"] else SourceSettings(path=options["source"])
    paths = [options["output"]] if options["beside"] is None else [options["output"], options["beside"]]
    datasets = [ShownDataset(path, source) for path in paths]
    start = {}
    if only:
        key = datasets[0].find_video(only[0])
        start = {"split": key[0], "video": key[1], "frame": str(around or 0)}
    announce = announcer(opens_browser=not options["no_open"])
    serve(Library(datasets), options["host"], options["port"], announce, start)


def announcer(*, opens_browser: bool) -> Callable[[str], None]:
    """Return a function that prints the address of a page, and opens it if that is wanted."""

    def announce(address: str) -> None:
        click.echo(f"Viewer: {address}")
        click.echo("Ctrl-C ends it.", err=True)
        if opens_browser:
            webbrowser.open(address)

    return announce


def _write_sheet(options: dict[str, Any]) -> None:
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.viewer.contact_sheet import write_contact_sheet

    check_report_path(options["sheet"])
    write_contact_sheet(
        options["output"],
        options["sheet"],
        SourceSettings(path=options["source"]),
        options["videos"],
        options["frames"],
        options["only"],
        options["around"],
    )
    click.echo(f"{options['sheet']}")


def _write_moving_pictures(options: dict[str, Any], made: Sequence[str]) -> None:
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.text import counted, progress_bar
    from phoenix_ray.viewer.moving_pictures import write_moving_picture
    from phoenix_ray.viewer.shown_rows import FrameSpan

    if len(options["only"]) != 1:
        raise click.UsageError("An MP4 or GIF shows one video: name it with --video ID.")
    if options["side_by_side"] and (options["no_frames"] or options["beside"]):
        raise click.UsageError("--side-by-side shows frames beside skeletons: leave out --no-frames and --beside.")
    form: Form = "skeleton" if options["no_frames"] else "side by side" if options["side_by_side"] else "overlay"
    span, source = FrameSpan.parse(options["span"]), SourceSettings(path=options["source"])
    for ending in made:
        file: Path = options[ending]
        if file.suffix.lower() != f".{ending}":
            raise ConfigError(f"{file} does not end with .{ending}.")
        check_report_path(file)
    for file in (options[ending] for ending in made):
        with progress_bar(f"drawing {file.name}", "frames") as show:
            done = write_moving_picture(
                options["output"], file, options["only"][0], source, form, options["beside"], span, show
            )
        length = f"{counted(done.pictures, 'frame')}, {done.seconds:.2f} s"
        size = f"{done.width}x{done.height}, {file.stat().st_size / 1e6:.1f} MB"
        click.echo(f"{file}: {length}, {size}{f'; {done.remark}' if done.remark else ''}")


def _write_html(options: dict[str, Any]) -> None:
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.text import counted, progress_bar
    from phoenix_ray.viewer.html_page import write_html_page

    file: Path = options["html"]
    if file.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{file} does not end with .html.")
    if options["with_frames"] and options["no_frames"]:
        raise click.UsageError("--with-frames and --no-frames contradict each other: leave one of them out.")
    check_report_path(file)
    source = SourceSettings(path=options["source"]) if options["with_frames"] else None
    with progress_bar(f"writing {file.name}", "videos") as show:
        done = write_html_page(options["output"], file, options["only"], source, show)
    held = "with the frames of the source" if source else "skeletons only, no pixel of the source (--with-frames)"
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    click.echo(f"{file}: {counted(done.videos, 'video')}, {counted(done.frames, 'frame')}, {size}; {held}")
    if done.remark:
        click.echo(f"Note: {done.remark}.")
    click.echo("It holds the names and annotations of these videos.")
