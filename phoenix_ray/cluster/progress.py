"""Shows how far a run is: counters, the bar of a terminal, the lines of a log."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Literal, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from phoenix_ray.cluster.status import Status, format_seconds
from phoenix_ray.text import printable_line, without_secrets

# The rate is measured over about the last minute, so that it follows a cluster that grows or shrinks.
RATE_WINDOW_SECONDS = 60.0
Level = Literal["info", "warning", "error"]


class Meter:
    """Counts frames and measures their rate.

    Args:
        run_id: Names the run.
        frames_planned: Frames this run has to compute.
        frames_before: Frames that earlier runs had committed.
        clock: Seconds that only grow.
        share: The share of the videos that the run computes; empty for all.
    """

    def __init__(
        self,
        run_id: str,
        frames_planned: int,
        frames_before: int,
        clock: Callable[[], float] = time.monotonic,
        share: str = "",
    ) -> None:
        self._run_id = run_id
        self._planned = frames_planned
        self._before = frames_before
        self._share = share
        self._clock = clock
        self._done = 0
        self.failures = 0
        self.state = "starting"
        self.begin()

    def expect(self, frames: int) -> None:
        """Add frames that are to be computed beside those that were planned."""
        self._planned += frames
        self.state = "running"

    def begin(self) -> None:
        """Count time from now on; called when the first worker is ready."""
        self._began = self._last = self._clock()
        self._window: deque[tuple[float, int]] = deque([(self._began, 0)])

    @property
    def seconds(self) -> float:
        """Time from the beginning to the last frames that were committed."""
        return self._last - self._began

    def add(self, frames: int) -> None:
        """Add frames that were committed."""
        self._done += frames
        now = self._last = self._clock()
        self._window.append((now, self._done))
        while len(self._window) > 2 and now - self._window[1][0] > RATE_WINDOW_SECONDS:
            self._window.popleft()

    def status(
        self, waiting: int, in_flight: int, workers: int, wanted: int = 0, *, waits_for_nodes: bool = False
    ) -> Status:
        """Return the status at this moment."""
        now = self._clock()
        began, done_then = self._window[0]
        rate = (self._done - done_then) / (now - began) if now > began else 0.0
        left = (self._planned - self._done) / rate if rate and self._done < self._planned else None
        return Status(
            self._run_id,
            "waiting" if waits_for_nodes and self.state in ("starting", "running") else self.state,
            self._planned,
            self._done,
            self._before,
            waiting,
            in_flight,
            self.failures,
            workers,
            rate,
            left,
            now - self._began,
            time.time(),
            wanted,
            self._share,
        )


class Display(Protocol):
    """Shows the status of a run to a person."""

    def show(self, status: Status) -> None:
        """Show a status; called about twice a second."""

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Show a message that stays on the screen; a program reads its level and what kind of event it is about."""

    def close(self, status: Status) -> None:
        """Show the last status; called once, at the end."""


class LineDisplay:
    """Prints a plain line per interval: for logs, where control characters are noise."""

    def __init__(self, interval: float, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._stream = stream
        self._clock = clock
        self._last = clock()

    def show(self, status: Status) -> None:
        """Print a line when the interval is over."""
        if self._clock() - self._last >= self._interval:
            self._last = self._clock()
            self.say(status.line())

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:  # noqa: ARG002
        """Print a line now."""
        print(printable_line(message), file=self._stream, flush=True)

    def close(self, status: Status) -> None:
        """Print the last line, if the run had something to do."""
        if status.frames_planned:
            self.say(status.line())


class JsonDisplay:
    """Prints a JSON object per line, with `time`, `level`, `run` and `event`: for programs that collect logs."""

    def __init__(
        self, interval: float, stream: TextIO, run_id: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._stream = stream
        self._run_id = run_id
        self._clock = clock
        self._last = clock()

    def write(self, event: str, level: Level, fields: Mapping[str, object]) -> None:
        """Print an event with fields of its own."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": now, "level": level, "run": self._run_id, "event": event, **fields}
        print(json.dumps(line), file=self._stream, flush=True)

    def show(self, status: Status) -> None:
        """Print the event `progress` when the interval is over."""
        if self._clock() - self._last >= self._interval:
            self._last = self._clock()
            self.close(status)

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:
        """Print a message now."""
        self.write(event, level, {"message": without_secrets(message)})

    def close(self, status: Status) -> None:
        """Print the event `progress`: the fields of `status.json` but those about single shards."""
        fields = asdict(status)
        for name in ("run_id", "at_work", "latest"):
            del fields[name]
        self.write("progress", "info", fields)


class BarDisplay:
    """Draws a bar with rate, time left, workers and failures: for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]landmarks"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames  {task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("landmarks", total=None, detail="")

    def show(self, status: Status) -> None:
        """Move the bar."""
        self._bar.start()
        left = f"  {format_seconds(status.seconds_left)} left" if status.seconds_left is not None else ""
        failed = f"  [red]{status.failures} failed[/]" if status.failures else ""
        pace = f"{status.frames_per_second:,.1f}/s{left}  {status.workers} workers"
        detail = (status.wait() if status.state == "waiting" else pace) + failed
        self._bar.update(self._task, total=status.frames_planned, completed=status.frames_done, detail=detail)

    def say(self, message: str, level: Level = "info", event: str = "message") -> None:  # noqa: ARG002
        """Print above the bar."""
        self._console.print(printable_line(message), highlight=False, markup=False)

    def close(self, status: Status) -> None:
        """Leave the finished bar on the screen, if the run had something to do."""
        if status.frames_planned:
            self.show(status)
        self._bar.stop()


def say(message: str) -> None:
    """Print a line on standard error: for what is said while no display is open."""
    print(printable_line(message), file=sys.stderr, flush=True)
