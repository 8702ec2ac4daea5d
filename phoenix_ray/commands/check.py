"""`phoenix-ray check OUTPUT`: reads a dataset to its last byte, reports what is wrong with it, and repairs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from phoenix_ray.text import progress_bar

if TYPE_CHECKING:
    from phoenix_ray.dataset.check.dataset_check import DatasetCheck
    from phoenix_ray.dataset.check.files import Finding
    from phoenix_ray.dataset.check.report import CheckReport
    from phoenix_ray.dataset.storage import Storage


@click.command()
@click.argument("output")
@click.option("--repair", is_flag=True, help="Repair it; damaged files go to OUTPUT/quarantine.")
@click.option("--source", default="", help="Also compare with the source at this path (the run's source.path).")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes (default: one per core, fewer for a small dataset)."
)
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON.")
def check(output: str, repair: bool, source: str, workers: int | None, as_json: bool) -> None:
    """Check every file of the dataset in OUTPUT: bytes, page checksums, order, counts, digests.

    \b
    Exit codes:
      0  whole: nothing to repair, nothing to compute
      3  sound, but frames are missing (or there is none yet), the source has changed, or a video cannot be opened
      4  the source cannot be read
      6  there is no dataset, it cannot be read, or (--repair) a run is writing it
      8  something is damaged, lost or left over; --repair fixes it
    """
    from phoenix_ray.dataset.locations import open_storage

    storage = open_storage(output)
    report = _repair(storage, source, workers) if repair else _check(storage, source, workers)
    click.echo(report.to_json() if as_json else report.to_text())
    sys.exit(report.exit_code)


def _check(storage: Storage, source: str, workers: int | None) -> CheckReport:
    from phoenix_ray.dataset.check.dataset_check import check_dataset
    from phoenix_ray.dataset.check.report import CheckReport

    with progress_bar("checking", "files") as show:
        inspection = check_dataset(storage, workers, show)
    return CheckReport(storage.root, inspection, (*inspection.findings, *_compare(storage, inspection, source)))


def _repair(storage: Storage, source: str, workers: int | None) -> CheckReport:
    """Check, repair what needs it, and check the result."""
    from phoenix_ray.dataset import paths
    from phoenix_ray.dataset.check.dataset_check import check_dataset
    from phoenix_ray.dataset.check.files import TO_REPAIR, of_kinds
    from phoenix_ray.dataset.check.repair import alone_on, repair
    from phoenix_ray.dataset.check.report import CheckReport

    with alone_on(storage) as lease, progress_bar("checking", "files") as show:
        before = check_dataset(storage, workers, show)
        lease.confirm()
        done = repair(storage, before)
        if paths.IDENTITY in done.quarantined:
            return CheckReport(storage.root, before, before.findings, before.findings, done)
        after = before
        if of_kinds(before.findings, TO_REPAIR):
            after = check_dataset(storage, workers, show)
    findings = (*after.findings, *_compare(storage, after, source))
    return CheckReport(storage.root, after, findings, tuple(of_kinds(before.findings, TO_REPAIR)), done)


def _compare(storage: Storage, inspection: DatasetCheck, source: str) -> Iterator[Finding]:
    """Yield how the dataset differs from the source, if one was given."""
    from phoenix_ray.config import SourceSettings
    from phoenix_ray.dataset.check.dataset_check import compare_with_source
    from phoenix_ray.dataset.identity import as_recorded
    from phoenix_ray.dataset.permitted_source import PermittedSource
    from phoenix_ray.sources.registry import open_source

    identity = inspection.identity
    if source and identity is not None:
        settings = as_recorded(SourceSettings(path=source), identity)
        yield from compare_with_source(inspection, PermittedSource(open_source(settings), storage).videos())
