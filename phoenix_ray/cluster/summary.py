"""How a run ended: `runs/<run id>/summary.json`, the tables on the screen, and the lines that say what to do next."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phoenix_ray import __version__
from phoenix_ray.cluster.array import ArrayState
from phoenix_ray.cluster.plan import Plan
from phoenix_ray.cluster.status import format_seconds
from phoenix_ray.cluster.worker import Timings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.shards import CommittedFrames
from phoenix_ray.dataset.snapshot import UnreadableVideo, describe_unreadable
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.tally import Tally, total
from phoenix_ray.layouts import Layout
from phoenix_ray.models.provenance import describe_mixture
from phoenix_ray.text import counted, printable_line

# Shards of a plan up to which the videos that are left are counted at the end; a million would take half a minute.
COUNTED_SHARDS = 50_000


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in numbers.

    Attributes:
        run_id: Names the run.
        state: `finished`, `incomplete` (some shards failed) or `stopped`.
        output: The dataset's folder.
        seconds: Wall time, Ray's start and compaction included.
        compute_seconds: Wall time from the first worker that was ready to the last commit.
        frames_computed: Frames that this run committed.
        workers: Actors that were asked for.
        failures: Shards and videos that this run put on the failure list.
        timings: Seconds of all actors together.
        peak_memory_mb: Largest resident size of an actor.
        digest: Landmark digest of the whole dataset: equal datasets have equal digests.
        splits: Counts over all rows of each split.
        versions: Versions of Python and of the packages that compute.
        share: The share of the videos that the run computed; empty for all. The other numbers of the run are of this
            share, `digest` and `splits` are of what the dataset held when the run ended.
        videos_missing: Videos of all shares that lacked frames or could not be opened when the run ended; None where
            the run had all videos, or was stopped.
        nodes: Node → seconds of its actors; they add up to `timings`.
    """

    run_id: str
    state: str
    output: str
    seconds: float
    compute_seconds: float
    frames_computed: int
    workers: int
    failures: int
    timings: Timings
    peak_memory_mb: float
    digest: str
    splits: Mapping[str, Tally]
    versions: Mapping[str, str]
    share: str = ""
    videos_missing: int | None = None
    nodes: Mapping[str, Timings] = field(default_factory=dict)

    @property
    def frames_per_second(self) -> float:
        """Frames computed per second of `compute_seconds`."""
        return self.frames_computed / self.compute_seconds if self.compute_seconds else 0.0

    def write(self, storage: Storage) -> None:
        """Write the run's `summary.json`.

        Raises:
            OutputError: It cannot be written.
        """
        storage.write(f"{paths.RUNS}/{self.run_id}/summary.json", json.dumps(self.tree(), indent=2).encode())

    def tree(self) -> dict[str, object]:
        """Return the content of `summary.json`."""
        return asdict(self) | {
            "frames_per_second": self.frames_per_second,
            "splits": {split: tally.to_json() for split, tally in self.splits.items()},
        }

    def speed(self) -> str:
        """Return how many frames were computed, in which time, and how fast, in a line."""
        return (
            f"{counted(self.frames_computed, 'frame')} computed in {format_seconds(self.compute_seconds)} by "
            f"{counted(self.workers, 'worker')}: {self.frames_per_second:,.1f} frames/s"
        )

    def advice(self) -> str:
        """Return where the workers' time went, and what would make the run faster."""
        spent = self.timings
        shares = {name: seconds / spent.total for name, seconds in asdict(spent).items()}
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        match max(shares, key=lambda name: shares[name]):
            case "decode":
                advice = (
                    "Decoding is the limit: raise decode.threads and cluster.cpus_per_worker, or use faster storage."
                )
            case "write":
                advice = "Writing is the limit: the output's storage is slow."
            case "idle":
                advice = "Workers waited for work: there were more of them than shards to keep them busy."
            case _:
                advice = "Inference is the limit, as it should be: more workers are faster, as long as all have shards."
        return f"Workers' time: {listed}. {advice}"


