"""The main job, from settings to a finished dataset: what `phoenix-ray run` calls.

    claim the output → decide `auto` → agree on the identity → plan → complete (`cluster.completion`) → summary

Whatever ends it early, the next call goes on: what is to do follows from the source and from what is committed.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime

from rich.console import Console

from phoenix_ray.cluster.array import ArrayState, ShareOfSource, finish_array
from phoenix_ray.cluster.auto import decide_auto
from phoenix_ray.cluster.claim import Claim, check_places, claim_output, make_identity
from phoenix_ray.cluster.completion import Job, clear_away, complete, take_stock
from phoenix_ray.cluster.plan import Plan, plan_run
from phoenix_ray.cluster.progress import JsonDisplay, Meter, open_display, speaker
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.session import RaySession, stop_on_signals
from phoenix_ray.cluster.shards import Trouble
from phoenix_ray.cluster.status import Status
from phoenix_ray.cluster.summary import RunOutcome, RunSummary, count_remainder, print_summary, versions
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.identity import agree_on_identity, find_layout
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.permitted_source import PermittedSource
from phoenix_ray.dataset.shards import Expected
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.snapshot import tally_splits, unreadable_videos
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.tally import digest_text, total
from phoenix_ray.errors import (
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    ClusterError,
    ModelError,
    OutputError,
    PhoenixRayError,
)
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.registry import describe_kind, open_source
from phoenix_ray.text import printable_line

# Videos in which the report at the end of a run measures movement: a minute or so on the machine of the driver.
REPORT_SAMPLE = 2_000


def run_job(settings: Settings, words: Sequence[str] = ()) -> int:
    """Compute what is missing of a dataset and return the exit code; `words` are what was typed after `phoenix-ray`.

    Raises:
        PhoenixRayError: Nothing could be computed, or the run had to stop; each kind has its exit code.
    """
    output = open_storage(settings.output.path).root
    try:
        return _run(settings, words)
    except KeyboardInterrupt:
        # Outside of `stop_on_signals`, and in libraries that take signals for themselves.
        say = speaker(settings.run.log_format)
        for line in RunOutcome("stopped", output, words=words).lines():
            say(line)
        return EXIT_INTERRUPTED
    except (ModelError, ClusterError) as error:
        error.closing_lines = error.closing_lines or tuple(RunOutcome("failed", output, words=words).lines())
        return _end_with(error, settings)
    except PhoenixRayError as error:
        return _end_with(error, settings)


def _end_with(error: PhoenixRayError, settings: Settings) -> int:
    """Raise an error again for the command line, or say it as JSON and return the exit code."""
    if settings.run.log_format == "text":
        raise error
    log = JsonDisplay(0.0, sys.stderr)
    log.say(str(error), "error", "error")
    for line in error.closing_lines:
        log.say(line)
    return error.exit_code


def _run(settings: Settings, words: Sequence[str]) -> int:
    began = time.monotonic()
    log_format = settings.run.log_format
    say = speaker(log_format)
    whole = PermittedSource(open_source(settings.source), open_storage(settings.output.path))
    share = Share.parse(settings.run.share)
    part = ShareOfSource(whole, share) if share else None
    source = part or whole
    say(source.description)
    check_places(source.root, settings.output.path)
    with RaySession(settings.cluster, say) as session, claim_output(settings, share=share) as claim:
        say = speaker(log_format, claim.run_id)
        settings = decide_auto(settings, claim.storage, source, session, say)
        # `claim_dataset` records the identity of a new dataset once a worker has loaded the model.
        identity = agree_on_identity(claim.storage, make_identity(settings, source.root))
        with stop_on_signals() as stop:
            registry.ensure_ready(settings.model, say)
            committed = take_stock(claim, identity, say)
            if committed:
                # Its rows are there, so the dataset exists: a `dataset.json` that was lost is written again.
                claim.begin_dataset(identity)
            expected = Expected(committed)
            plan = replace(plan_run(settings, source, expected.missing_ranges), dropped=whole.left_out)
            say(plan.line())
            _say_notes(claim, plan, say)
            job = Job(settings, source, identity, claim, session, _open_record(settings, claim, plan), stop)
            clear_away(job, committed, plan)
            for problem in plan.problems:
                trouble = Trouble("input", problem.message)
                job.record.add_failure(problem.split, problem.video_id, 0, 0, trouble, attempts=1)
            has_work = bool(plan.shards or (committed.partitions and not share))
            with _explaining(job, plan, words):
                workers = complete(job, plan, expected) if has_work else 0
                array = finish_array(job, part) if part and not stop else None
            if not array or array.is_settled:
                about = CardWords(settings.output.license, describe_kind(settings.source, whole))
                write_card(job.storage, identity, about, say)
            state = "stopped" if stop else "incomplete" if job.record.failures else "finished"
            last = job.record.close(state)
            summary = _summarize(job, last, workers, time.monotonic() - began, array)
    if settings.run.report:
        write_run_report(settings, claim, whole, summary, say)
    now = committed if state == "finished" else committed_in(take_survey(claim.storage, identity))
    has_unreadable = total(summary.splits.values()).statuses.get("unreadable")
    outcome = RunOutcome(
        state,
        claim.storage.root,
        count_remainder(plan, now, last.frames_done),
        job.record.failures,
        unreadable_videos(claim.storage, identity) if has_unreadable else (),
        words,
        array,
    )
    if log_format == "json":
        JsonDisplay(0.0, sys.stderr, claim.run_id).write("summary", "info", summary.tree())
        for line in outcome.lines():
            say(line)
    else:
        console = Console()
        print_summary(summary, find_layout(identity), console)
        console.print("\n".join(map(printable_line, outcome.lines())), highlight=False, markup=False, soft_wrap=True)
    return stop.exit_code or (EXIT_INCOMPLETE if job.record.failures else EXIT_OK)


def _open_record(settings: Settings, claim: Claim, plan: Plan) -> RunRecord:
    meter = Meter(claim.run_id, plan.missing_frames, plan.total.committed_frames, share=settings.run.share)
    interval = settings.run.progress_seconds
    display = open_display(interval, settings.run.log_format, claim.run_id)
    return RunRecord(claim.run_id, claim.storage, meter, display, interval, share=claim.share)


@contextmanager
def _explaining(job: Job, plan: Plan, words: Sequence[str]) -> Iterator[None]:
    """Where the block fails, close the record and add to the error how to go on."""
    try:
        yield
    except BaseException as error:
        last = job.record.close("failed")
        if isinstance(error, PhoenixRayError):
            left = count_remainder(plan, None, last.frames_done)
            error.closing_lines = tuple(RunOutcome("failed", job.storage.root, left, words=words).lines())
        raise


def _summarize(job: Job, last: Status, workers: int, seconds: float, array: ArrayState | None) -> RunSummary:
    """Return the summary of a run, and write it where the storage takes it."""
    splits = tally_splits(job.storage, job.identity)
    summary = RunSummary(
        run_id=job.claim.run_id,
        state=last.state,
        output=job.storage.root,
        seconds=seconds,
        compute_seconds=job.record.compute_seconds,
        frames_computed=last.frames_done,
        workers=workers,
        failures=job.record.failures,
        timings=job.record.timings,
        peak_memory_mb=job.record.peak_memory_mb,
        digest=digest_text(total(splits.values()).digest),
        splits=splits,
        versions=versions(),
        share=job.settings.run.share,
        videos_missing=array.missing if array else None,
        nodes=job.record.node_timings,
    )
    try:
        summary.write(job.storage)
    except OutputError as error:
        speaker(job.settings.run.log_format, job.claim.run_id)(f"The summary could not be written. {error}")
    return summary


def write_run_report(
    settings: Settings, claim: Claim, source: Source, summary: RunSummary, say: Callable[[str], None]
) -> None:
    """Write `report.html` beside the run's summary, or say why not: the run is over, and stays what it is."""
    # Not above: most runs write none.
    from phoenix_ray.report.findings import examine
    from phoenix_ray.report.page import make_page

    by_hand = f"`phoenix-ray report {shlex.quote(claim.storage.root)}` writes one."
    if summary.state == "stopped":
        say(f"No report, because the run was stopped. {by_hand}")
        return
    if summary.videos_missing:
        say("No report yet: the share that completes the dataset writes it.")
        return
    name = f"{paths.RUNS}/{claim.run_id}/report.html"
    try:
        findings = examine(claim.storage.root, REPORT_SAMPLE, min(8, os.cpu_count() or 1))
        open_frames = (lambda: source) if settings.run.report == "frames" else None
        page = make_page(findings, None, open_frames, datetime.now().astimezone())
        claim.storage.write(name, page.encode())
    except KeyboardInterrupt:
        say(f"The report was interrupted; the run itself is complete. {by_hand}")
    except Exception as error:
        say(f"The report could not be written: {error or type(error).__name__}. {by_hand}")
    else:
        say(f"Report: {claim.storage.root}/{name}")


def _say_notes(claim: Claim, plan: Plan, say: Callable[[str], None]) -> None:
    """Say what is noteworthy about the source, and record the names of the files that it leaves out."""
    for line in plan.notes():
        say(line)
    if plan.left_out:
        name = f"{paths.RUNS}/{claim.run_id}/left_out.json"
        claim.storage.write(name, json.dumps([asdict(group) for group in plan.left_out], indent=1).encode())
        say(f"Names of what is left out: {claim.storage.root}/{name}")
