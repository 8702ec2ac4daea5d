"""Progress in a notebook: a bar that updates in place, without a package beyond the notebook's own IPython.

`rich` draws bars in notebooks too, but needs ipywidgets for it, which not every front end shows.
"""

from __future__ import annotations

import html
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from phoenix_ray.cluster.progress import Level
from phoenix_ray.cluster.status import Status, format_seconds
from phoenix_ray.text import counted, printable_line

# Colours of text that is to be seen, by level.
_COLOURS = {"warning": "#b35900", "error": "#c00000"}


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keep Ray from asking for ipywidgets, in red, while a block imports it: nothing here needs them."""
    logger = logging.getLogger("ray.widgets.util")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    finally:
        logger.setLevel(level)


def say_in_notebook(message: str, level: Level = "info", event: str = "message") -> None:  # noqa: ARG001 - as displays
    """Print a line below the cell; standard error would have a red ground there."""
    if level in _COLOURS:
        _show(_Line(printable_line(message), _COLOURS[level]))
    else:
        print(printable_line(message), flush=True)


class NotebookDisplay:
    """Shows a bar with rate, time left, workers and failures in a cell's output, where it stays when the run is over.

    It is drawn when the run begins to compute, and each message is a line below it.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, status: Status) -> None:
        """Draw the bar, or move it."""
        bar = _Bar(status)
        if self._handle is None:
            self._handle = _show(bar, display_id=True)
        else:
            self._handle.update(bar)

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Print a line."""
        say_in_notebook(message, level, event)

    def close(self, status: Status) -> None:
        """Leave the finished bar in the output, if the run had something to do."""
        if status.frames_planned:
            self.show(status)


class _Bar:
    """A status as a bar of HTML, and as a line where a front end shows only text."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __repr__(self) -> str:
        return self._status.line()

    def _repr_html_(self) -> str:
        status = self._status
        parts = [f"{status.frames_done:,} of {status.frames_planned:,} frames"]
        if status.state == "waiting":
            parts.append(html.escape(status.wait()))
        else:
            parts.append(f"{status.frames_per_second:,.1f}/s")
            if status.seconds_left is not None and status.frames_done < status.frames_planned:
                parts.append(f"{format_seconds(status.seconds_left)} left")
            parts.append(counted(status.workers, "worker"))
        if status.failures:
            parts.append(f'<b style="color:{_COLOURS["error"]}">{status.failures:,} failed</b>')
        most = max(1, status.frames_planned)
        return (
            f'<progress style="width:20em" max="{most}" value="{min(status.frames_done, most)}"></progress> '
            f"landmarks: {', '.join(parts)}"
        )


class _Line:
    """A line of coloured text."""

    def __init__(self, text: str, colour: str) -> None:
        self._text = text
        self._colour = colour

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return f'<span style="color:{self._colour}">{html.escape(self._text)}</span>'


def _show(shown: object, **options: object) -> Any:
    # There wherever `is_notebook` is true.
    from IPython.display import display

    return display(shown, **options)
