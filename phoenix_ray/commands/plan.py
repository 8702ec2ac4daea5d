"""`phoenix-ray plan SOURCE OUTPUT`: what a run would do, with nothing computed and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phoenix_ray.commands.config import SOURCE_AND_OUTPUT, SettingsCommand, read_settings, require_places, with_settings
from phoenix_ray.text import counted, printable_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from phoenix_ray.cluster.plan import Plan
    from phoenix_ray.cluster.session import RaySession
    from phoenix_ray.config import ModelSettings, Settings
    from phoenix_ray.dataset.identity import DatasetIdentity
    from phoenix_ray.dataset.shards import CommittedFrames
    from phoenix_ray.dataset.storage import Storage
    from phoenix_ray.models.base import Trial

# Where no earlier run says better: Holistic on a core of a 2.6 GHz server (docs/performance.md), and the size of a row
# of 543 points after compaction (docs/data-format.md).
SECONDS_PER_FRAME = 0.05
BYTES_PER_FRAME = 5_000


@click.command(cls=SettingsCommand)
@with_settings(*SOURCE_AND_OUTPUT)
def plan(config: Path | None, words: tuple[str, ...], **switches: Any) -> None:
    """Show what `run` would do: videos, frames, shards, what is committed already, workers, time and size."""
    settings = read_settings(config, words, switches, *SOURCE_AND_OUTPUT)
    require_places(settings, "plan")
    print_plan(settings)


def print_plan(settings: Settings) -> None:
    """Print videos, frames and shards, what is committed, workers, and an estimate of time and size.

    Raises:
        PhoenixRayError: `run` would stop with the same error.
    """
    from rich.console import Console

    from phoenix_ray.cluster.auto import decide_without_trial
    from phoenix_ray.cluster.claim import check_places, make_identity
    from phoenix_ray.cluster.plan import plan_run
    from phoenix_ray.cluster.session import RaySession
    from phoenix_ray.dataset.locations import open_storage
    from phoenix_ray.models.base import Trial
    from phoenix_ray.sources.registry import open_source

    console = Console()
    source = open_source(settings.source)
    check_places(source.root, settings.output.path)
    _print_line(console, source.description)
    storage = open_storage(settings.output.path)
    with RaySession(settings.cluster, lambda line: print(printable_line(line))) as session:
        decision = decide_without_trial(settings, storage, session.resources)
        if isinstance(decision, Trial):
            decision = _skip_trial(decision, console)
        settings = settings.model_copy(update={"model": decision})
        committed = _committed(storage, make_identity(settings, source.root))
        planned = plan_run(settings, source, committed.missing_ranges)
        _print_shards(console, planned)
        if planned.shards:
            _print_estimate(console, planned, settings, storage, session)


def _skip_trial(trial: Trial, console: Console) -> ModelSettings:
    """Return the settings that need no trial, and say that a run may decide otherwise."""
    from phoenix_ray.models import registry

    model = trial.fallback
    batch_size = registry.facts(model).batch_size
    _print_line(
        console,
        f"Planned with engine {model.engine} and batch size {batch_size}: a plan tries nothing. `run` "
        f"first tries {trial.candidate.engine} on a worker's GPU and may decide otherwise.",
    )
    return model


def _committed(storage: Storage, identity: DatasetIdentity) -> CommittedFrames:
    """Return what is committed, provided that a run could go on with it."""
    from phoenix_ray.dataset.identity import agree_on_identity
    from phoenix_ray.dataset.survey import committed_in, take_survey

    return committed_in(take_survey(storage, agree_on_identity(storage, identity)))


def _print_shards(console: Console, plan: Plan) -> None:
    from rich.markup import escape

    console.print(_table(plan))
    for problem in plan.problems:
        line = escape(printable_line(f"{problem.split}/{problem.video_id}: {problem.message}"))
        console.print(f"[yellow]cannot be used:[/] {line}", highlight=False, soft_wrap=True)
    for line in plan.notes():
        _print_line(console, line)
    if not plan.shards:
        unread = f", but {counted(len(plan.problems), 'video')} cannot be opened" if plan.problems else ""
        _print_line(console, f"Nothing is left to compute{unread}.")


def _table(plan: Plan) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

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


def _print_estimate(console: Console, plan: Plan, settings: Settings, storage: Storage, session: RaySession) -> None:
    from rich.filesize import decimal

    from phoenix_ray.cluster.progress import format_seconds
    from phoenix_ray.cluster.session import plan_workers
    from phoenix_ray.models import registry

    uses_gpu = registry.facts(settings.model).uses_gpu
    workers = plan_workers(settings.cluster, session.resources(), engine_uses_gpu=uses_gpu)
    _print_line(console, f"Workers: {workers}")
    rate, basis = _rate(storage, workers.count)
    # A chain runs on one worker.
    of_longest = (plan.longest_chain - 1) * settings.cluster.shard_frames * workers.count / rate
    seconds = max(plan.missing_frames / rate, of_longest)
    _print_line(
        console,
        f"About {format_seconds(seconds)} at {rate:,.0f} frames/s ({basis}), and "
        f"{decimal(plan.missing_frames * BYTES_PER_FRAME)}.",
    )


def _rate(storage: Storage, workers: int) -> tuple[float, str]:
    """Return the frames per second to expect, and where the number comes from."""
    from phoenix_ray.dataset import paths

    for name in sorted((file.name for file in storage.list(paths.RUNS)), reverse=True):
        if name.endswith("/summary.json"):
            past = json.loads(storage.read(name))
            if past["frames_computed"] and past["workers"]:
                return past["frames_per_second"] / past["workers"] * workers, "as in the last run here"
    return workers / SECONDS_PER_FRAME, "a guess from one core; a GPU engine is faster"


def _print_line(console: Console, line: str) -> None:
    console.print(printable_line(line), highlight=False, markup=False, soft_wrap=True)
