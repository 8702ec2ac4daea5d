"""The command line `phoenix-ray <command>`: each command is a file in `phoenix_ray.commands`.

Every heavy import waits inside its command, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from phoenix_ray import __version__
from phoenix_ray.commands.check import check
from phoenix_ray.commands.compact import compact
from phoenix_ray.commands.compare import compare_command
from phoenix_ray.commands.config import config
from phoenix_ray.commands.drop import drop
from phoenix_ray.commands.export import export
from phoenix_ray.commands.failures import failures
from phoenix_ray.commands.models import models
from phoenix_ray.commands.plan import plan
from phoenix_ray.commands.prepare import prepare
from phoenix_ray.commands.report import report
from phoenix_ray.commands.run import run
from phoenix_ray.commands.stats import stats
from phoenix_ray.commands.status import status
from phoenix_ray.commands.verify import verify
from phoenix_ray.commands.view import view
from phoenix_ray.errors import EXIT_INTERRUPTED, MissingPackagesError, PhoenixRayError
from phoenix_ray.installation import missing_packages
from phoenix_ray.text import printable_line, printable_text


class _Group(click.Group):
    """A group whose commands end with the documented exit codes instead of tracebacks."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words in the context: a run says later which words to type again."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PhoenixRayError as error:
            _end_with(error)
        except ModuleNotFoundError as error:
            if message := missing_packages(error):
                _end_with(MissingPackagesError(message))
            raise
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            sys.exit(EXIT_INTERRUPTED)


def _end_with(error: PhoenixRayError) -> NoReturn:
    click.echo(f"error: {printable_text(error)}", err=True)
    for line in error.closing_lines:
        click.echo(printable_line(line), err=True)
    sys.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="phoenix-ray")
def cli() -> None:
    """Sign-language videos to landmarks, on a Ray cluster.

    \b
    phoenix-ray run /data/PHOENIX-2014-T /data/landmarks
    phoenix-ray status /data/landmarks --watch

    To finish a run that was stopped for any reason, run the same command again.
    """


COMMANDS = (
    *(run, plan, status, failures, view, compact, check, drop),
    *(export, prepare, stats, report, verify, compare_command, models, config),
)
for command in COMMANDS:
    cli.add_command(command)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point of `phoenix-ray` and of `python -m phoenix_ray.run`."""
    cli(args=list(words) if words is not None else None, prog_name="phoenix-ray")


if __name__ == "__main__":
    main()
