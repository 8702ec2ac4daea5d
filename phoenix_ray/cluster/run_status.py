"""What the runs of a dataset say about themselves, seen from outside: for `phoenix-ray status`.

It reads `status.json` of the newest run, or of the newest run of each share where that run is an element of an array,
and who has the leases. It does not need Ray.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from typing import Any

from phoenix_ray.cluster.status import ENDED, MOST_AT_WORK, MOST_LATEST, Status, format_seconds, read_status
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import live_holders
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import counted

# A run at work writes its status more often than this.
SILENT_SECONDS = 60.0
# Elements of an array that are listed one by one.
_MOST_LISTED = 20
# The IDs of the runs of shares (`cluster.claim`).
_OF_SHARE = re.compile(r".*-([0-9]+)-of-([0-9]+)")
# The state of an array is the first of these that one of its elements has.
_WORST_FIRST = ("failed", "stopped", "incomplete", "finished")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run: at least one of the two is known.

    Attributes:
        latest: Its last `status.json`; None while it starts, and for work that is not a run's.
        holder: Its process; None when that is no longer at work.
    """

    latest: Status | None
    holder: LeaseHolder | None

    @property
    def share(self) -> str:
        """The share of the videos that it computes; empty for all."""
        return self.latest.share if self.latest else self.holder.share if self.holder else ""

    @property
    def state(self) -> str:
        """Its state; "starting" before its first report, "died" where it ended without one."""
        if self.latest is None:
            return "starting"
        return self.latest.state if self.holder or self.latest.state in ENDED else "died"

    def describe(self, now: float) -> str:
        """Return what it does, or how it ended, at a time in seconds since the epoch."""
        if self.latest is None:
            assert self.holder is not None
            since = format_seconds(max(0.0, now - self.holder.since))
            where = f"on {self.holder.host} (process {self.holder.pid}), {since} so far"
            # A run ID begins with the date, that of other work with its name.
            work = self.holder.run_id.partition("-")[0]
            return f"run {self.holder.run_id}: starting {where}" if work.isdigit() else f"{work}: at work {where}"
        run, age = self.latest, max(0.0, now - self.latest.updated)
        if self.holder is not None:
            silent = f" (silent for {format_seconds(age)})" if age > SILENT_SECONDS else ""
            return f"run {run.run_id}: {run.state}{silent}"
        state = run.state if run.state in ENDED else f"ended without a report while {run.state}, last seen"
        return f"run {run.run_id}: {state} {format_seconds(age)} ago"


def find_runs(storage: Storage) -> list[RunStatus]:
    """Return the runs at work and the newest run that ended; of an array the newest run of each share, by share.

    Raises:
        OutputError: A `status.json` is damaged, or the dataset cannot be read.
    """
    holders = {holder.run_id: holder for holder in live_holders(storage)}
    latest = [_read(storage, run_id) for run_id in _newest_runs(status_files(storage))]
    known = {status.run_id for status in latest}
    starting = [RunStatus(None, holder) for run_id, holder in holders.items() if run_id not in known]
    kept = [
        RunStatus(status, holders.get(status.run_id))
        for status in latest
        if status.run_id in holders or all(_are_of_one_array(status.share, run.share) for run in starting)
    ]
    return sorted([*kept, *starting], key=lambda run: _index(run.share))


def status_files(storage: Storage) -> list[str]:
    """Return the names of the `status.json` of all runs, in the order of the runs."""
    return sorted(file.name for file in storage.list(paths.RUNS) if file.name.endswith("/status.json"))


def combine(runs: Sequence[RunStatus]) -> Status | None:
    """Return the runs of an array as one: sums, and rate, time left and workers of those at work."""
    latest = [run.latest for run in runs if run.latest]
    if not latest:
        return None
    at_work = [run.latest for run in runs if run.latest and run.holder]
    left = [status.seconds_left for status in at_work if status.seconds_left is not None]
    return replace(
        max(latest, key=lambda status: status.run_id),
        state=_state_of_all(runs),
        frames_planned=sum(status.frames_planned for status in latest),
        frames_done=sum(status.frames_done for status in latest),
        frames_committed_before=sum(status.frames_committed_before for status in latest),
        shards_waiting=sum(status.shards_waiting for status in at_work),
        shards_in_flight=sum(status.shards_in_flight for status in at_work),
        failures=sum(status.failures for status in latest),
        workers=sum(status.workers for status in at_work),
        frames_per_second=sum(status.frames_per_second for status in at_work),
        seconds_left=max(left, default=None),
        elapsed_seconds=max(status.elapsed_seconds for status in latest),
        updated=max(status.updated for status in latest),
        share="",
        at_work=tuple(chain.from_iterable(status.at_work for status in at_work))[:MOST_AT_WORK],
        latest=tuple(filter(None, chain.from_iterable(zip_longest(*(status.latest for status in latest)))))[
            :MOST_LATEST
        ],
    )


