"""How far an export is: a bar on standard error where that is a terminal, nothing where it is a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(slots=True)
class ExportProgress:
    """Counts what is done.

    Attributes:
        show: Moves the bar by one video, given all frames so far.
        frames: Frames of the videos that are done.
    """

    show: Callable[[int], None]
    frames: int = 0

    def advance(self, frames: int) -> None:
        """Count a video of so many frames."""
        self.frames += frames
        self.show(self.frames)


@contextmanager
def export_progress(label: str, videos: int) -> Iterator[ExportProgress]:
    """Show a bar for as long as the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos, {task.fields[frames]:,} frames"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=videos, frames=0)
        yield ExportProgress(lambda frames: bar.update(task, advance=1, frames=frames))
