"""The lease: a heartbeat file that keeps a second driver from working on the same output by mistake.

It is a courtesy, not a lock: two drivers at once can only waste work, since a partition has one name and a manifest is
published by compare-and-swap. (In an object store, taking and renewing the lease is such a swap too.) So it never
blocks for long: a driver takes over a lease whose process is dead, or whose heartbeat is old if it is of another
machine. A thread keeps the heartbeat from the first look at the dataset to the end of the last compaction, whatever the
rest of the driver waits for.
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

from pydantic import TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.process_mark import ProcessMark, is_running, own_mark
from phoenix_ray.dataset.sealing import FiniteNumber, FrameNumber, parse_mapping, validate
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.setting_types import ShareText

HEARTBEAT_SECONDS = 10.0
# Six missed heartbeats: a driver that waits for slow storage for half a minute is not dead.
STALE_SECONDS = 60.0
# Between two looks at a lease that another driver has.
_LOOK_SECONDS = 1.0
# How often a lease is read again that changed before it could be taken or renewed.
_ATTEMPTS = 3
# The last second of the year 9999.
_LAST_SECOND = 253_402_300_799.0
Clock = Callable[[], float]
# Process, output and name of each lease that this process keeps → the thread that took it. The file alone does not
# show it: a lease of this very process may also be one that an earlier, interrupted call could not give back. That call
# was made by the same thread, or by one that has ended.
_kept: dict[tuple[ProcessMark, int, str, str], threading.Thread] = {}
_kept_lock = threading.Lock()


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
    share: ShareText = ""


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
        for _ in range(_ATTEMPTS):
            if storage.create(name, lease._content()):
                return lease
            content, other = _read(storage, name)
            if other is not None and not force and is_alive(other, now):
                raise LeaseHeldError(_occupied(storage, other, now))
            if content is not None and storage.replace(name, content, lease._content()):
                return lease
        raise LeaseHeldError(f"{storage.root} is being claimed by other runs at this moment. Start again in a minute.")

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
        for _ in range(_ATTEMPTS):
            content, other = _read(self._storage, self._name)
            if other is not None and other.run_id != self._holder.run_id:
                raise LeaseLostError(
                    f"The run {other.run_id} on {other.host} (process {other.pid}) has taken over "
                    f"{self._storage.root}. This run stops; nothing that is committed is lost."
                )
            self._holder = replace(self._holder, heartbeat=self._clock())
            # Another driver may take it over at this moment. If it only comes and goes, the next heartbeat renews.
            if content is None and self._storage.create(self._name, self._content()):
                return
            if content is not None and self._storage.replace(self._name, content, self._content()):
                return

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
        with _kept_lock:
            keeper = _kept.get(place, threading.current_thread())
            if keeper is not threading.current_thread() and keeper.is_alive() and not force:
                raise LeaseHeldError(
                    f"{storage.root} is being written by another call in this process. Wait for it, or give another "
                    "output."
                )
            _kept[place] = threading.current_thread()
        try:
            lease = Lease.acquire(storage, run_id, force, name=name, share=share)
        except OutputError:
            _kept.pop(place, None)
            raise
        try:
            # Of two drivers that take leases of different names at once, at least one sees the other's here.
            refuse_others()
        except LeaseHeldError:
            _kept.pop(place, None)
            lease.release()
            raise
        return lease

    place = (own_mark(), os.getpid(), storage.root, name)
    lease = _wait_for_lease(acquire, wait_seconds, say)
    heart = threading.Thread(target=lease.keep, name="lease", daemon=True)
    heart.start()
    try:
        yield lease
    finally:
        lease.end()
        heart.join()
        lease.release()
        _kept.pop(place, None)


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


def read_holder(storage: ReadableStorage, name: str = paths.LEASE) -> LeaseHolder | None:
    """Return who has the lease of an output; None where nobody has it or the file makes no sense."""
    return _read(storage, name)[1]


def _read(storage: ReadableStorage, name: str) -> tuple[bytes | None, LeaseHolder | None]:
    """Return the content of a lease, None where there is none, and the holder, None where it makes no sense."""
    try:
        content = storage.read(name)
    except FileNotFoundError:
        return None, None
    try:
        return content, validate(_HOLDER, parse_mapping(content))
    except ValueError:
        return content, None


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
        "end that process, or set run.force=true (--force) if it no longer works."
        if here
        else "set run.force=true (--force) if it is dead (without a heartbeat it counts as dead after "
        f"{STALE_SECONDS:.0f} s)."
    )
    share = f" (share {holder.share})" if holder.share else ""
    return (
        f"{storage.root} is being written by the run {holder.run_id}{share} on {holder.host} (process {holder.pid}) "
        f"since {since}, last seen {max(0.0, now - holder.heartbeat):.0f} s ago. Wait for it, or {way_out}"
    )
