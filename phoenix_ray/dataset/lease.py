"""The lease: a heartbeat file that keeps a second driver from working on the same output by mistake.

It is a courtesy, not a lock: two drivers at once can only waste work, since a partition has one name and a manifest is
published by compare-and-swap. So it never blocks for long: a driver takes over a lease whose process is dead, or whose
heartbeat is old if it is of another machine. A thread keeps the heartbeat from the first look at the dataset to the end
of the last compaction, whatever the rest of the driver waits for.

A lease has a mark that no other process has. A process number is not enough: the kernel reuses numbers, and each
container counts its own. On Linux the mark is made of the kernel's boot, the namespace of process numbers and the time
when the process began; elsewhere it is empty and says nothing.
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
from phoenix_ray.dataset.sealing import FiniteNumber, FrameNumber, parse_mapping, validate
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError

HEARTBEAT_SECONDS = 10.0
# Six missed heartbeats: a driver that waits for slow storage for half a minute is not dead.
STALE_SECONDS = 60.0
# Between two looks at a lease that another driver has.
_LOOK_SECONDS = 1.0
# The last second of the year 9999.
_LAST_SECOND = 253_402_300_799.0
Clock = Callable[[], float]
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
# Fields of `/proc/<pid>/stat` after the name in parentheses: the state, and the start in ticks since the boot.
_STATE, _START = 0, 19
_DEAD = {"Z", "X"}


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process: its machine (boot and namespace), and when it began there."""

    machine: str = ""
    began: str = ""


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The JSON of `lease.json` and of the leases of shares (`array_lease`): who works on an output.

    Attributes:
        run_id: The run.
        host: Name of the driver's machine.
        pid: The driver's process number there.
        since: When the driver began, in seconds since the epoch.
        heartbeat: When it was last alive, in seconds since the epoch.
        process: The mark of its process; empty where the system has none.
        share: The part of the videos that it computes (`share.Share`); empty for all.
    """

    run_id: str
    host: str
    pid: FrameNumber
    since: FiniteNumber
    heartbeat: FiniteNumber
    process: ProcessMark = field(default_factory=ProcessMark)
    share: str = ""


_HOLDER = TypeAdapter(LeaseHolder)


class LeaseHeldError(OutputError):
    """Another driver has the lease and seems to be at work."""


class LeaseLostError(OutputError):
    """Another driver has taken the lease."""


class Lease:
    """A lease that this driver has; `keep_lease` renews it for the length of a block."""

    def __init__(self, storage: Storage, holder: LeaseHolder, clock: Clock, name: str = paths.LEASE) -> None:
        self._storage = storage
        self._name = name
        self._holder = holder
        self._clock = clock
        self._lost: OutputError | None = None
        self._ended = threading.Event()

    @classmethod
    def acquire(
        cls,
        storage: Storage,
        run_id: str,
        force: bool = False,
        clock: Clock = time.time,
        name: str = paths.LEASE,
        share: str = "",
    ) -> Lease:
        """Take the lease of an output.

        Args:
            storage: The output.
            run_id: Names this run; unique.
            force: Take it although another driver seems to have it.
            clock: Returns seconds since the epoch.
            name: The file of the lease.
            share: What the driver computes; empty for all.

        Raises:
            LeaseHeldError: Another driver is at work.
            OutputError: The output cannot be written.
        """
        now = clock()
        holder = LeaseHolder(run_id, socket.gethostname(), os.getpid(), now, now, own_mark(), share)
        lease = cls(storage, holder, clock, name)
        if not storage.create(name, lease._content()):
            other = read_holder(storage, name)
            if other is not None and not force and is_alive(other, now):
                raise LeaseHeldError(_occupied(storage, other, now))
            storage.write(name, lease._content())
            # Of two drivers that take over the same lease, the one that wrote last has it.
            other = read_holder(storage, name)
            if other is not None and other.run_id != run_id:
                raise LeaseHeldError(_occupied(storage, other, now))
        return lease

    @property
    def since(self) -> float:
        """When this driver took the lease, in seconds since the epoch."""
        return self._holder.since

    def confirm(self) -> None:
        """Return if this driver still has the lease, as far as is known.

        Raises:
            OutputError: Another driver has taken it.
        """
        if self._lost is not None:
            raise self._lost

    def renew(self) -> None:
        """Record that this driver is alive.

        Raises:
            LeaseLostError: Another driver took the lease (it was started with --force, or believed this one dead).
            OutputError: The output cannot be written.
        """
        other = read_holder(self._storage, self._name)
        if other is not None and other.run_id != self._holder.run_id:
            raise LeaseLostError(
                f"The run {other.run_id} on {other.host} (process {other.pid}) has taken over {self._storage.root}. "
                "This run stops; nothing that is committed is lost."
            )
        self._holder = replace(self._holder, heartbeat=self._clock())
        self._storage.write(self._name, self._content())

    def release(self) -> None:
        """Give the lease back, unless another driver has taken it."""
        with suppress(OutputError):
            other = read_holder(self._storage, self._name)
            if other is not None and other.run_id == self._holder.run_id:
                self._storage.delete(self._name)

    def keep(self) -> None:
        """Renew the lease until `end` is called; runs in a thread."""
        while self._lost is None and not self._ended.wait(HEARTBEAT_SECONDS):
            # With a full disk or storage that is unavailable, the lease is renewed as soon as it can be written.
            with suppress(OutputError):
                self._beat()

    def _beat(self) -> None:
        try:
            self.renew()
        except LeaseLostError as error:
            self._lost = error

    def end(self) -> None:
        """Make `keep` return."""
        self._ended.set()

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder), indent=2).encode()


@contextmanager
def keep_lease(
    storage: Storage,
    run_id: str,
    force: bool = False,
    wait_seconds: float = 0.0,
    say: Callable[[str], None] | None = None,
    name: str = paths.LEASE,
    share: str = "",
    refuse_others: Callable[[], None] = lambda: None,
) -> Iterator[Lease]:
    """Take the lease of an output and renew it in a thread until the block ends.

    Args:
        storage: The output.
        run_id: Names this run; unique.
        force: Take it although another driver seems to have it.
        wait_seconds: How long to wait for another driver that has it.
        say: Receives a line when the wait begins.
        name: The file of the lease.
        share: What the driver computes; empty for all.
        refuse_others: Raises LeaseHeldError while a lease of another name stands against this one.

    Raises:
        LeaseHeldError: Another driver is at work, also after the wait.
        OutputError: The output cannot be written.
    """

    def acquire() -> Lease:
        refuse_others()
        lease = Lease.acquire(storage, run_id, force, name=name, share=share)
        try:
            # Of two drivers that take leases of different names at once, at least one sees the other's here.
            refuse_others()
        except LeaseHeldError:
            lease.release()
            raise
        return lease

    lease = _wait_for_lease(acquire, wait_seconds, say)
    heart = threading.Thread(target=lease.keep, name="lease", daemon=True)
    heart.start()
    try:
        yield lease
    finally:
        lease.end()
        heart.join()
        lease.release()


def _wait_for_lease(acquire: Callable[[], Lease], wait_seconds: float, say: Callable[[str], None] | None) -> Lease:
    end = time.monotonic() + wait_seconds
    while True:
        try:
            return acquire()
        except LeaseHeldError as error:
            left = end - time.monotonic()
            if left <= 0:
                raise
            if say is not None:
                say(f"{error} Waiting up to {wait_seconds:.0f} s for it (run.wait_for_lease_seconds).")
                say = None
        time.sleep(min(_LOOK_SECONDS, left))


def read_holder(storage: Storage, name: str = paths.LEASE) -> LeaseHolder | None:
    """Return who has the lease of an output; None where nobody has it or the file makes no sense."""
    try:
        return validate(_HOLDER, parse_mapping(storage.read(name)))
    except (FileNotFoundError, ValueError):
        return None


def is_alive(holder: LeaseHolder, now: float) -> bool:
    """Whether the driver that has a lease seems to be at work.

    On this machine it is at work as long as its process exists, however old the heartbeat: it may be stopped or wait
    for storage. It is not at work if its process is this one. For other machines the heartbeat decides; a heartbeat too
    far in the future comes from a clock that has jumped, and counts as stale.
    """
    running = is_running(holder.pid, holder.process)
    if running is not None:
        return running and holder.process != own_mark()
    # An earlier version wrote it, or a system without marks.
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


def refuse_alive(storage: Storage, name: str) -> None:
    """Raise LeaseHeldError if the driver that has the lease of this name seems to be at work."""
    now = time.time()
    holder = read_holder(storage, name)
    if holder is not None and is_alive(holder, now):
        raise LeaseHeldError(_occupied(storage, holder, now))


def _occupied(storage: Storage, holder: LeaseHolder, now: float) -> str:
    # No calendar reaches as far as a number in a file may.
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(min(max(0.0, holder.since), _LAST_SECOND)))
    here = is_running(holder.pid, holder.process)
    way_out = (
        "end that process, or give --force if it no longer works."
        if here
        else f"give --force if it is dead (without a heartbeat it counts as dead after {STALE_SECONDS:.0f} s)."
    )
    share = f" (share {holder.share})" if holder.share else ""
    return (
        f"{storage.root} is being written by the run {holder.run_id}{share} on {holder.host} (process {holder.pid}) "
        f"since {since}, last seen {max(0.0, now - holder.heartbeat):.0f} s ago. Wait for it, or {way_out}"
    )


@lru_cache(1)
def own_mark() -> ProcessMark:
    """Return the mark of this process, an empty one where the system does not say."""
    began = _began(os.getpid())
    return ProcessMark(_machine(), began) if began and _machine() else ProcessMark()


def is_running(pid: int, mark: ProcessMark) -> bool | None:
    """Whether a process of this machine still runs; None if unknown or not of this machine."""
    if not mark.machine or not mark.began or mark.machine != own_mark().machine:
        return None
    return _began(pid) == mark.began


def _began(pid: int) -> str:
    """Return when a process began, empty where there is no process of that number or only a zombie."""
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
