"""`phoenix-ray <command>`: reads words, calls the part that does the work, prints what it gives.

Every heavy import waits inside its command, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from phoenix_ray import __version__
from phoenix_ray.commands.check import check
from phoenix_ray.commands.export import export
from phoenix_ray.commands.prepare import prepare
from phoenix_ray.commands.settings import SettingsCommand, read_settings, require_places, with_settings
from phoenix_ray.commands.stats import stats
from phoenix_ray.commands.verify import verify
from phoenix_ray.errors import EXIT_INTERRUPTED, ModelError, PhoenixRayError
from phoenix_ray.report_files import check_report_path
from phoenix_ray.text import printable_line, printable_text

_PLACES = ("source.path", "output.path")


class _Group(click.Group):
    """A group whose commands end with the documented exit codes instead of tracebacks."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words, to say later which to type again."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PhoenixRayError as error:
            click.echo(f"error: {printable_text(error)}", err=True)
            for line in error.closing_lines:
                click.echo(printable_line(line), err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            sys.exit(EXIT_INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="phoenix-ray")
def cli() -> None:
    """Sign-language videos to landmarks, on a Ray cluster.

    \b
    phoenix-ray run /data/PHOENIX-2014-T /data/landmarks
    phoenix-ray status /data/landmarks --watch

    A run that was stopped, whatever stopped it, is finished by the same command.
    """


@cli.command(cls=SettingsCommand)
@with_settings(*_PLACES)
@click.option("--force", is_flag=True, help="Start although another driver seems to work on this output.")
@click.pass_context
def run(context: click.Context, /, config: Path | None, words: tuple[str, ...], force: bool, **switches: Any) -> None:
    """Compute the landmarks of the videos in SOURCE into the dataset OUTPUT; go on where an earlier run stopped.

    SOURCE is a folder of videos (mp4, mkv, webm, …), of frame folders, a PHOENIX-2014-T tree, or a CSV or Parquet table
    of videos. `phoenix-ray config` shows every setting.

    \b
    Exit codes:
      0    finished: every frame has its row
      2    a setting or word is wrong
      3    finished, but some shards failed (`phoenix-ray failures` lists them; run again to retry)
      4    the source cannot be read
      5    the model or its weights cannot be loaded
      6    the output cannot be written, or was computed with other settings
      7    Ray or its workers cannot be had
      130  stopped by SIGINT (Ctrl-C), 143 by SIGTERM: drained, nothing lost
    """
    from phoenix_ray.cluster.job import run_job

    forced = ["run.force=true"] if force else []
    settings = read_settings(config, [*words, *forced], switches, *_PLACES)
    require_places(settings, "run")
    sys.exit(run_job(settings, context.obj))


@cli.command(cls=SettingsCommand)
@with_settings(*_PLACES)
def plan(config: Path | None, words: tuple[str, ...], **switches: Any) -> None:
    """Show what `run` would do: videos, frames, shards, what is committed already, workers, time and size."""
    from phoenix_ray.cluster.preview import preview

    settings = read_settings(config, words, switches, *_PLACES)
    require_places(settings, "plan")
    preview(settings)


@cli.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Look again every two seconds until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print status.json of the latest run.")
def status(output: Path, watch: bool, as_json: bool) -> None:
    """Show how far the dataset in OUTPUT is."""
    from phoenix_ray.cluster.status import show_status

    show_status(output, watch=watch, as_json=as_json)


@cli.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--traceback", is_flag=True, help="Also show where in the code it happened.")
def failures(output: Path, traceback: bool) -> None:
    """List the shards and videos of OUTPUT that failed, with the reason; `run` tries them again."""
    from phoenix_ray.cluster.status import show_failures

    show_failures(output, traceback=traceback)


@cli.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    default=Path("sheet.png"),
    show_default=True,
    help="Picture to write, .png or .jpg.",
)
@click.option("--source", default="", help="Where the frames lie (default: where they lay when the run began).")
@click.option("--videos", default=2, show_default=True, help="Videos of each split.")
@click.option("--frames", default=5, show_default=True, help="Frames of each video, spread evenly.")
@click.option("--video", "only", multiple=True, metavar="ID", help="Show this video (or split/ID); may be repeated.")
@click.option("--around", type=click.IntRange(min=0), help="Show the frames around this one, side by side.")
def view(
    output: Path, sheet: Path, source: str, videos: int, frames: int, only: tuple[str, ...], around: int | None
) -> None:
    """Draw frames of the dataset in OUTPUT with their landmarks: a contact sheet."""
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.viewer.contact_sheet import write_contact_sheet

    check_report_path(sheet)
    write_contact_sheet(str(output), sheet, SourceSettings(path=source), videos, frames, only, around)
    click.echo(f"{sheet}")


