"""`phoenix-ray status` and `phoenix-ray failures`: a dataset looked at from outside, during a run or after it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from phoenix_ray.cluster.progress import ENDED, Status, format_seconds
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import read_failures
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.lease import LeaseHolder, is_alive, read_holder
from phoenix_ray.dataset.snapshot import Extent, UnreadableVideo, describe_unreadable, measure_extent, unreadable_videos
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import printable_line, printable_text

WATCH_SECONDS = 2.0
# Where each look is not drawn over the last one, as in a log.
LINES_SECONDS = 10.0
# How long a watch waits for a run that may just be starting: importing Ray and listing a source come first.
START_SECONDS = 15.0
# A run at work says something more often than this.
SILENT_SECONDS = 60.0
# What is committed is counted anew after so many times as long as counting took.
COUNT_PAUSE = 20.0


@dataclass(frozen=True, slots=True)
class Committed:
    """What a dataset holds: how much, and which of its videos could not be read whole."""

    extent: Extent
    unreadable: Sequence[UnreadableVideo]


@dataclass(frozen=True, slots=True)
class Look:
    """A dataset at one moment.

    Attributes:
        root: Its folder.
        committed: What it holds; None before a run has committed anything.
        latest: The last `status.json` of its newest run; None where there was none.
        holder: Who is at work on it; None when nobody is.
    """

    root: str
    committed: Committed | None
    latest: Status | None
    holder: LeaseHolder | None

    @property
    def is_over(self) -> bool:
        """Whether nobody is at work."""
        return self.holder is None

    @property
    def _failures(self) -> str:
        return f"phoenix-ray failures {shlex.quote(self.root)}"

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        return [*self._committed_lines(), *self._run_lines()]

    def _committed_lines(self) -> list[str]:
        if self.committed is None or not self.committed.extent.frames:
            return [f"{self.root}: nothing is committed yet"]
        extent, unreadable = self.committed.extent, describe_unreadable(self.committed.unreadable)
        loose = f" ({extent.open_frames:,} of them not merged into data files yet)" if extent.open_frames else ""
        videos = f"{extent.videos:,} video{'s' * (extent.videos != 1)}"
        lines = [f"{self.root}: {extent.frames:,} frames of {videos} are committed{loose}"]
        return [*lines, f"{unreadable}; `{self._failures}` says more"] if unreadable else lines

    def _run_lines(self) -> list[str]:
        run, now = self.latest, time.time()
        if self.holder is not None and (run is None or run.run_id != self.holder.run_id):
            since = format_seconds(max(0.0, now - self.holder.since))
            where = f"on {self.holder.host} (process {self.holder.pid}), {since} so far"
            work = self.holder.run_id.partition("-")[0]
            if not work.isdigit():
                return [f"{work}: at work {where}"]
            return [f"run {self.holder.run_id}: starting {where}"]
        if run is None:
            return []
        age = max(0.0, now - run.updated)
        if self.holder is not None:
            silent = f" (silent for {format_seconds(age)})" if age > SILENT_SECONDS else ""
            return [f"run {run.run_id}: {run.state}{silent}", run.line()]
        state = run.state if run.state in ENDED else f"gone without a word while {run.state}, last seen"
        match run.state:
            case "finished":
                next_step = ""
            case "incomplete":
                next_step = f"; `{self._failures}` says why, and the same `phoenix-ray run` tries again"
            case _:
                next_step = "; the same `phoenix-ray run` goes on from there"
        return [f"run {run.run_id}: {state} {format_seconds(age)} ago{next_step}", run.line()]


def show_status(output: Path, *, watch: bool, as_json: bool) -> None:
    """Print how far the dataset is; with `watch`, until its run ends.

    Raises:
        OutputError: There is no dataset.
    """
    storage = open_storage(str(output))
    if as_json:
        _refuse_nothing(storage)
        latest = _latest(storage)
        print(json.dumps(asdict(latest) if latest else {}, indent=2))
    elif watch:
        _watch(storage)
    else:
        _refuse_nothing(storage)
        print(_text(take_look(storage)))


def show_failures(output: Path, *, traceback: bool) -> None:
    """Print the failure list, and the videos with frames that could not be read.

    Raises:
        OutputError: There is no dataset.
    """
    storage = open_storage(str(output))
    _refuse_nothing(storage)
    console = Console()
    failures = read_failures(storage)
    for failure in failures:
        frames = f" frames {failure.first}-{failure.last - 1}" if failure.last else ""
        times = f"{failure.attempts} attempt{'s' * (failure.attempts != 1)}"
        console.print(
            f"[bold]{escape(printable_line(f'{failure.split}/{failure.video_id}'))}[/]{frames}  "
            f"{failure.failure_class}, {times}",
            highlight=False,
        )
        console.print(f"  {printable_line(failure.message)}", highlight=False, markup=False, soft_wrap=True)
        if traceback and failure.traceback:
            console.print(printable_text(failure.traceback), highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{len(failures)} on the failure list; `phoenix-ray run` tries them again." if failures else "No failures."
    )
    committed = _count(storage)
    _show_unreadable(committed.unreadable if committed else (), console)


def take_look(storage: Storage, committed: Committed | None = None) -> Look:
    """Return how a dataset is now.

    Args:
        storage: The dataset.
        committed: What it holds, where that is known; counted otherwise.
    """
    holder = read_holder(storage)
    return Look(
        storage.root,
        committed or _count(storage),
        _latest(storage),
        holder if holder is not None and is_alive(holder, time.time()) else None,
    )


def _watch(storage: Storage) -> None:
    """Show the dataset until nobody is at work on it; where nobody is at first, a run may just be starting."""
    patience = time.monotonic() + START_SECONDS
    committed, counted, pause = None, 0.0, 0.0
    with _open_screen() as show:
        while True:
            began = time.monotonic()
            if began >= counted + pause:
                committed, counted = _count(storage), time.monotonic()
                pause = COUNT_PAUSE * (counted - began)
            look = take_look(storage, committed)
            left = patience - time.monotonic()
            waits = look.is_over and left > 0 and not (look.latest and look.latest.state == "finished")
            if look.is_over and not waits:
                # It may have committed more since that was counted.
                show(take_look(storage), "")
                break
            show(look, f"No run is at work here; waiting {max(1.0, left):.0f} s for one to start." if waits else "")
            if not waits:
                patience = 0.0
            time.sleep(WATCH_SECONDS)
    _refuse_nothing(storage)


@contextmanager
def _open_screen() -> Iterator[Callable[[Look, str], None]]:
    """Give what shows a look and a remark: in place on a terminal, else as lines when they are news."""
    console = Console()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda look, remark: live.update(Text(_text(look, remark)), refresh=True)
        return
    shown: tuple[object, ...] = ()
    shown_at = 0.0

    def show(look: Look, remark: str) -> None:
        nonlocal shown, shown_at
        news = (look.latest and (look.latest.run_id, look.latest.state), look.is_over, bool(remark))
        if news != shown or time.monotonic() - shown_at >= LINES_SECONDS:
            shown, shown_at = news, time.monotonic()
            print(_text(look, remark), flush=True)

    yield show


def _text(look: Look, remark: str = "") -> str:
    return printable_text("\n".join([*look.lines(), *filter(None, [remark])]))


def _refuse_nothing(storage: Storage) -> None:
    """Raise what `read_identity` raises where there is neither a dataset nor a run that could have made one."""
    if read_holder(storage) is None and not _status_files(storage):
        read_identity(storage)


def _count(storage: Storage) -> Committed | None:
    """Return what is committed, None where no run has recorded what the dataset is."""
    identity = _identity(storage)
    if identity is None:
        return None
    extent = measure_extent(storage, identity)
    return Committed(extent, unreadable_videos(storage, identity))


def _identity(storage: Storage) -> DatasetIdentity | None:
    try:
        storage.read(paths.IDENTITY)
    except FileNotFoundError:
        return None
    return read_identity(storage)


def _show_unreadable(videos: Sequence[UnreadableVideo], console: Console) -> None:
    if not videos:
        return
    console.print(f"\n{len(videos):,} video{'s' * (len(videos) != 1)} partly unreadable:")
    for video in videos:
        named = escape(printable_line(f"{video.split}/{video.video_id}"))
        console.print(f"  [bold]{named}[/]  {video.unreadable:,} of {video.frames:,} frames", highlight=False)
    console.print(
        "Their rows have the status `unreadable`; the column `error` says why. A video that is replaced by a whole one "
        "is computed again by `phoenix-ray run`.",
        highlight=False,
        soft_wrap=True,
    )


def _status_files(storage: Storage) -> list[str]:
    return sorted(file.name for file in storage.list(paths.RUNS) if file.name.endswith("/status.json"))


def _latest(storage: Storage) -> Status | None:
    """Return `status.json` of the newest run, None where there was none."""
    names = _status_files(storage)
    if not names:
        return None
    try:
        return Status(**json.loads(storage.read(names[-1])))
    except (ValueError, TypeError) as error:
        raise OutputError(f"{storage.root}/{names[-1]} is damaged: {error}. Delete it.") from None
