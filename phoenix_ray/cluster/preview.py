"""`phoenix-ray plan`: what a run would do, with nothing computed and nothing written."""

from __future__ import annotations

import json

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from phoenix_ray.cluster.job import plan_job
from phoenix_ray.cluster.opening import make_identity
from phoenix_ray.cluster.places import check_places
from phoenix_ray.cluster.plan import Plan
from phoenix_ray.cluster.progress import format_seconds
from phoenix_ray.cluster.resources import plan_workers
from phoenix_ray.cluster.session import RaySession
from phoenix_ray.cluster.settle import settle_model
from phoenix_ray.config import ModelSettings, Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.coverage import CommittedFrames
from phoenix_ray.dataset.identity import DatasetIdentity, agree_on_identity
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.models import registry
from phoenix_ray.models.base import Trial
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.catalog import open_source
from phoenix_ray.text import printable_line

# Without an earlier run to go by: Holistic on one core of a 2.6 GHz server (docs/performance.md), and the size of a row
# of 543 points after compaction (docs/data-format.md).
SECONDS_PER_FRAME = 0.05
BYTES_PER_FRAME = 5_000


def preview(settings: Settings) -> None:
    """Print videos, frames and shards, what is committed, workers asked and found, estimated time and size.

    Raises:
        PhoenixRayError: What `run` would stop with as well.
    """
    console = Console()
    source = open_source(settings.source)
    check_places(source.root, settings.output.path)
    console.print(printable_line(source.description), highlight=False, markup=False, soft_wrap=True)
    storage = open_storage(settings.output.path)
    with RaySession(settings.cluster, lambda line: print(printable_line(line))) as session:
        settled = settle_model(settings, storage, session.resources, lambda trial: _pass_over(trial, console))
        _preview(settled, source, storage, session, console)


def _pass_over(trial: Trial, console: Console) -> ModelSettings:
    """Return the settings that hold without the trial, and say so."""
    model = trial.otherwise
    console.print(
        f"Planned with engine {model.engine} and batch size {registry.batch_size(model)}: a plan tries nothing. `run` "
        f"first tries {trial.candidate.engine} on a worker's GPU and may decide otherwise.",
        highlight=False,
        soft_wrap=True,
    )
    return model


def _preview(settings: Settings, source: Source, storage: Storage, session: RaySession, console: Console) -> None:
    identity = make_identity(settings, source.root)
    plan = plan_job(settings, source, _committed(storage, identity))
    console.print(_table(plan))
    for problem in plan.problems:
        line = escape(printable_line(f"{problem.split}/{problem.video_id}: {problem.message}"))
        console.print(f"[yellow]cannot be used:[/] {line}", highlight=False, soft_wrap=True)
    for line in plan.notes():
        console.print(printable_line(line), highlight=False, markup=False, soft_wrap=True)
    if not plan.shards:
        left = "Nothing is left to compute"
        if plan.problems:
            left += f", but {len(plan.problems):,} video{'s' * (len(plan.problems) != 1)} cannot be opened"
        console.print(f"{left}.", highlight=False)
        return
    uses_gpu = registry.uses_gpu(settings.model)
    workers = plan_workers(settings.cluster, session.resources(), engine_uses_gpu=uses_gpu)
    console.print(f"Workers: {workers}", highlight=False, soft_wrap=True)
    rate, basis = _rate(storage, workers.count)
    console.print(
        f"About {format_seconds(plan.missing_frames / rate)} at {rate:,.0f} frames/s ({basis}), and "
        f"{decimal(plan.missing_frames * BYTES_PER_FRAME)}.",
        highlight=False,
        soft_wrap=True,
    )


def _committed(storage: Storage, identity: DatasetIdentity) -> CommittedFrames:
    """Return what is committed, provided that a run could go on with it."""
    return committed_in(take_survey(storage, agree_on_identity(storage, identity)))


def _table(plan: Plan) -> Table:
    table = Table(title="To compute", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("split", "videos", "frames", "committed", "to compute", "shards"):
        table.add_column(name, justify="left" if name == "split" else "right")
    rows = [(split, totals, "") for split, totals in plan.totals.items()]
    if len(rows) != 1:
        rows.append(("all", plan.total, "bold"))
    for split, totals, style in rows:
        table.add_row(
            escape(printable_line(split)),
            f"{totals.videos:,}",
            f"{totals.frames:,}",
            f"{totals.committed_frames:,}",
            f"{totals.frames - totals.committed_frames:,}",
            f"{totals.shards:,}",
            style=style,
        )
    return table


def _rate(storage: Storage, workers: int) -> tuple[float, str]:
    """Return frames per second to reckon with, and where the number comes from."""
    for name in sorted((file.name for file in storage.list(paths.RUNS)), reverse=True):
        if name.endswith("/summary.json"):
            past = json.loads(storage.read(name))
            if past["frames_computed"] and past["workers"]:
                return past["frames_per_second"] / past["workers"] * workers, "as in the last run here"
    return workers / SECONDS_PER_FRAME, "a guess from one core; a GPU engine is faster"
