"""The suite `bucket`: the same run with its output in a bucket and in a folder.

The model is synthetic and costs next to nothing, so that workers do little else than commit: about 1,000 videos of 115
frames, a partition each.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contestants import in_scratch, own_environment, run_command
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import ConfigError

WHERE = "PHOENIX_RAY_BENCH_BUCKET"
VIDEOS_A_PASS = 250


def check_machine() -> None:
    """Do nothing if a bucket is named.

    Raises:
        ConfigError: None is.
    """
    if not os.environ.get(WHERE):
        raise ConfigError(f"No bucket is named: set {WHERE}=s3://BUCKET/FOLDER, and the credentials (docs/buckets.md).")


def run(request: Request) -> Findings:
    """Measure, alternating between the folder and the bucket."""
    return in_scratch(request.output, partial(_measure, request))


def _measure(request: Request, scratch: Path) -> Findings:
    bucket = f"{os.environ[WHERE].rstrip('/')}/bench-{secrets.token_hex(4)}"
    summaries: dict[str, list[dict[str, Any]]] = {"folder": [], "bucket": []}
    for number in range(request.rounds):
        for name, place in (("folder", f"{scratch}/{number}"), ("bucket", f"{bucket}/{number}")):
            request.announce(f"round {number + 1}: {name}")
            summaries[name].append(_run(request, place, scratch))
    rates = {
        name: [found["frames_computed"] / found["compute_seconds"] for found in all_]
        for name, all_ in summaries.items()
    }
    ratio = Rounds.of(there / here for there, here in zip(rates["bucket"], rates["folder"], strict=True))
    rows = [
        (
            name,
            f"{Rounds.of(rates[name]).median:,.0f}",
            f"{Rounds.of(found['seconds'] for found in summaries[name]).median:.1f}",
        )
        for name in summaries
    ]
    frames = summaries["folder"][0]["frames_computed"]
    return Findings(
        f"{frames:,} synthetic frames in {VIDEOS_A_PASS * request.passes:,} videos, by {request.workers} workers",
        request.rounds,
        [Table(("output in a", "frames/s committed", "seconds in all"), rows)],
        {"frames/s committed to a bucket ÷ to a folder": ratio},
        [
            f"The store is {os.environ.get('AWS_ENDPOINT_URL') or 'that of the scheme'}. If it is on this machine, it "
            "takes processor time from the workers."
        ],
        raw={name: [found["timings"] for found in all_] for name, all_ in summaries.items()},
    )


def _run(request: Request, place: str, scratch: Path) -> dict[str, Any]:
    """Run once, remove the dataset, and return the summary."""
    command = [sys.executable, "-m", "phoenix_ray.run", "source.kind=synthetic", "model.name=synthetic"]
    command += [f"source.max_videos_per_split={VIDEOS_A_PASS * request.passes}", f"output.path={place}"]
    run_command([*command, f"--num-workers={request.workers}"], scratch, own_environment())
    storage = open_storage(place)
    summary = _read_summary(storage)
    for file in storage.list(""):
        storage.delete(file.name)
    shutil.rmtree(place, ignore_errors=True)
    return summary


def _read_summary(storage: Storage) -> dict[str, Any]:
    name = next(file.name for file in storage.list(paths.RUNS) if file.name.endswith("/summary.json"))
    summary: dict[str, Any] = json.loads(storage.read(name))
    return summary
