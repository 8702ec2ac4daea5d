from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from phoenix_ray.dataset import lease as lease_module
from phoenix_ray.dataset.lease import (
    STALE_SECONDS,
    Lease,
    LeaseHeldError,
    LeaseHolder,
    is_alive,
    keep_lease,
    read_holder,
)
from phoenix_ray.dataset.process_mark import ProcessMark, is_running, own_mark
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError

NOW = 1_800_000_000.0
# No process of Linux has this number: it is above the largest that the kernel allows.
DEAD = 2**22 + 1


THEIRS = json.dumps(asdict(LeaseHolder("their-run", "elsewhere", 1, NOW, NOW))).encode()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def occupy(storage: LocalStorage, host: str = "elsewhere", pid: int = 1, heartbeat: float = NOW) -> None:
    holder = LeaseHolder("their-run", host, pid, since=NOW - 3600, heartbeat=heartbeat)
    storage.write("lease.json", json.dumps(asdict(holder)).encode())


def test_a_lease_is_taken_renewed_and_given_back(tmp_path: Path) -> None:
    storage, clock = LocalStorage(str(tmp_path)), Clock()
    lease = Lease.acquire(storage, "run", clock=clock)
    assert read_holder(storage) == LeaseHolder("run", socket.gethostname(), os.getpid(), NOW, NOW, own_mark())
    clock.now += 10
    lease.renew()
    holder = read_holder(storage)
    assert holder is not None
    assert (holder.since, holder.heartbeat) == (NOW, NOW + 10)
    lease.release()
    assert read_holder(storage) is None
    lease.release()


@pytest.mark.parametrize("age", [0.0, STALE_SECONDS - 1, 1 - STALE_SECONDS])
def test_a_second_driver_is_warned_off_with_who_and_since_when(tmp_path: Path, age: float) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, heartbeat=NOW - age)
    with pytest.raises(OutputError) as caught:
        Lease.acquire(storage, "run", clock=Clock())
    for word in ("their-run", "elsewhere", "process 1", "since", "--force", str(tmp_path)):
        assert word in str(caught.value)
    assert Lease.acquire(storage, "run", force=True, clock=Clock())


@pytest.mark.parametrize("age", [STALE_SECONDS, 1e6, -STALE_SECONDS, -1e6])
def test_an_old_heartbeat_and_one_of_a_clock_that_jumped_do_not_count(tmp_path: Path, age: float) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, heartbeat=NOW - age)
    Lease.acquire(storage, "run", clock=Clock())
    holder = read_holder(storage)
    assert holder is not None
    assert holder.run_id == "run"


@pytest.mark.parametrize("pid", [DEAD, os.getpid()], ids=["dead", "our own"])
def test_a_process_of_this_machine_that_is_dead_does_not_count(tmp_path: Path, pid: int) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, host=socket.gethostname(), pid=pid)
    assert Lease.acquire(storage, "run", clock=Clock())


def test_a_live_process_of_this_machine_counts(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, host=socket.gethostname(), pid=os.getppid())
    with pytest.raises(OutputError):
        Lease.acquire(storage, "run", clock=Clock())