@dataclass(frozen=True, slots=True)
class RateTable:
    """How often each part was found, by split: what a run shows at its end.

    Attributes:
        title: The title.
        header: Names of the columns; the first is the split.
        rows: Their texts, a row for each split, and a last one for all of them where there are several.
        has_total: Whether the last row is the sum of the others.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    has_total: bool


def make_rate_table(summary: RunSummary, layout: Layout) -> RateTable:
    """Return the detection rates of a dataset, and its frames without a person or without a row of landmarks."""
    parts = [part.name for part in layout.parts if part.scored]
    everything = total(summary.splits.values())
    troubles = [status for status in ("no_person", "unreadable", "failed") if everything.statuses.get(status)]
    has_total = len(summary.splits) > 1
    rows = []
    for split, tally in [*summary.splits.items(), *([("all", everything)] if has_total else [])]:
        rates = (f"{tally.rate(part):.1%}" for part in parts)
        counts = (f"{tally.statuses.get(status, 0):,}" for status in troubles)
        rows.append((printable_line(split), f"{tally.rows:,}", *rates, *counts))
    names = (name.replace("_", " ") for name in ("frames", *parts, *troubles))
    return RateTable(f"Frames with each part found{_so_far(summary)}", ("split", *names), tuple(rows), has_total)


def _so_far(summary: RunSummary) -> str:
    """Return what the numbers of a dataset are followed by while shares of it are missing."""
    is_part = summary.videos_missing or (summary.share and summary.state == "stopped")
    return ", of all shares so far" if is_part else ""


def print_summary(summary: RunSummary, layout: Layout, console: Console) -> None:
    """Print what the dataset holds, and how fast the run was."""
    rates = make_rate_table(summary, layout)
    table = Table(title=rates.title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(rates.header):
        table.add_column(name, justify="right" if number else "left")
    for number, row in enumerate(rates.rows, 1):
        style = "bold" if rates.has_total and number == len(rates.rows) else ""
        table.add_row(*map(escape, row), style=style)
    if rates.rows:
        console.print(table)
        console.print(f"Landmark digest {summary.digest}{_so_far(summary)}", highlight=False, soft_wrap=True)
        for line in describe_mixture(total(summary.splits.values()).kernels):
            console.print(escape(line), highlight=False, soft_wrap=True)
    if not summary.frames_computed:
        return
    speed = f"{summary.speed()} ({format_seconds(summary.seconds)} in all; {summary.peak_memory_mb:,.0f} MB a worker"
    console.print(f"{speed} at most).", highlight=False, soft_wrap=True)
    console.print(summary.advice(), highlight=False, soft_wrap=True)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute, as installed where the driver runs."""
    packages = {}
    for name in ("ray", "numpy", "pyarrow", "opencv-python-headless", "ai-edge-litert", "av", "torch", "mediapipe"):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {"phoenix-ray": __version__, "python": platform.python_version(), **packages}


@dataclass(frozen=True, slots=True)
class Remainder:
    """What a run was to compute and did not.

    Attributes:
        frames: Frames that are missing.
        frames_planned: Frames of all videos of the plan, those that were committed before included.
        videos: Videos that lack frames; None where they were not counted.
        videos_planned: Videos of the plan.
        unplanned: Videos that cannot be opened at all.
    """

    frames: int
    frames_planned: int
    videos: int | None
    videos_planned: int
    unplanned: int

    def __str__(self) -> str:
        parts = []
        if self.frames:
            frames = f"{self.frames:,} of {self.frames_planned:,} frames"
            if self.videos is not None:
                frames += f", in {self.videos:,} of {counted(self.videos_planned, 'video')}"
            parts.append(frames)
        if self.unplanned:
            parts.append(f"{counted(self.unplanned, 'video')} that cannot be used")
        return " and ".join(parts) or "nothing"


