"""What a run leaves to be read: `runs/<run id>/summary.json`, and the tables it ends with on the screen."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phoenix_ray import __version__
from phoenix_ray.cluster.progress import format_seconds
from phoenix_ray.cluster.worker import Timings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.tally import Tally, total
from phoenix_ray.landmarks import Layout
from phoenix_ray.models.provenance import describe_mixture
from phoenix_ray.text import printable_line


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in numbers.

    Attributes:
        run_id: Names the run.
        state: `finished`, `incomplete` (some shards failed) or `stopped`.
        output: The dataset's folder.
        seconds: Wall time, Ray's start and compaction included.
        compute_seconds: Wall time from the first shard handed out to the last committed.
        frames_computed: Frames this run committed.
        workers: Actors at most.
        failures: Shards and videos on the dataset's failure list.
        timings: Seconds of all actors together.
        peak_memory_mb: Largest resident size of an actor.
        digest: Landmark digest of the whole dataset: equal datasets have equal digests.
        splits: Counts over all rows of each split.
        versions: Of what computed.
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

    @property
    def frames_per_second(self) -> float:
        """Frames computed per second of `compute_seconds`."""
        return self.frames_computed / self.compute_seconds if self.compute_seconds else 0.0

    def write(self, storage: Storage) -> None:
        """Write `summary.json` of the run."""
        tree = asdict(self) | {
            "frames_per_second": self.frames_per_second,
            "splits": {split: tally.to_json() for split, tally in self.splits.items()},
        }
        storage.write(f"{paths.RUNS}/{self.run_id}/summary.json", json.dumps(tree, indent=2).encode())

    def verdict(self) -> str:
        """Return one sentence that says where the time went, and what would help."""
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
                advice = "Inference is the limit, as it should be: more workers make it faster."
        return f"Workers' time: {listed}. {advice}"


def print_summary(summary: RunSummary, layout: Layout, console: Console) -> None:
    """Print the tables: what the dataset holds, and how the run went."""
    parts = [part.name for part in layout.parts if part.scored]
    everything = total(summary.splits.values())
    troubles = [status for status in ("no_person", "unreadable", "failed") if everything.statuses.get(status)]
    table = Table(title="Frames with each part found", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("split")
    for name in ("frames", *parts, *troubles):
        table.add_column(name.replace("_", " "), justify="right")
    rows = [(split, tally, "") for split, tally in summary.splits.items()]
    if len(rows) > 1:
        rows.append(("all", everything, "bold"))
    for split, tally, style in rows:
        rates = (f"{tally.rate(part):.1%}" for part in parts)
        counts = (f"{tally.statuses.get(status, 0):,}" for status in troubles)
        table.add_row(escape(printable_line(split)), f"{tally.rows:,}", *rates, *counts, style=style)
    if rows:
        console.print(table)
        console.print(f"Landmark digest {summary.digest}", highlight=False, soft_wrap=True)
        for line in describe_mixture(everything.kernels):
            console.print(escape(line), highlight=False, soft_wrap=True)
    if not summary.frames_computed:
        return
    console.print(
        f"{summary.frames_computed:,} frames computed in {format_seconds(summary.compute_seconds)} by "
        f"{summary.workers} worker{'s' * (summary.workers != 1)}: {summary.frames_per_second:,.1f} frames/s "
        f"({format_seconds(summary.seconds)} in all; {summary.peak_memory_mb:,.0f} MB a worker at most).",
        highlight=False,
        soft_wrap=True,
    )
    console.print(summary.verdict(), highlight=False, soft_wrap=True)


def versions() -> dict[str, str]:
    """Return the versions of what computes, as installed where the driver runs."""
    packages = {}
    for name in ("ray", "numpy", "pyarrow", "opencv-python-headless", "ai-edge-litert", "av", "torch", "mediapipe"):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {"phoenix-ray": __version__, "python": platform.python_version(), **packages}
