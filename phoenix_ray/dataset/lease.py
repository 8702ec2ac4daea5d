"""The lease: a heartbeat file that keeps a second driver from working on the same output by mistake.

It is a courtesy, not a lock: two drivers at once can only waste work, since a partition has one name and a manifest is
replaced in one step. So it never blocks for long: a lease whose process is dead, or whose heartbeat is old, is taken
over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from phoenix_ray.dataset import json_values, paths
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError

HEARTBEAT_SECONDS = 10.0
# Six missed heartbeats: a driver that hangs on slow storage for half a minute is not dead.
STALE_SECONDS = 60.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on an output.

    Attributes:
        run_id: The run.
        host: Name of the driver's machine.
        pid: Its process there.
        since: When it began, seconds since the epoch.
        heartbeat: When it was last known to be alive.
    """

    run_id: str
    host: str
    pid: int
    since: float
    heartbeat: float


class Lease:
    """A lease that is held. Call `renew` every `HEARTBEAT_SECONDS`, `release` at the end."""

    def __init__(self, storage: Storage, holder: Holder, clock: Clock) -> None:
        self._storage = storage
        self._holder = holder
        self._clock = clock

    @classmethod
    def acquire(cls, storage: Storage, run_id: str, force: bool = False, clock: Clock = time.time) -> Lease:
        """Take the lease of an output.

        Args:
            storage: The output.
            run_id: Names this run; unique.
            force: Take it although another driver seems to hold it.
            clock: Gives seconds since the epoch.

        Raises:
            OutputError: Another driver is at work, with its name and since when; or the output cannot be written.
        """
        now = clock()
        holder = Holder(run_id, socket.gethostname(), os.getpid(), since=now, heartbeat=now)
        lease = cls(storage, holder, clock)
        if not storage.create(paths.LEASE, lease._content()):
            other = read_holder(storage)
            if other is not None and not force and is_alive(other, now):
                raise OutputError(_occupied(storage, other, now))
            storage.write(paths.LEASE, lease._content())
        return lease

    def renew(self) -> None:
        """Say that this driver is alive.

        Raises:
            OutputError: Another driver took the lease (it was started with --force, or believed this one dead), or the
                output cannot be written.
        """
        other = read_holder(self._storage)
        if other is not None and other.run_id != self._holder.run_id:
            raise OutputError(
                f"The run {other.run_id} on {other.host} (process {other.pid}) has taken over {self._storage.root}. "
                "This run stops; nothing that is committed is lost."
            )
        self._holder = replace(self._holder, heartbeat=self._clock())
        self._storage.write(paths.LEASE, self._content())

    def release(self) -> None:
        """Give the lease back, unless another driver has taken it."""
        with suppress(OutputError):
            other = read_holder(self._storage)
            if other is not None and other.run_id == self._holder.run_id:
                self._storage.delete(paths.LEASE)

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder), indent=2).encode()


def read_holder(storage: Storage) -> Holder | None:
    """Return who holds the lease of an output; None when nobody does or the file makes no sense."""
    try:
        tree = json_values.parse_mapping(storage.read(paths.LEASE))
        return Holder(
            run_id=json_values.text(tree["run_id"]),
            host=json_values.text(tree["host"]),
            pid=json_values.count(tree["pid"]),
            since=json_values.number(tree["since"]),
            heartbeat=json_values.number(tree["heartbeat"]),
        )
    except (FileNotFoundError, ValueError, KeyError):
        return None


def is_alive(holder: Holder, now: float) -> bool:
    """Whether a holder seems to be at work.

    A process of this machine is asked for; it is not the holder when it is this very process, which a restarted
    container gives the same number. Otherwise the heartbeat decides; one that lies as far in the future as a stale one
    in the past comes from a clock that has jumped, and counts for as little.
    """
    if holder.host == socket.gethostname() and (holder.pid == os.getpid() or not _process_exists(holder.pid)):
        return False
    return abs(now - holder.heartbeat) < STALE_SECONDS


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _occupied(storage: Storage, holder: Holder, now: float) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return (
        f"{storage.root} is being written by the run {holder.run_id} on {holder.host} (process {holder.pid}) since "
        f"{since}, last seen {max(0.0, now - holder.heartbeat):.0f} s ago. Wait for it, or give --force if it is dead "
        f"(it is taken for dead after {STALE_SECONDS:.0f} s)."
    )