def count_remainder(plan: Plan, committed: CommittedFrames | None, frames_done: int) -> Remainder:
    """Return what is left of a plan; `committed` is None where it is not known what the dataset holds now."""
    whole = plan.total
    # Frames that got lost and were computed again count twice among those done.
    frames = max(0, plan.missing_frames - frames_done)
    videos: int | None = None
    if not frames:
        videos = 0
    elif committed is not None and len(plan.shards) <= COUNTED_SHARDS:
        listed = {(shard.video.split, shard.video.video_id): shard.video for shard in plan.shards}
        videos = sum(bool(committed.missing_ranges(video)) for video in listed.values())
    return Remainder(frames, whole.frames, videos, whole.videos, len(plan.problems))


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended, where the dataset is, what is left to compute, and what to type next.

    Attributes:
        state: `finished`, `incomplete`, `stopped` or `failed`.
        output: The dataset's folder.
        left: What is left; None where the run ended before it knew.
        failures: Shards and videos that it put on the failure list.
        unreadable: Videos of the dataset with frames that could not be read.
        words: What was typed after `phoenix-ray`; empty where nothing was typed.
        array: How far all shares are, where the run has done its own; None for a run over all videos.
        in_python: Whether a call of `phoenix_ray.extract` started the run, so that it is not a command that goes on.
    """

    state: str
    output: str
    left: Remainder | None = None
    failures: int = 0
    unreadable: Sequence[UnreadableVideo] = field(default_factory=tuple)
    words: Sequence[str] = ()
    array: ArrayState | None = None
    in_python: bool = False

    def lines(self) -> list[str]:
        """Return the last lines of the run."""
        lines = [self._state()]
        if self.array is not None:
            lines.append(f"Dataset: {self.array}")
        if self.left is not None and self.state != "finished":
            only_merge = self.state == "stopped" and not self.left.frames
            lines.append("Left:   to merge the rows into data files" if only_merge else f"Left:   {self.left}")
        if self.unreadable:
            failures = f"phoenix-ray failures {shlex.quote(self.output)}"
            lines.append(f"Note:   {describe_unreadable(self.unreadable)}; `{failures}` says more")
        lines.append(f"Output: {self.output}")
        return [*lines, *self._next()]

    def _state(self) -> str:
        match self.state:
            case "finished" if self.array is not None:
                return f"Finished share {self.array.share}: every frame of its videos has its row."
            case "finished":
                return "Finished: every frame has its row."
            case "incomplete":
                return f"Finished, but {counted(self.failures, 'failure')}: not every frame has its row."
            case "stopped" if self.left is None:
                return "Stopped before this run computed anything; what was committed before is kept."
            case "stopped":
                return "Stopped before the end; what is committed is kept."
            case _ if self.left is None:
                return "Failed before this run computed anything; what was committed before is kept."
            case _:
                return "Failed; what is committed is kept."

    def _next(self) -> list[str]:
        output = shlex.quote(self.output)
        again = shlex.join(["phoenix-ray", *(word for word in self.words if word != "--force")])
        the_same = "the same call" if self.in_python else again if self.words else "the same command"
        match self.state:
            case "finished" if self.array is not None and self.array.missing:
                if self.array.failed == self.array.missing:
                    return [f"Next:   phoenix-ray failures {output}   # says why; the same shares again try again"]
                return [f"Next:   phoenix-ray status {output}   # says how far the other shares are"]
            case "finished" if self.in_python:
                return [f"Next:   phoenix_ray.open({self.output!r})"]
            case "finished":
                return [f"Next:   phoenix-ray view {output}"]
            case "incomplete":
                why = "the attribute failures" if self.in_python else f"phoenix-ray failures {output}"
                return [
                    f"Next:   {why}   # says why",
                    f"Then:   {the_same}   # tries them again",
                ]
            case "stopped":
                return [f"Next:   {the_same}   # goes on from here"]
            case _:
                return [f"Next:   {the_same}   # goes on, once the cause of the error is fixed"]
