"""`phoenix-ray plan SOURCE OUTPUT`: what a run would do, with nothing computed and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phoenix_ray.commands.config import SOURCE_AND_OUTPUT, SettingsCommand, read_settings, require_places, with_settings
from phoenix_ray.text import counted, printable_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from phoenix_ray.cluster.forecast import Fleet, Forecast, Speed
    from phoenix_ray.cluster.plan import Plan
    from phoenix_ray.cluster.rates import Cost, Rates
    from phoenix_ray.cluster.session import RaySession
    from phoenix_ray.cluster.worker_plan import WorkerPlan
    from phoenix_ray.config import Settings
    from phoenix_ray.dataset.identity import DatasetIdentity
    from phoenix_ray.dataset.shards import CommittedFrames
    from phoenix_ray.dataset.storage import Storage
    from phoenix_ray.model_settings import ModelSettings
    from phoenix_ray.models.base import Trial

# Where no earlier run says better: Holistic on a core of a 2.6 GHz server (docs/performance.md), and the size of a row
# of 543 points after compaction (docs/data-format.md).
SECONDS_PER_FRAME = 0.05
BYTES_PER_FRAME = 5_000
# Below this the model waited for a processor: alone on a node it has one nearly all the time.
BUSY_SHARE = 0.8


@click.command(cls=SettingsCommand)
@with_settings(*SOURCE_AND_OUTPUT)
@click.option("--measure", is_flag=True, help="Try a worker on some frames: how long, and what limits it?")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(config: Path | None, words: tuple[str, ...], measure: bool, as_json: bool, **switches: Any) -> None:
    """Show what `run` would do: videos, frames, shards, what is committed already, workers, time and size."""
    settings = read_settings(config, words, switches, *SOURCE_AND_OUTPUT)
    require_places(settings, "plan")
    print_plan(settings, measure=measure, as_json=as_json)


@dataclass(frozen=True, slots=True)
class PlanEstimate:
    """How long the run would take, and what that rests on.

    Attributes:
        workers: What is asked for.
        fleet: What the cluster has room for.
        speed: Of a worker.
        forecast: Of all.
        rates: What was measured; None where nothing was.
        output_bytes: Size of the rows.
    """

    workers: WorkerPlan
    fleet: Fleet
    speed: Speed
    forecast: Forecast
    rates: Rates | None
    output_bytes: float


def print_plan(settings: Settings, *, measure: bool = False, as_json: bool = False) -> None:
    """Print videos, frames and shards, what is committed, workers, and an estimate of time and size.

    Args:
        settings: The run's settings.
        measure: Try a worker on frames of the source; without that, the rate is that of the last run or a guess.
        as_json: Print JSON on standard output, and everything else on standard error.

    Raises:
        PhoenixRayError: `run` would stop with the same error.
    """
    from rich.console import Console

    from phoenix_ray.cluster.array import ShareOfSource
    from phoenix_ray.cluster.auto import decide_auto, decide_without_trial
    from phoenix_ray.cluster.claim import check_places, make_identity
    from phoenix_ray.cluster.plan import plan_run
    from phoenix_ray.cluster.session import RaySession
    from phoenix_ray.config_files import with_absolute_paths
    from phoenix_ray.dataset.locations import open_storage
    from phoenix_ray.dataset.permitted_source import PermittedSource
    from phoenix_ray.dataset.share import Share
    from phoenix_ray.models.base import Trial
    from phoenix_ray.sources.registry import open_source

    console = Console(stderr=as_json)
    say = partial(_print_line, console)
    settings = with_absolute_paths(settings)
    storage = open_storage(settings.output.path)
    whole, share = PermittedSource(open_source(settings.source), storage), Share.parse(settings.run.share)
    source = ShareOfSource(whole, share) if share else whole
    check_places(source.root, settings.output.path)
    say(source.description)
    with RaySession(settings.cluster, say) as session:
        if measure:
            settings = decide_auto(settings, storage, source, session, say)
        else:
            decision = decide_without_trial(settings, storage, session.resources)
            if isinstance(decision, Trial):
                decision = _skip_trial(decision, console)
            settings = settings.model_copy(update={"model": decision})
        identity = make_identity(settings, source.root)
        planned = plan_run(settings, source, _committed(storage, identity).missing_ranges)
        planned = replace(planned, dropped=whole.left_out)
        _print_shards(console, planned)
        estimate = None
        if planned.shards:
            estimate = _estimate(planned, settings, storage, session, identity if measure else None, say)
            for line in _lines(estimate):
                say(line)
    if as_json:
        print(json.dumps(_tree(planned, estimate), indent=2))


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
        unread = f", but {counted(len(plan.problems), 'video')} cannot be used" if plan.problems else ""
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


def _estimate(
    plan: Plan,
    settings: Settings,
    storage: Storage,
    session: RaySession,
    measured_as: DatasetIdentity | None,
    say: Callable[[str], None],
) -> PlanEstimate:
    """Return how long the plan takes the workers that the cluster has room for.

    Args:
        plan: What is to be computed; not empty.
        settings: The run's settings, with every `auto` decided.
        storage: Has the summaries of earlier runs.
        session: Ray.
        measured_as: The identity of the dataset where a worker is to be tried on frames of the source.
        say: Receives a line before that.
    """
    from phoenix_ray.cluster.forecast import Workload, find_fleet, find_speed, make_forecast
    from phoenix_ray.cluster.rates import measure_on_a_node
    from phoenix_ray.cluster.worker_plan import workers_wanted
    from phoenix_ray.models import registry

    facts, cluster = registry.facts(settings.model), session.cluster()
    workers = workers_wanted(settings.cluster, cluster, len(plan.shards), engine_uses_gpu=facts.uses_gpu)
    fleet = find_fleet(workers, session.nodes(), brings_nodes=cluster.awaits_nodes)
    if fleet.awaited_nodes:
        say(f"{counted(fleet.awaited_nodes, 'node')} of {fleet.nodes} have yet to come: their number is a guess.")
    rates = None
    if measured_as:
        registry.ensure_ready(settings.model, say)
        say("Trying a worker on some frames")
        rates = measure_on_a_node(settings, measured_as, plan.shards, workers, cluster.start_seconds(settings.cluster))
        speed = find_speed(rates, fleet, settings.decode.threads, settings.cluster.shards_in_flight)
    else:
        speed = _past_speed(storage)
    workload = Workload(plan.missing_frames, len(plan.shards), plan.shards.longest, facts.tracks)
    row_bytes = rates.written_bytes if rates else BYTES_PER_FRAME
    forecast = make_forecast(workload, fleet, speed)
    return PlanEstimate(workers, fleet, speed, forecast, rates, plan.missing_frames * row_bytes)


def _past_speed(storage: Storage) -> Speed:
    """Return the speed of a worker in the last run of the dataset, or a guess."""
    from phoenix_ray.cluster.forecast import Speed
    from phoenix_ray.dataset import paths

    for name in sorted((file.name for file in storage.list(paths.RUNS)), reverse=True):
        if name.endswith("/summary.json"):
            past = json.loads(storage.read(name))
            if past["frames_computed"] and past["workers"]:
                return Speed(past["frames_per_second"] / past["workers"], "unknown", "as in the last run here")
    return Speed(1 / SECONDS_PER_FRAME, "unknown", "a guess from one core; a GPU engine is faster")


def _lines(estimate: PlanEstimate) -> Iterator[str]:
    """Yield the estimate as lines: what was measured, how long it takes, what limits it, and what it rests on."""
    from rich.filesize import decimal

    from phoenix_ray.cluster.status import format_seconds

    fleet, forecast, rates, speed = estimate.fleet, estimate.forecast, estimate.rates, estimate.speed
    room = "" if fleet.workers == estimate.workers.count else f"; the cluster has room for {fleet.workers:,}"
    yield f"Workers: {estimate.workers} on {counted(fleet.nodes, 'node')}{room}"
    if rates:
        yield (
            f"Measured on {rates.node}, one worker alone, {rates.frames:,} frames of {counted(rates.videos, 'video')}: "
            f"decoding {_per_second(rates.decode)}, model {_per_second(rates.model)}, rows {_per_second(rates.rows)} "
            "frames/s."
        )
    hours = f"{_hours(forecast.node_hours)} node-hours"
    if fleet.gpus:
        hours += f", {_hours(forecast.gpu_hours)} GPU-hours"
    yield (
        f"About {format_seconds(forecast.seconds)} at {forecast.frames_per_second:,.0f} frames/s ({speed.basis}): "
        f"{hours}, and {decimal(round(estimate.output_bytes))}."
    )
    if forecast.limit != "unknown":
        yield f"The limit: {forecast.limit}. {forecast.advice}"
    if forecast.limit in ("few shards", "longest video") and forecast.useful_workers < fleet.workers:
        yield f"{counted(forecast.useful_workers, 'worker')} would take as long."
    if not rates:
        yield "Nothing was measured: `phoenix-ray plan --measure` tries a worker on frames of this source."
        return
    read, written = (forecast.frames_per_second * each for each in (rates.read_bytes, rates.written_bytes))
    yield f"The workers together read {decimal(round(read))}/s and write {decimal(round(written))}/s."
    yield (
        "It rests on these frames alone. A node full of workers is slower than one worker on it; the start of the "
        "workers and the last merge come on top."
    )
    if not fleet.gpus and rates.processor_share < BUSY_SHARE:
        yield (
            f"Other work was going on there: the model had a processor for {rates.processor_share:.0%} of the time. "
            "Without that work the run is faster; beside it, several workers get less each than this one did."
        )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _per_second(cost: Cost) -> str:
    return f"{1 / cost.seconds:,.0f}" if cost.seconds else "any number of"


def _tree(plan: Plan, estimate: PlanEstimate | None) -> dict[str, object]:
    """Return the plan as JSON; `estimate` is null where nothing is to be computed."""
    tree: dict[str, object] = {
        **asdict(plan.total),
        "missing_frames": plan.missing_frames,
        "problems": len(plan.problems),
        "dropped": plan.dropped,
        "splits": {split: asdict(totals) for split, totals in plan.totals.items()},
        "estimate": None,
    }
    if estimate:
        tree["estimate"] = {
            **asdict(estimate.forecast),
            "basis": estimate.speed.basis,
            "output_bytes": round(estimate.output_bytes),
            "workers_wanted": estimate.workers.count,
            **asdict(estimate.fleet),
            "rates": asdict(estimate.rates) if estimate.rates else None,
        }
    return tree


def _print_line(console: Console, line: str) -> None:
    console.print(printable_line(line), highlight=False, markup=False, soft_wrap=True)
