"""The main job, from settings to a finished dataset: what `phoenix-ray run` and `phoenix_ray.extract` call.

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
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from rich.console import Console

from phoenix_ray.cluster.array import ArrayState, ShareOfSource, finish_array
from phoenix_ray.cluster.auto import decide_auto
from phoenix_ray.cluster.claim import Claim, check_places, claim_output, make_identity
from phoenix_ray.cluster.completion import Job, clear_away, complete, take_stock
from phoenix_ray.cluster.plan import Plan, plan_run
from phoenix_ray.cluster.progress import JsonDisplay, Meter
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.screen import Screen
from phoenix_ray.cluster.session import RaySession, StopRequest, stop_on_signals
from phoenix_ray.cluster.shards import Trouble
from phoenix_ray.cluster.status import Status
from phoenix_ray.cluster.summary import RunOutcome, RunSummary, count_remainder, print_summary, versions
from phoenix_ray.config import Settings
from phoenix_ray.config_files import with_absolute_paths
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.identity import agree_on_identity, find_layout
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.permitted_source import PermittedSource
from phoenix_ray.dataset.shards import Expected
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.snapshot import tally_splits, unreadable_videos
from phoenix_ray.dataset.storage import Storage
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
from phoenix_ray.layouts import Layout
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.registry import describe_kind, open_source
from phoenix_ray.text import printable_line

# Videos in which the report at the end of a run measures movement: a minute or so on the machine of the driver.
REPORT_SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run has done, when it came to an end: finished, incomplete or stopped.

    Attributes:
        summary: Its numbers, and those of the dataset.
        outcome: The state, and what is left to do.
        layout: Parts and points of the dataset.
        storage: The dataset.
        stop: Which signal stopped it, if any.
    """

    summary: RunSummary
    outcome: RunOutcome
    layout: Layout
    storage: Storage
    stop: StopRequest

    @property
    def exit_code(self) -> int:
        """The exit code of the command line."""
        return self.stop.exit_code or (EXIT_INCOMPLETE if self.summary.failures else EXIT_OK)


def run_job(settings: Settings, words: Sequence[str] = ()) -> int:
    """Compute what is missing of a dataset, show how it ended and return the exit code of `phoenix-ray run`.

    Args:
        settings: The run's settings.
        words: What was typed after `phoenix-ray`.

    Raises:
        PhoenixRayError: Nothing could be computed, or the run had to stop; each kind has its exit code.
    """
    output = open_storage(settings.output.path).root
    screen = Screen(settings.run.log_format)
    try:
        result = compute_dataset(settings, screen, words)
        _show_result(result, screen)
        return result.exit_code
    except KeyboardInterrupt:
        # Outside of `stop_on_signals`, and in libraries that take signals for themselves.
        for line in RunOutcome("stopped", output, words=words).lines():
            screen.say(line)
        return EXIT_INTERRUPTED
    except (ModelError, ClusterError) as error:
        error.closing_lines = error.closing_lines or tuple(RunOutcome("failed", output, words=words).lines())
        return _end_with(error, screen)
    except PhoenixRayError as error:
        return _end_with(error, screen)


def _show_result(result: RunResult, screen: Screen) -> None:
    """Print how a run ended."""
    if screen.kind == "json":
        ended = replace(screen, run_id=result.summary.run_id)
        JsonDisplay(0.0, sys.stderr, ended.run_id).write("summary", "info", result.summary.tree())
        for line in result.outcome.lines():
            ended.say(line)
        return
    console = Console()
    print_summary(result.summary, result.layout, console)
    lines = map(printable_line, result.outcome.lines())
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _end_with(error: PhoenixRayError, screen: Screen) -> int:
    """Raise an error again for the command line, or say it as JSON and return the exit code."""
    if screen.kind == "text":
        raise error
    screen.say(str(error), "error", "error")
    for line in error.closing_lines:
        screen.say(line)
    return error.exit_code


