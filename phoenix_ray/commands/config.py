"""`phoenix-ray config`, and the words of a command line that become settings: SOURCE, OUTPUT, `section.key=value`.

`run`, `plan` and `compact` share these words with `config`, which prints the settings that a run with the same words
would have. Other commands check here the files that they write beside what they print.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.text import printable_line

if TYPE_CHECKING:
    from phoenix_ray.config import Settings


Command = TypeVar("Command", bound=Callable[..., Any])

# Settings that words without `=` stand for, in this order.
SOURCE_AND_OUTPUT = ("source.path", "output.path")
# Switches and the settings they stand for.
_SWITCHES: tuple[tuple[str, str, Any, str], ...] = (
    ("--source", "source.path", str, "Folder, table or URI of the videos; the same as SOURCE."),
    ("--output", "output.path", str, "Folder or URI of the dataset; the same as OUTPUT."),
    (
        "--num-gpus",
        "cluster.num_gpus",
        int,
        "GPUs to use in the whole cluster (default: all, if the engine uses them).",
    ),
    ("--workers-per-gpu", "cluster.workers_per_gpu", int, "Actors that share a GPU; 2 reserves half a GPU for each."),
    ("--num-workers", "cluster.num_workers", int, "Actors in all (default: one per GPU share, otherwise one per CPU)."),
    ("--splits", "source.splits", str, "Only these splits, separated by commas: train,dev."),
    ("--max-videos-per-split", "source.max_videos_per_split", int, "Only the first videos of each split, for a trial."),
    ("--limit-frames", "source.limit_frames", int, "Only the first frames of each video, for a trial of its own."),
    ("--batch-size", "model.batch_size", int, "Frames handed to the model at once."),
    ("--max-failures", "run.max_failures", int, "Stop after this many failed shards (default: never)."),
)


class SettingsCommand(click.Command):
    """A command with settings, which answers an unknown option with the setting of that name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words.

        Raises:
            ConfigError: An option is unknown, and there is a setting of this name.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            key = _setting_named(error.option_name)
            if key is None:
                raise
            raise ConfigError(
                f"There is no option '{error.option_name}'; the setting is written {key}=VALUE."
            ) from None


def with_settings(*places: str) -> Callable[[Command], Command]:
    """Give a command `--config`, switches, places and `section.key=value` words; read them with `read_settings`.

    Args:
        places: Settings that a word without `=` stands for, in the order of the words.
    """
    shown = " ".join(f"[{place.partition('.')[0].upper()}]" for place in places)

    def decorate(command: Command) -> Command:
        command = click.argument("words", nargs=-1, metavar=f"{shown} [SECTION.KEY=VALUE]...")(command)
        for flag, key, kind, text in reversed(_SWITCHES):
            command = click.option(flag, key.replace(".", "__"), type=kind, help=f"{text}  [{key}]")(command)
        return click.option(
            "--config",
            "-c",
            type=LocalPath(),
            help="YAML file of settings; a name alone (phoenix, demo, …) means one that comes with the package.",
        )(command)

    return decorate


def read_settings(config: Path | None, words: Sequence[str], switches: dict[str, Any], *places: str) -> Settings:
    """Return the settings that a command line gives.

    Args:
        config: The value of `--config`.
        words: `section.key=value` words and those that stand for `places`, in any order.
        switches: Values of the switches, by the names that `with_settings` gives them.
        places: As for `with_settings`.

    Raises:
        ConfigError: A setting is unknown, given twice or of the wrong type, or there are more words than places.
    """
    from phoenix_ray.config_files import find_config, load

    given: dict[str, Any] = {name.replace("__", "."): value for name, value in switches.items() if value is not None}
    if "source.splits" in given:
        given["source.splits"] = [split.strip() for split in given["source.splits"].split(",")]
    overrides = [word for word in words if _is_setting(word)]
    placed = [word for word in words if not _is_setting(word)]
    if len(placed) > len(places):
        expected = " and ".join(place.partition(".")[0].upper() for place in places)
        raise ConfigError(
            f"'{placed[len(places)]}' is one word too many: {expected} come first, and every other setting is "
            "written section.key=value."
        )
    for place, word in zip(places, placed, strict=False):
        _refuse_bare_key(word)
        if place in given or any(override.partition("=")[0] == place for override in overrides):
            raise ConfigError(
                f"'{word}' stands for {place}, which is given too: leave one of them out, or name both "
                "(--source, --output)."
            )
        given[place] = word
    return load(find_config(config) if config else None, overrides, given)


