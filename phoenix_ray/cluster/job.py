"""The main job, from settings to a finished dataset: what `phoenix-ray run` and `phoenix-ray compact` call.

    source → plan → actors (partitions) → reduce (data files, manifest, videos.parquet) → summary

Whatever ends it early, the next call goes on: what is to do follows from the source and from what is committed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.blame import Blame, Trouble
from phoenix_ray.cluster.driver import Driver
from phoenix_ray.cluster.ending import Ending, count_left
from phoenix_ray.cluster.monitor import RunMonitor
from phoenix_ray.cluster.opening import Job, hold_lease, open_job
from phoenix_ray.cluster.places import check_places
from phoenix_ray.cluster.plan import Plan, describe_plan, make_plan
from phoenix_ray.cluster.progress import Meter, open_display
from phoenix_ray.cluster.reckoning import Remainder, make_up
from phoenix_ray.cluster.reduce import BackgroundReduce, reduce_all
from phoenix_ray.cluster.resources import plan_workers, require_spare_cpu
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.session import RaySession
from phoenix_ray.cluster.stop import StopRequest, stop_on_signals
from phoenix_ray.cluster.summary import RunSummary, print_summary, versions
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.coverage import CommittedFrames, Expected
from phoenix_ray.dataset.identity import claim_dataset, find_layout, read_identity
from phoenix_ray.dataset.lease import LeaseLostError
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import discard
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.snapshot import tally_splits, unreadable_videos
from phoenix_ray.dataset.storage import open_storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.tally import digest_text, total
from phoenix_ray.errors import (
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    ClusterError,
    ConfigError,
    ModelError,
    OutputError,
    PhoenixRayError,
)
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.catalog import open_source
from phoenix_ray.sources.left_out import LeftOut
from phoenix_ray.text import printable_line


def run_job(settings: Settings, words: Sequence[str] = ()) -> int:
    """Compute what is missing of a dataset and return the exit code.

    Args:
        settings: Of the run.
        words: What was typed after `phoenix-ray`, for the line that says how to go on.

    Raises:
        PhoenixRayError: Nothing could be computed, or the run had to stop; each kind has its exit code.
    """
    output = open_storage(settings.output.path).root
    try:
        return _run(settings, words)
    except KeyboardInterrupt:
        # From here to `stop_on_signals`, and in libraries that take signals for themselves.
        for line in Ending("stopped", output, words=words).lines():
            _say(line)
        return EXIT_INTERRUPTED
    except (ModelError, ClusterError) as error:
        error.told_after = error.told_after or tuple(Ending("failed", output, words=words).lines())
        raise


def _run(settings: Settings, words: Sequence[str]) -> int:
    began = time.monotonic()
    source = open_source(settings.source)
    _say(source.description)
    check_places(source.root, settings.output.path)
    with (
        RaySession(settings.cluster, _say) as session,
        open_job(settings, source, session, _say) as job,
        stop_on_signals() as stop,
    ):
        registry.prepare(job.settings.model, _say)
        committed = committed_in(sweep(job.storage, job.identity, temporary_seconds=0).survey)
        if committed:
            # Its rows are there, so the dataset exists: a `dataset.json` that was lost is written again.
            claim_dataset(job.storage, job.identity)
        expected = Expected(committed)
        plan = plan_job(job.settings, source, expected)
        _say(describe_plan(plan))
        _tell_notes(job, plan)
        monitor = _open_monitor(job, plan, stop)
        _clear_away(job, committed, plan, monitor)
        for problem in plan.problems:
            monitor.fail(problem.split, problem.video_id, 0, 0, Trouble("input", problem.message), attempts=1)
        workers = 0
        try:
            if plan.shards or committed.partitions:
                workers = _compute(job, plan, session, monitor, stop)
                _compare(job, source, expected, session, monitor, stop)
        except BaseException as error:
            last = monitor.close("failed")
            if isinstance(error, PhoenixRayError):
                left = count_left(plan, None, last.frames_done)
                error.told_after = tuple(Ending("failed", job.storage.root, left, words=words).lines())
            raise
        state = "stopped" if stop else "incomplete" if monitor.failures else "finished"
        last = monitor.close(state)
        splits = tally_splits(job.storage, job.identity)
        everything = total(splits.values())
        summary = RunSummary(
            run_id=job.run_id,
            state=state,
            output=job.storage.root,
            seconds=time.monotonic() - began,
            compute_seconds=monitor.compute_seconds,
            frames_computed=last.frames_done,
            workers=workers,
            failures=monitor.failures,
            timings=monitor.timings,
            peak_memory_mb=monitor.peak_memory_mb,
            digest=digest_text(everything.digest),
            splits=splits,
            versions=versions(),
        )
        try:
            summary.write(job.storage)
        except OutputError as error:
            _say(f"The summary could not be written. {error}")
    console = Console()
    print_summary(summary, find_layout(job.identity), console)
    now = committed if state == "finished" else committed_in(take_survey(job.storage, job.identity))
    ending = Ending(
        state,
        job.storage.root,
        count_left(plan, now, last.frames_done),
        monitor.failures,
        unreadable_videos(job.storage, job.identity) if everything.statuses.get("unreadable") else (),
        words,
    )
    console.print("\n".join(map(printable_line, ending.lines())), highlight=False, markup=False, soft_wrap=True)
    return stop.exit_code or (EXIT_INCOMPLETE if monitor.failures else EXIT_OK)


def compact_job(settings: Settings) -> None:
    """Merge the partitions of the dataset at `output.path`.

    Raises:
        PhoenixRayError: There is no dataset, or it cannot be written.
    """
    if not settings.output.path:
        raise ConfigError("No dataset is given: `phoenix-ray compact OUTPUT`, or output.path=OUTPUT.")
    storage = open_storage(settings.output.path)
    identity = read_identity(storage)
    with hold_lease(storage, settings, "compact-") as (_, lease):
        survey = sweep(storage, identity, temporary_seconds=0).survey
        with RaySession(settings.cluster, _say) as session:
            session.resources()
            for damaged in reduce_all(storage, survey, settings.output, _say, lease.confirm):
                _say(f"{damaged.name} is damaged ({damaged.reason}); `phoenix-ray run` computes its frames again.")
    manifest = read_manifest(storage, identity)
    files = f"{len(manifest.files):,} file{'s' * (len(manifest.files) != 1)}"
    _say(f"{manifest.tally.rows:,} rows in {files} below {storage.root}/data")


def plan_job(settings: Settings, source: Source, committed: CommittedFrames | Expected | Remainder) -> Plan:
    """Return what is missing of a source.

    Raises:
        SourceError: The source cannot be listed.
    """
    batch_size = registry.batch_size(settings.model)
    left_out: list[LeftOut] = []
    listing = source.videos(left_out.append)
    plan = make_plan(listing, committed.missing_ranges, settings.cluster.shard_frames, batch_size)
    return replace(plan, left_out=tuple(left_out))


def _tell_notes(job: Job, plan: Plan) -> None:
    """Say what is noteworthy of the source, and keep the names of the files that it does not read."""
    for line in plan.notes():
        _say(line)
    if plan.left_out:
        name = f"{paths.RUNS}/{job.run_id}/left_out.json"
        job.storage.write(name, json.dumps([asdict(group) for group in plan.left_out], indent=1).encode())
        _say(f"Names of what is left out: {job.storage.root}/{name}")


def _compute(job: Job, plan: Plan, session: RaySession, monitor: RunMonitor, stop: StopRequest) -> int:
    """Run the shards and the reduce step; return the number of workers that were asked for."""
    settings, resources = job.settings, session.resources()
    stop.listen()
    workers = 0
    with BackgroundReduce(job.storage, job.identity, settings.output, job.lease.confirm, monitor.tell) as reduce:
        monitor.housekeeping = reduce.tick
        if plan.shards:
            worker_plan = plan_workers(settings.cluster, resources, engine_uses_gpu=registry.uses_gpu(settings.model))
            workers = min(worker_plan.count, len(plan.shards))
            worker_plan = replace(worker_plan, count=workers)
            if settings.decode.on == "cpu_nodes":
                require_spare_cpu(worker_plan, resources)
            _say(f"Starting {worker_plan}")
            pool = ActorPool(worker_plan, settings, job.identity)
            blame = Blame(settings.cluster.max_attempts, registry.batch_size(settings.model))
            scheduler = Scheduler(plan.shards, settings.cluster.shards_in_flight, blame)
            try:
                Driver(
                    *(settings, worker_plan, pool, scheduler, monitor, stop),
                    begin=lambda: claim_dataset(job.storage, job.identity),
                ).run()
            finally:
                pool.close()
        monitor.compacting()
        if settings.output.compact and not stop:
            spoiled = reduce.finish()
            for damaged in [*spoiled, *_merge(job, monitor)]:
                monitor.spoiled(damaged)
    return workers


def _merge(job: Job, monitor: RunMonitor) -> list[DamagedFile]:
    """Compact what is whole; on a full disk, where the run is incomplete anyway, leave it to the next one."""
    survey = take_survey(job.storage, job.identity)
    try:
        return reduce_all(job.storage, survey, job.settings.output, monitor.tell, job.lease.confirm)
    except LeaseLostError:
        raise
    except OutputError as error:
        if not monitor.failures:
            raise
        monitor.tell(f"The compaction is left to the next run. {error}")
        return []


def _compare(
    job: Job, source: Source, expected: Expected, session: RaySession, monitor: RunMonitor, stop: StopRequest
) -> None:
    """Compare what was planned with what is there, and compute again what got lost meanwhile."""

    def compute(missing: int, left: Remainder) -> bool:
        if not stop:
            plan = plan_job(job.settings, source, left)
            monitor.lost(missing, plan.missing_frames)
            _clear_away(job, left.committed, plan, monitor)
            _compute(job, plan, session, monitor, stop)
        return not stop

    missing = make_up(job.storage, job.identity, expected, monitor.given_up_videos, compute) if not stop else 0
    if missing and not stop:
        monitor.missing(missing)


def _clear_away(job: Job, committed: CommittedFrames, plan: Plan, monitor: RunMonitor) -> None:
    """Delete what will be computed again: damaged files, and partitions of videos that have changed since."""
    for damaged in committed.damaged:
        monitor.tell(f"{damaged.name} cannot be trusted ({damaged.reason}); its frames are computed again.")
        discard(job.storage, job.identity, damaged)
    if not committed.partitions:
        return
    for shard in plan.shards:
        for name in committed.stale_partitions(shard.video):
            job.storage.delete(name)


def _open_monitor(job: Job, plan: Plan, stop: StopRequest) -> RunMonitor:
    return RunMonitor(
        job.run_id,
        job.storage,
        job.lease,
        Meter(job.run_id, plan.missing_frames, plan.total.committed_frames),
        open_display(job.settings.run.progress_seconds),
        stop,
        job.settings.run.progress_seconds,
    )


def _say(message: str) -> None:
    print(printable_line(message), file=sys.stderr, flush=True)
