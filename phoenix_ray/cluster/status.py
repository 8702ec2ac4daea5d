"""`phoenix-ray status` and `phoenix-ray failures`: a dataset looked at from outside, during a run or after it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from phoenix_ray.cluster.progress import Status
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import read_failures
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.errors import OutputError
from phoenix_ray.untrusted_text import printable_line, printable_text

WATCH_SECONDS = 2.0
ENDED = ("finished", "incomplete", "stopped", "failed")


def show_status(output: Path, *, watch: bool, as_json: bool) -> None:
    """Print how far the dataset is; with `watch`, until its run ends.

    Raises:
        OutputError: There is no dataset.
    """
    storage = open_storage(str(output))
    identity = read_identity(storage)
    if as_json:
        print(json.dumps(_latest(storage), indent=2))
        return
    if not watch:
        print(printable_text(_describe(storage, identity, _latest(storage))))
        return
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            latest = _latest(storage)
            live.update(Text(printable_text(_describe(storage, identity, latest))), refresh=True)
            if not latest or latest["state"] in ENDED:
                return
            time.sleep(WATCH_SECONDS)


def show_failures(output: Path, *, traceback: bool) -> None:
    """Print the failure list.

    Raises:
        OutputError: There is no dataset.
    """
    storage = open_storage(str(output))
    read_identity(storage)
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


def _latest(storage: Storage) -> dict[str, Any]:
    """Return `status.json` of the newest run, empty when there was none."""
    names = sorted(file.name for file in storage.list(paths.RUNS) if file.name.endswith("/status.json"))
    try:
        return dict(json.loads(storage.read(names[-1]))) if names else {}
    except ValueError as error:
        raise OutputError(f"{storage.root}/{names[-1]} is damaged: {error}. Delete it.") from None


def _describe(storage: Storage, identity: DatasetIdentity, latest: dict[str, Any]) -> str:
    lines = [f"{storage.root}: {read_manifest(storage, identity).tally.rows:,} rows in data files"]
    if latest:
        status = Status(**latest)
        age = time.time() - status.updated
        silent = f" (silent for {age:.0f} s: the driver may be gone)" if status.state not in ENDED and age > 60 else ""
        lines += [f"run {status.run_id}: {status.state}{silent}", status.line()]
    return "\n".join(lines)