def describe_runs(runs: Sequence[RunStatus], now: float) -> dict[str, Any]:
    """Return plain values about the runs of `find_runs` for a page that shows them; `now` is in Unix time.

    `whole` holds the fields of `Status`, of an array those of `combine`; None before the first report.
    """
    is_array = any(run.share for run in runs)
    whole = combine(runs) if is_array else runs[-1].latest if runs else None
    newest = runs[-1] if runs else None
    return {
        "now": now,
        "is_over": not any(run.holder for run in runs),
        "state": (whole.state if whole else "starting") if is_array else newest.state if newest else "no run yet",
        "description": counted(_count(runs), "share") if is_array else newest.describe(now) if newest else "",
        "whole": asdict(whole) if whole else None,
        "runs": [
            {
                "share": run.share,
                "description": run.describe(now),
                "progress": run.latest.line().strip() if run.latest else "",
            }
            for run in runs
        ],
    }


def array_lines(runs: Sequence[RunStatus], now: float) -> list[str]:
    """Return the runs of an array as lines: all in one, then those that are at work or need attention."""
    count = _count(runs)
    # Only a run knows how many frames its share has.
    states = Counter(run.state for run in runs) + Counter({"not begun and not counted here": max(0, count - len(runs))})
    lines = [f"array of {counted(count, 'share')}: {', '.join(f'{n:,} {state}' for state, n in states.items())}"]
    if whole := combine(runs):
        lines.append(whole.line())
    open_runs = [run for run in runs if run.holder or run.state != "finished"]
    for run in open_runs[:_MOST_LISTED]:
        progress = f"; {run.latest.line().strip()}" if run.latest else ""
        lines.append(f"share {run.share}: {run.describe(now)}{progress}")
    if len(open_runs) > _MOST_LISTED:
        lines.append(f"{len(open_runs) - _MOST_LISTED:,} more")
    return lines


def _state_of_all(runs: Sequence[RunStatus]) -> str:
    if any(run.holder for run in runs):
        return "running"
    states = {run.state for run in runs}
    if "died" in states or len(runs) < _count(runs):
        states.add("stopped")
    return next(state for state in _WORST_FIRST if state in states)


def _count(runs: Sequence[RunStatus]) -> int:
    """Return how many shares the array has."""
    return max(int(run.share.partition("/")[2]) for run in runs)


def _are_of_one_array(share: str, other: str) -> bool:
    """Whether two are different shares of the same number of shares."""
    return bool(share) and share != other and share.partition("/")[2] == other.partition("/")[2]


def _newest_runs(names: Sequence[str]) -> list[str]:
    """Return the newest run; where it is one of a share, the newest of each share since the last run over all."""
    runs = [name.split("/")[1] for name in names]
    newest: dict[str, str] = {}
    count = None
    for run_id in reversed(runs):
        match = _OF_SHARE.fullmatch(run_id)
        if match is None or (count is not None and match[2] != count):
            return list(newest.values()) or [run_id]
        count = match[2]
        newest.setdefault(match[1], run_id)
    return list(newest.values())


def _read(storage: Storage, run_id: str) -> Status:
    name = f"{paths.RUNS}/{run_id}/status.json"
    try:
        status = read_status(storage.read(name))
    except ValueError as error:
        raise OutputError(f"{storage.root}/{name} is damaged: {error}. Delete it.") from None
    dropped = read_drops(storage)
    return replace(
        status,
        at_work=tuple(shard for shard in status.at_work if not dropped.bans(shard.split, shard.video_id, {})),
        latest=tuple(shard for shard in status.latest if not dropped.bans(shard.split, shard.video_id, {})),
    )


def _index(share: str) -> int:
    index = share.partition("/")[0]
    return int(index) if index.isdigit() else -1
