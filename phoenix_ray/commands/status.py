"""`phoenix-ray status OUTPUT`: how far a dataset is, seen from outside, during a run or after it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING

import click

from phoenix_ray.text import counted, printable_text

if TYPE_CHECKING:
    from phoenix_ray.cluster.run_status import RunStatus
    from phoenix_ray.dataset.snapshot import Extent, UnreadableVideo
    from phoenix_ray.dataset.storage import Storage

WATCH_SECONDS = 2.0
# Seconds between two snapshots where each is printed below the last, as in a log.
LINES_SECONDS = 10.0
# How long a watch waits for a run that may just be starting: importing Ray and listing a source come first.
START_SECONDS = 15.0
# What is committed is counted anew after this many times as long as counting took.
COUNT_PAUSE = 20.0


@click.command()
@click.argument("output")
@click.option("--watch", is_flag=True, help="Look again every two seconds until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print status.json of the latest run, or the sum of an array's.")
@click.option("--web", is_flag=True, help="Show it as a page in the browser, with pictures, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Page: address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Page: port (default: one that is free).")
@click.option("--no-frames", is_flag=True, help="Page: show skeletons only; no picture is read.")
@click.option("--no-open", is_flag=True, help="Page: do not open the browser.")
def status(
    output: str, watch: bool, as_json: bool, web: bool, host: str, port: int, no_frames: bool, no_open: bool
) -> None:
    """Show the progress of the dataset in OUTPUT."""
    if web:
        if watch or as_json:
            raise click.UsageError("--web is a page of its own: leave out --watch and --json.")
        serve_status(output, host, port, shows_frames=not no_frames, opens_browser=not no_open)
        return
    print_status(output, watch=watch, as_json=as_json)


def print_status(output: str, *, watch: bool, as_json: bool) -> None:
    """Print how far the dataset is; with `watch`, until its run ends.

    Raises:
        OutputError: There is no dataset.
    """
    from phoenix_ray.dataset.locations import open_storage

    storage = open_storage(output)
    if as_json:
        require_dataset(storage)
        print(json.dumps(_tree(storage), indent=2))
    elif watch:
        _watch(storage)
    else:
        require_dataset(storage)
        print(_text(take_snapshot(storage)))


def serve_status(output: str, host: str, port: int, *, shows_frames: bool, opens_browser: bool) -> None:
    """Serve the page of the run at work, or of the newest, until Ctrl-C; it may be opened before the run begins.

    Raises:
        ConfigError: The address or port cannot be listened on.
        OutputError: The dataset cannot be read.
    """
    from phoenix_ray.cluster.run_status import describe_runs, find_runs
    from phoenix_ray.commands.view import announcer
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.dataset.locations import open_storage
    from phoenix_ray.errors import OutputError
    from phoenix_ray.viewer.library import Library, ShownDataset
    from phoenix_ray.viewer.server import serve

    storage, library, opening = open_storage(output), Library([]), Lock()

    def look() -> dict[str, object]:
        # It cannot be opened before the run has recorded what it computes. Two pages may ask at once.
        with opening, suppress(OutputError):
            if not library.datasets:
                library.add(ShownDataset(output, SourceSettings() if shows_frames else None))
        snapshot = StatusSnapshot(storage.root, None, find_runs(storage))
        return describe_runs(snapshot.runs, time.time()) | {
            "root": storage.root,
            "has_dataset": bool(library.datasets),
            "remarks": [remark] if (remark := snapshot.next_step) else [],
            "failures_command": snapshot.failures_command,
        }

    look()
    serve(library, host, port, announcer(opens_browser=opens_browser), run_status=look, page="/run")


@dataclass(frozen=True, slots=True)
class Holdings:
    """How much a dataset holds, and which of its videos could not be read whole."""

    extent: Extent
    unreadable: Sequence[UnreadableVideo]


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """A dataset at one moment.

    Attributes:
        root: Its folder.
        holdings: What it holds; None before a run has committed anything.
        runs: The runs at work, and the newest that ended; of an array the newest of each share.
    """

    root: str
    holdings: Holdings | None
    runs: Sequence[RunStatus]

    @property
    def is_over(self) -> bool:
        """Whether no process is at work."""
        return not any(run.holder for run in self.runs)

    @property
    def state(self) -> str:
        """The state of the newest run, or of all runs of an array together; empty where there was none."""
        from phoenix_ray.cluster.run_status import combine

        if self._is_array:
            return whole.state if (whole := combine(self.runs)) else "starting"
        return self.runs[-1].state if self.runs else ""

    @property
    def _is_array(self) -> bool:
        return any(run.share for run in self.runs)

    @property
    def failures_command(self) -> str:
        """The command that lists what failed."""
        return f"phoenix-ray failures {shlex.quote(self.root)}"

    def lines(self) -> list[str]:
        """Return the snapshot as lines of text."""
        return [*self._holdings_lines(), *self._run_lines()]

    def _holdings_lines(self) -> list[str]:
        from phoenix_ray.dataset.snapshot import describe_unreadable

        if self.holdings is None or not self.holdings.extent.frames:
            return [f"{self.root}: nothing is committed yet"]
        extent, unreadable = self.holdings.extent, describe_unreadable(self.holdings.unreadable)
        loose = f" ({extent.open_frames:,} of them not merged into data files yet)" if extent.open_frames else ""
        lines = [f"{self.root}: {extent.frames:,} frames of {counted(extent.videos, 'video')} are committed{loose}"]
        return [*lines, f"{unreadable}; `{self.failures_command}` says more"] if unreadable else lines

    def _run_lines(self) -> list[str]:
        from phoenix_ray.cluster.run_status import array_lines

        now = time.time()
        if self._is_array:
            return [*array_lines(self.runs, now), *filter(None, [self.next_step])]
        lines: list[str] = []
        for run in self.runs:
            lines.append("; ".join(filter(None, [run.describe(now), self.next_step])))
            if run.latest:
                lines.append(run.latest.line())
        return lines

    @property
    def next_step(self) -> str:
        """What to do about a run that is over, empty where there is nothing to do."""
        the_same = "the same array" if self._is_array else "the same `phoenix-ray run`"
        match self.state if self.is_over else "":
            case "" | "finished":
                return ""
            case "incomplete":
                return f"`{self.failures_command}` says why, and {the_same} tries again"
            case _:
                return f"{the_same} goes on from there"


def take_snapshot(storage: Storage, holdings: Holdings | None = None) -> StatusSnapshot:
    """Return how a dataset is now; what it holds is counted unless it is given."""
    from phoenix_ray.cluster.run_status import find_runs

    return StatusSnapshot(storage.root, holdings or count_committed(storage), find_runs(storage))


def _watch(storage: Storage) -> None:
    """Show the dataset until no process is at work on it; where there is none at first, a run may just be starting."""
    give_up = time.monotonic() + START_SECONDS
    holdings, counted_at, pause = None, 0.0, 0.0
    with _open_screen() as show:
        while True:
            began = time.monotonic()
            if began >= counted_at + pause:
                holdings, counted_at = count_committed(storage), time.monotonic()
                pause = COUNT_PAUSE * (counted_at - began)
            snapshot = take_snapshot(storage, holdings)
            left = give_up - time.monotonic()
            waits = snapshot.is_over and left > 0 and snapshot.state != "finished"
            if snapshot.is_over and not waits:
                # The run may have committed more since that was counted.
                show(take_snapshot(storage), "")
                break
            show(snapshot, f"No run is at work here; waiting {max(1.0, left):.0f} s for one to start." if waits else "")
            if not waits:
                give_up = 0.0
            time.sleep(WATCH_SECONDS)
    require_dataset(storage)


@contextmanager
def _open_screen() -> Iterator[Callable[[StatusSnapshot, str], None]]:
    """Yield a function that shows a snapshot and a remark: in place on a terminal, else as lines when they are news."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda snapshot, remark: live.update(Text(_text(snapshot, remark)), refresh=True)
        return
    shown: tuple[object, ...] = ()
    shown_at = 0.0

    def show(snapshot: StatusSnapshot, remark: str) -> None:
        nonlocal shown, shown_at
        known = tuple((run.latest.run_id, run.latest.state) for run in snapshot.runs if run.latest)
        news = (known, snapshot.is_over, bool(remark))
        if news != shown or time.monotonic() - shown_at >= LINES_SECONDS:
            shown, shown_at = news, time.monotonic()
            print(_text(snapshot, remark), flush=True)

    yield show