def test_a_driver_that_lost_its_lease_is_told_and_leaves_it_alone(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    lease = Lease.acquire(storage, "run", clock=Clock())
    occupy(storage)
    with pytest.raises(OutputError, match="taken over"):
        lease.renew()
    lease.release()
    holder = read_holder(storage)
    assert holder is not None
    assert holder.run_id == "their-run"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_lease_that_makes_no_sense_is_nobodys(tmp_path: Path, content: bytes) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("lease.json", content)
    assert Lease.acquire(storage, "run", clock=Clock())


def take_over_and_confirm(storage: LocalStorage, lease: Lease) -> None:
    """Take the lease away until that is noticed: a heartbeat may be written in the very moment of it."""
    while True:
        occupy(storage)
        lease.confirm()
        time.sleep(0.05)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def mark_of(process: subprocess.Popen[bytes]) -> ProcessMark:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return ProcessMark(own_mark().machine, fields[19])


@pytest.mark.skipif(not own_mark().machine, reason="the system does not tell processes apart")
def test_a_process_that_lives_is_never_taken_for_dead(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    with sleeper() as process:
        holder = LeaseHolder("their-run", socket.gethostname(), process.pid, NOW, NOW - 1e6, mark_of(process))
        storage.write("lease.json", json.dumps(asdict(holder)).encode())
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(OutputError, match=f"process {process.pid}.*end that process"):
            Lease.acquire(storage, "run", clock=Clock())
        process.kill()
        # Until it is waited for there is something left of it.
        while is_running(process.pid, holder.process):
            pass
        assert Lease.acquire(storage, "run", clock=Clock())


@pytest.mark.skipif(not own_mark().machine, reason="the system does not tell processes apart")
def test_another_process_of_the_same_number_is_not_the_holder() -> None:
    began_before = ProcessMark(own_mark().machine, "1")
    assert not is_alive(LeaseHolder("run", socket.gethostname(), os.getppid(), NOW, NOW, began_before), NOW)
    # In another container the number says nothing, even where the name of the host is the same.
    elsewhere = ProcessMark("another boot", "1")
    assert is_alive(LeaseHolder("run", socket.gethostname(), DEAD, NOW, NOW, elsewhere), NOW)


def test_the_heartbeat_goes_on_while_the_driver_does_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    storage = LocalStorage(str(tmp_path))
    with keep_lease(storage, "run") as lease:
        first = read_holder(storage)
        assert first is not None
        while read_holder(storage) == first:
            pass
        lease.confirm()
        with pytest.raises(OutputError, match="taken over"):
            take_over_and_confirm(storage, lease)
    holder = read_holder(storage)
    assert holder is not None
    assert holder.run_id == "their-run"


def test_a_heartbeat_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    storage = LocalStorage(str(tmp_path))
    refused: list[str] = []
    write = storage.write

    def full_at_first(name: str, content: bytes) -> None:
        if len(refused) < 3:
            refused.append(name)
            raise OutputError("no space left")
        write(name, content)

    with keep_lease(storage, "run") as lease:
        monkeypatch.setattr(storage, "write", full_at_first)
        first = read_holder(storage)
        while read_holder(storage) == first:
            pass
        lease.confirm()
    assert len(refused) == 3
    assert read_holder(storage) is None


def test_of_two_that_take_over_one_lease_the_last_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, heartbeat=NOW - 1e6)
    write = storage.write

    def overtaken(name: str, content: bytes) -> None:
        write(name, content)
        write(name, THEIRS)

    monkeypatch.setattr(storage, "write", overtaken)
    with pytest.raises(OutputError, match="their-run"):
        Lease.acquire(storage, "run", clock=Clock())


@pytest.mark.parametrize("since", [-1e308, 2.0**63, 1e308])
def test_a_time_that_no_calendar_has_is_refused_without_a_traceback(tmp_path: Path, since: float) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("lease.json", json.dumps(asdict(LeaseHolder("their-run", "elsewhere", 1, since, NOW))).encode())
    with pytest.raises(OutputError, match="is being written by the run their-run"):
        Lease.acquire(storage, "our-run", clock=Clock())


def test_a_driver_that_waits_takes_the_lease_when_the_other_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, heartbeat=time.time())
    said: list[str] = []
    # The other driver ends while this one waits.
    monkeypatch.setattr(time, "sleep", lambda seconds: storage.delete("lease.json"))
    with keep_lease(storage, "run", wait_seconds=3600, say=said.append):
        holder = read_holder(storage)
    assert holder is not None
    assert holder.run_id == "run"
    assert len(said) == 1
    assert "their-run" in said[0]


def test_a_driver_waits_no_longer_than_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, heartbeat=time.time() + 30)
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(LeaseHeldError, match="their-run"), keep_lease(storage, "run", wait_seconds=2.5):
        pass
    assert slept == [1.0, 1.0, 0.5]


def test_two_threads_of_a_process_do_not_write_one_output(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))

    def take(force: bool = False) -> str:
        with keep_lease(storage, "second", force=force):
            return "taken"

    with ThreadPoolExecutor(1) as thread:
        with keep_lease(storage, "first"):
            with pytest.raises(LeaseHeldError, match="another call in this process"):
                thread.submit(take).result()
            other = LocalStorage(str(tmp_path / "other"))
            with keep_lease(other, "first"):
                pass
        assert thread.submit(take).result() == "taken"
        with keep_lease(storage, "first"):
            assert thread.submit(take, True).result() == "taken"


def test_a_call_that_was_interrupted_does_not_stand_against_the_next(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    interrupted = keep_lease(storage, "first")
    interrupted.__enter__()
    with keep_lease(storage, "second") as lease:
        lease.confirm()
    left = keep_lease(storage, "third")
    thread = threading.Thread(target=left.__enter__)
    thread.start()
    thread.join()
    with keep_lease(storage, "fourth") as lease:
        lease.confirm()
