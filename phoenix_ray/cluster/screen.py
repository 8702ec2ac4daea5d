"""Where a run shows what it does: a terminal or log, JSON lines, the output of a notebook's cell, or nowhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from phoenix_ray.cluster.notebook import NotebookDisplay, say_in_notebook
from phoenix_ray.cluster.progress import BarDisplay, Display, JsonDisplay, Level, LineDisplay, say
from phoenix_ray.cluster.status import Status

ScreenKind = Literal["text", "json", "notebook", "none"]


@dataclass(frozen=True, slots=True)
class Screen:
    """Shows lines, and opens the display of a run's progress.

    Attributes:
        kind: `text` for a terminal or a log, `json` for programs, `notebook` for a cell's output, `none` shows nothing.
        run_id: Names the run in JSON lines; empty before there is one.
    """

    kind: ScreenKind
    run_id: str = ""

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Show a line while no display is open."""
        match self.kind:
            case "text":
                say(message)
            case "json":
                JsonDisplay(0.0, sys.stderr, self.run_id).say(message, level, event)
            case "notebook":
                say_in_notebook(message, level, event)

    def open_display(self, interval: float) -> Display:
        """Return what shows progress; a log gets a line every `interval` seconds, a terminal a bar."""
        match self.kind:
            case "json":
                return JsonDisplay(interval, sys.stderr, self.run_id)
            case "notebook":
                return NotebookDisplay()
            case "none":
                return NoDisplay()
        console = Console(stderr=True)
        return BarDisplay(console) if console.is_terminal else LineDisplay(interval, sys.stderr)


class NoDisplay:
    """Shows nothing: what a run says is in its `log` all the same."""

    def show(self, status: Status) -> None:
        """Show nothing."""

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Show nothing."""

    def close(self, status: Status) -> None:
        """Show nothing."""
