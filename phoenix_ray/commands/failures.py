"""`phoenix-ray failures OUTPUT`: the failure list of a dataset, and its videos with frames that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from phoenix_ray.text import counted, printable_line, printable_text

if TYPE_CHECKING:
    from rich.console import Console

    from phoenix_ray.dataset.snapshot import UnreadableVideo


@click.command()
@click.argument("output")
@click.option("--traceback", is_flag=True, help="Also show where in the code it happened.")
def failures(output: str, traceback: bool) -> None:
    """List the shards and videos of OUTPUT that failed, with the reason; `run` tries them again."""
    print_failures(output, traceback=traceback)


def print_failures(output: str, *, traceback: bool) -> None:
    """Print the failure list, and the videos with frames that could not be read.

    Raises:
        OutputError: There is no dataset.
    """
    from rich.console import Console
    from rich.markup import escape

    from phoenix_ray.commands.status import count_committed, require_dataset
    from phoenix_ray.dataset.failures import read_failures
    from phoenix_ray.dataset.locations import open_storage

    storage = open_storage(output)
    require_dataset(storage)
    console = Console()
    listed = read_failures(storage)
    for failure in listed:
        frames = f" frames {failure.first}-{failure.last - 1}" if failure.last else ""
        console.print(
            f"[bold]{escape(printable_line(f'{failure.split}/{failure.video_id}'))}[/]{frames}  "
            f"{failure.failure_class}, {counted(failure.attempts, 'attempt')}",
            highlight=False,
        )
        console.print(f"  {printable_line(failure.message)}", highlight=False, markup=False, soft_wrap=True)
        if traceback and failure.traceback:
            console.print(printable_text(failure.traceback), highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{len(listed)} on the failure list; `phoenix-ray run` tries them again." if listed else "No failures."
    )
    committed = count_committed(storage)
    if committed and committed.unreadable:
        _print_unreadable(committed.unreadable, console)


def _print_unreadable(videos: Sequence[UnreadableVideo], console: Console) -> None:
    from rich.markup import escape

    console.print(f"\n{counted(len(videos), 'video')} partly unreadable:")
    for video in videos:
        named = escape(printable_line(f"{video.split}/{video.video_id}"))
        console.print(f"  [bold]{named}[/]  {video.unreadable:,} of {video.frames:,} frames", highlight=False)
    console.print(
        "Their rows have the status `unreadable`; the column `error` says why. When a video is replaced by a whole "
        "file, `phoenix-ray run` computes it again.",
        highlight=False,
        soft_wrap=True,
    )