def compute_dataset(
    settings: Settings, screen: Screen, words: Sequence[str] = (), *, in_python: bool = False
) -> RunResult:
    """Compute what is missing of a dataset.

    Args:
        settings: The run's settings.
        screen: Shows progress and messages.
        words: What was typed after `phoenix-ray`, to name the command that goes on.
        in_python: Whether a program goes on afterwards: then a second signal raises, and does not end the process.

    Raises:
        PhoenixRayError: Nothing could be computed, or the run had to stop. Its `closing_lines` say what is left.
        KeyboardInterrupt: SIGINT came before the run computed, or twice.
    """
    began = time.monotonic()
    settings = with_absolute_paths(settings)
    listed = open_source(settings.source)
    whole = PermittedSource(listed, open_storage(settings.output.path))
    share = Share.parse(settings.run.share)
    part = ShareOfSource(whole, share) if share else None
    source = part or whole
    screen.say(source.description)
    check_places(source.root, settings.output.path)
    with (
        # Kept until Ray has ended, so that a signal in the run's last seconds does not make it look failed.
        ExitStack() as signals,
        RaySession(settings.cluster, screen.say) as session,
        claim_output(settings, share=share, say=screen.say) as claim,
    ):
        screen = replace(screen, run_id=claim.run_id)
        settings = decide_auto(settings, claim.storage, source, session, screen.say)
        # `claim_dataset` records the identity of a new dataset once a worker has loaded the model.
        identity = agree_on_identity(claim.storage, make_identity(settings, source.root))
        stop = signals.enter_context(stop_on_signals(ends_process=not in_python))
        registry.ensure_ready(settings.model, screen.say)
        committed = take_stock(claim, identity, screen.say)
        if committed:
            # Its rows are there, so the dataset exists: a `dataset.json` that was lost is written again.
            claim.begin_dataset(identity)
        expected = Expected(committed)
        plan = replace(plan_run(settings, source, expected.missing_ranges), dropped=whole.left_out)
        screen.say(plan.line())
        _say_notes(claim, plan, screen.say)
        job = Job(settings, source, identity, claim, session, _open_record(settings, claim, plan, screen), stop)
        clear_away(job, committed, plan)
        for problem in plan.problems:
            trouble = Trouble("input", problem.message)
            job.record.add_failure(problem.split, problem.video_id, 0, 0, trouble, attempts=1)
        has_work = bool(plan.shards or (committed.partitions and not share))
        with _explaining(job, plan, words, in_python):
            workers = complete(job, plan, expected) if has_work else 0
            array = finish_array(job, part) if part and not stop else None
        if not array or array.is_settled:
            about = CardWords(settings.output.license, describe_kind(settings.source, listed))
            write_card(job.storage, identity, about, screen.say)
        state = "stopped" if stop else "incomplete" if job.record.failures else "finished"
        last = job.record.close(state)
        summary = _summarize(job, last, workers, time.monotonic() - began, array, screen)
    if settings.run.report:
        write_run_report(settings, claim, whole, summary, screen.say)
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
        in_python,
    )
    return RunResult(summary, outcome, find_layout(identity), claim.storage, stop)


def _open_record(settings: Settings, claim: Claim, plan: Plan, screen: Screen) -> RunRecord:
    meter = Meter(claim.run_id, plan.missing_frames, plan.total.committed_frames, share=settings.run.share)
    interval = settings.run.progress_seconds
    return RunRecord(claim.run_id, claim.storage, meter, screen.open_display(interval), interval, share=claim.share)


@contextmanager
def _explaining(job: Job, plan: Plan, words: Sequence[str], in_python: bool) -> Iterator[None]:
    """Where the block fails, close the record and add to the error how to go on."""
    try:
        yield
    except BaseException as error:
        last = job.record.close("failed")
        if isinstance(error, PhoenixRayError):
            left = count_remainder(plan, None, last.frames_done)
            outcome = RunOutcome("failed", job.storage.root, left, words=words, in_python=in_python)
            error.closing_lines = tuple(outcome.lines())
        raise


def _summarize(
    job: Job, last: Status, workers: int, seconds: float, array: ArrayState | None, screen: Screen
) -> RunSummary:
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
        screen.say(f"The summary could not be written. {error}")
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