def require_places(settings: Settings, command: str) -> None:
    """Refuse settings that lack a source or an output.

    Raises:
        ConfigError: The source or the output is missing; the message has the words to type after `command`.
    """
    usage = f"`phoenix-ray {command} SOURCE OUTPUT`"
    if not settings.source.path and settings.source.kind not in ("sample", "synthetic"):
        raise ConfigError(f"No source is given (source.path): {usage}, or source.kind=sample for the demo.")
    if not settings.output.path:
        raise ConfigError(f"No folder for the dataset is given (output.path): {usage}.")


def _is_setting(word: str) -> bool:
    """Return whether a word is meant as `section.key=value`: a path that holds `=` has a slash before it."""
    key, separator, _ = word.partition("=")
    return bool(separator) and "/" not in key


def _refuse_bare_key(word: str) -> None:
    if word in _known_settings():
        raise ConfigError(f"'{word}' is a setting without its value: write {word}=VALUE.")


def _setting_named(option: str) -> str | None:
    """Return the setting that an option like `--engine` or `--source.kind` means, None where that is not clear."""
    name = option.lstrip("-").replace("-", "_")
    known = _known_settings()
    if name in known:
        return name
    alike = [key for key in known if key.partition(".")[2] == name]
    return alike[0] if len(alike) == 1 else None


def _known_settings() -> list[str]:
    from phoenix_ray.config import Settings
    from phoenix_ray.config_files import describe_settings

    return [key for key, *_ in describe_settings(Settings())]


class LocalPath(click.Path):
    """A path of this machine as a parameter of a command; a URI would make a folder called `s3:`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path`; end with a usage error for a URI."""
        if "://" in str(value):
            self.fail(f"'{value}' is a URI: give a path of this machine, and copy what is written there.", param, ctx)
        return super().convert(value, param, ctx)


def frame_size_option(command: Command) -> Command:
    """Give a command the option `--frame-size`, for landmarks whose files do not say it (`exports.openpose_import`)."""

    def convert(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
        from phoenix_ray.exports.openpose_import import parse_frame_size

        if value is None:
            return None
        try:
            return parse_frame_size(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    decorate: Callable[[Command], Command] = click.option(
        "--frame-size",
        metavar="WIDTHxHEIGHT",
        callback=convert,
        help="Size of the pictures in pixels, 210x260: OpenPose's files do not say it.",
    )
    return decorate(command)


def check_report_path(path: Path) -> None:
    """Refuse to write a file or folder inside a dataset, where it could replace a file of the dataset.

    Raises:
        OutputError: The path is a dataset, or lies in one.
    """
    from phoenix_ray.dataset.paths import enclosing_dataset

    if dataset := enclosing_dataset(path):
        raise OutputError(f"{path} lies in the dataset {dataset}: give a name outside of it.")


def write_report(file: Path, text: str) -> None:
    """Write a report as UTF-8, with the folders that it needs.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error}") from None


@click.command(cls=SettingsCommand)
@with_settings(*SOURCE_AND_OUTPUT)
@click.option("--markdown", is_flag=True, help="Print the page docs/configuration.md.")
def config(config: Path | None, words: tuple[str, ...], markdown: bool, **switches: Any) -> None:
    """Print the effective settings, each with what it means; * marks what differs from the default."""
    from phoenix_ray.config_files import describe_settings, format_value, to_markdown

    settings = read_settings(config, words, switches, *SOURCE_AND_OUTPUT)
    if markdown:
        click.echo(to_markdown(settings), nl=False)
        return
    for key, value, default, text in describe_settings(settings):
        shown = printable_line(format_value(value))
        click.secho(f"{'*' if value != default else ' '} {key}: {shown}", bold=value != default)
        click.echo(click.wrap_text(text, 100, "      ", "      "))
