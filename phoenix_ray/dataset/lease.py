"""The lease: a heartbeat file that keeps a second driver from working on the same output by mistake.

It is a courtesy, not a lock: two drivers at once can only waste work, since a partition has one name and a manifest is
published by compare-and-swap. So it never blocks for long: a lease whose process is dead is taken over, and so is one
of another machine whose heartbeat is old. A thread of its own keeps the heartbeat, from the first look at the dataset
to the end of the last compaction, whatever the rest of the driver waits for.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.json_records import FiniteNumber, FrameNumber, parse_mapping, validate
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError

HEARTBEAT_SECONDS = 10.0
# Six missed heartbeats: a driver that hangs on slow storage for half a minute is not dead.
STALE_SECONDS = 60.0
Clock = Callable[[], float]
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
# Fields of `/proc/<pid>/stat` behind the name in parentheses: the state, and the start in ticks since the boot.
_STATE, _START = 0, 19
_DEAD = {"Z", "X"}


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process: on which machine (boot and namespace), and when it began there."""

    machine: str = ""
    began: str = ""


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who works on an output.

    Attributes:
        run_id: The run.
        host: Name of the driver's machine.
        pid: Its process there.
        since: When it began, seconds since the epoch.
        heartbeat: When it was last known to be alive.
        process: The mark of its process (`process_mark`); empty where the system has none.
    """

    run_id: str
    host: str
    pid: FrameNumber
    since: FiniteNumber
    heartbeat: FiniteNumber
    process: ProcessMark = field(default_factory=ProcessMark)


_HOLDER = TypeAdapter(LeaseHolder)


class LeaseLostError(OutputError):
    """Another driver has taken the lease."""


class Lease:
    """A lease that is held; `hold` keeps it for the length of a block."""

    def __init__(self, storage: Storage, holder: LeaseHolder, clock: Clock) -> None:
        self._storage = storage
        self._holder = holder
        self._clock = clock
        self._lost: OutputError | None = None
        self._ended = threading.Event()

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
        holder = LeaseHolder(run_id, socket.gethostname(), os.getpid(), since=now, heartbeat=now, process=own_mark())
        lease = cls(storage, holder, clock)
        if not storage.create(paths.LEASE, lease._content()):
            other = read_holder(storage)
            if other is not None and not force and is_alive(other, now):
                raise OutputError(_occupied(storage, other, now))
            storage.write(paths.LEASE, lease._content())
            # Of two that take over the same lease, the one that wrote last has it.
            other = read_holder(storage)
            if other is not None and other.run_id != run_id:
                raise OutputError(_occupied(storage, other, now))
        return lease

    def confirm(self) -> None:
        """Return while this driver holds the lease, as far as is known.

        Raises:
            OutputError: Another driver has taken it.
        """
        if self._lost is not None:
            raise self._lost

    def renew(self) -> None:
        """Say that this driver is alive.

        Raises:
            LeaseLostError: Another driver took the lease (it was started with --force, or believed this one dead).
            OutputError: The output cannot be written.
        """
        other = read_holder(self._storage)
        if other is not None and other.run_id != self._holder.run_id:
            raise LeaseLostError(
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

    def keep(self) -> None:
        """Renew until `end`; the work of a thread."""
        while self._lost is None and not self._ended.wait(HEARTBEAT_SECONDS):
            # A full disk, or storage that is away: the lease is as it was, and is renewed as soon as that works.
            with suppress(OutputError):
                self._beat()

    def _beat(self) -> None:
        try:
            self.renew()
        except LeaseLostError as error:
            self._lost = error

    def end(self) -> None:
        """Let `keep` return."""
        self._ended.set()

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder), indent=2).encode()


@contextmanager
def keep_lease(storage: Storage, run_id: str, force: bool = False) -> Iterator[Lease]:
    """Hold the lease of an output, and keep its heartbeat in a thread.

    Raises:
        OutputError: Another driver is at work, or the output cannot be written.
    """
    lease = Lease.acquire(storage, run_id, force)
    heart = threading.Thread(target=lease.keep, name="lease", daemon=True)
    heart.start()
    try:
        yield lease
    finally:
        lease.end()
        heart.join()
        lease.release()


def read_holder(storage: Storage) -> LeaseHolder | None:
    """Return who holds the lease of an output; None when nobody does or the file makes no sense."""
    try:
        return validate(_HOLDER, parse_mapping(storage.read(paths.LEASE)))
    except (FileNotFoundError, ValueError):
        return None


def is_alive(holder: LeaseHolder, now: float) -> bool:
    """Whether a holder seems to be at work.

    A process of this machine is asked for: it is at work as long as it exists, however old its heartbeat (it may be
    stopped, or wait for its storage). It is not the holder when it is this very process. Elsewhere the heartbeat
    decides; one that lies as far in the future as a stale one in the past comes from a clock that has jumped, and
    counts for as little.
    """
    running = is_running(holder.pid, holder.process)
    if running is not None:
        return running and holder.process != own_mark()
    # Written by an earlier version, or where processes have no mark.
    unmarked = not holder.process.machine and holder.host == socket.gethostname()
    if unmarked and (holder.pid == os.getpid() or not _process_exists(holder.pid)):
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


def _occupied(storage: Storage, holder: LeaseHolder, now: float) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    here = is_running(holder.pid, holder.process)
    way_out = (
        "end that process, or give --force if it does nothing any more."
        if here
        else f"give --force if it is dead (it is taken for dead after {STALE_SECONDS:.0f} s)."
    )
    return (
        f"{storage.root} is being written by the run {holder.run_id} on {holder.host} (process {holder.pid}) since "
        f"{since}, last seen {max(0.0, now - holder.heartbeat):.0f} s ago. Wait for it, or {way_out}"
    )


@lru_cache(1)
def own_mark() -> ProcessMark:
    """Return the mark of this process, an empty one where the system does not say."""
    began = _began(os.getpid())
    return ProcessMark(_machine(), began) if began and _machine() else ProcessMark()


def is_running(pid: int, mark: ProcessMark) -> bool | None:
    """Whether a process of this machine still runs; None where it belongs to another, or that cannot be known."""
    if not mark.machine or not mark.began or mark.machine != own_mark().machine:
        return None
    return _began(pid) == mark.began


def _began(pid: int) -> str:
    """Return when a process began, empty when there is none of that number, or only what is left of one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[_STATE] in _DEAD else fields[_START]
    except (OSError, IndexError):
        return ""


def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_NUMBERS.readlink()}"
    except OSError:
        return ""