def _text(snapshot: StatusSnapshot, remark: str = "") -> str:
    return printable_text("\n".join([*snapshot.lines(), *filter(None, [remark])]))


def require_dataset(storage: Storage) -> None:
    """Raise OutputError where there is neither a dataset nor a trace of a run that could have made one."""
    from phoenix_ray.cluster.run_status import status_files
    from phoenix_ray.dataset.array_lease import live_holders
    from phoenix_ray.dataset.identity import read_identity
    from phoenix_ray.dataset.lease import read_holder

    if read_holder(storage) is None and not live_holders(storage) and not status_files(storage):
        read_identity(storage)


def count_committed(storage: Storage) -> Holdings | None:
    """Return what is committed, None where no run has recorded the dataset's identity."""
    from phoenix_ray.dataset import paths
    from phoenix_ray.dataset.identity import read_identity
    from phoenix_ray.dataset.snapshot import measure_extent, unreadable_videos

    try:
        storage.read(paths.IDENTITY)
    except FileNotFoundError:
        return None
    identity = read_identity(storage)
    return Holdings(measure_extent(storage, identity), unreadable_videos(storage, identity))


def _tree(storage: Storage) -> dict[str, object]:
    """Return `status.json` of the newest run; of an array the sum, and in `shares` that of each run."""
    from phoenix_ray.cluster.run_status import combine, find_runs

    runs = find_runs(storage)
    latest = [run.latest for run in runs if run.latest]
    if any(run.share for run in runs):
        return (asdict(whole) if (whole := combine(runs)) else {}) | {"shares": [asdict(status) for status in latest]}
    return asdict(latest[-1]) if latest else {}