@cli.command(cls=SettingsCommand)
@with_settings("output.path")
def compact(config: Path | None, words: tuple[str, ...], **switches: Any) -> None:
    """Merge the partitions of the dataset in OUTPUT into few large files (`run` does it at its end)."""
    from phoenix_ray.cluster.job import compact_job

    compact_job(read_settings(config, words, switches, "output.path"))


@cli.command(cls=SettingsCommand)
@with_settings(*_PLACES)
@click.option("--markdown", is_flag=True, help="Print the page docs/configuration.md.")
def config(config: Path | None, words: tuple[str, ...], markdown: bool, **switches: Any) -> None:
    """Print the effective settings, each with what it means; * marks what differs from the default."""
    from phoenix_ray.config_files import describe_settings, format_value, to_markdown

    settings = read_settings(config, words, switches, *_PLACES)
    if markdown:
        click.echo(to_markdown(settings), nl=False)
        return
    for key, value, default, text in describe_settings(settings):
        shown = printable_line(format_value(value))
        click.secho(f"{'*' if value != default else ' '} {key}: {shown}", bold=value != default)
        click.echo(click.wrap_text(text, 100, "      ", "      "))


cli.add_command(prepare)
cli.add_command(check)
cli.add_command(export)
cli.add_command(stats)
cli.add_command(verify)


@cli.group()
def models() -> None:
    """List models; install and check their weights."""


@models.command("list")
def models_list() -> None:
    """List the models and their engines."""
    from phoenix_ray.models import registry

    for info in registry.available():
        click.secho(info.name, bold=True)
        click.echo(click.wrap_text(info.description, 100, "  ", "  "))
        click.echo(f"  engines: {', '.join(info.engines) or 'none'}\n  layouts: {', '.join(info.layouts)}")


@models.command("install")
@click.option("--wheel", type=click.Path(path_type=Path), help="Take them from this mediapipe-0.10.21 wheel, offline.")
@click.option("--path", default="", help="Folder to install into (default: $PHOENIX_RAY_MODELS, else a cache folder).")
def models_install(wheel: Path | None, path: str) -> None:
    """Install the networks' weights out of the mediapipe 0.10.21 wheel that pip gets."""
    from phoenix_ray.models import weights

    click.echo(f"Weights are in {weights.install_weights(weights.weights_folder(path), wheel)}")


@models.command("check")
@click.option("--path", default="", help="Folder of the weights (default: $PHOENIX_RAY_MODELS, else a cache folder).")
def models_check(path: str) -> None:
    """Check each weight file against its sha256."""
    from phoenix_ray.models import weights

    folder = weights.weights_folder(path)
    statuses = weights.check_weights(folder)
    for one in statuses:
        click.echo(f"{one.state:8} {one.path}")
    if any(one.state != "ok" for one in statuses):
        raise ModelError(f"The weights in {folder} are not complete: `phoenix-ray models install` mends them.")


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point of `phoenix-ray` and of `python -m phoenix_ray.run`."""
    cli(args=list(words) if words is not None else None, prog_name="phoenix-ray")


if __name__ == "__main__":
    main()
