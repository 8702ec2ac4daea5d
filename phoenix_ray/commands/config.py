"""`phoenix-ray config`: prints the settings that a run with the same words would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from phoenix_ray.commands.settings import SOURCE_AND_OUTPUT, SettingsCommand, read_settings, with_settings
from phoenix_ray.text import printable_line


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
