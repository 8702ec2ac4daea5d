from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from phoenix_ray.dataset.lease import STALE_SECONDS, Holder, Lease, read_holder
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError

NOW = 1_800_000_000.0
# No process of Linux has this number: it is above the largest that the kernel allows.
DEAD = 2**22 + 1


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def occupy(storage: LocalStorage, host: str = "elsewhere", pid: int = 1, heartbeat: float = NOW) -> None:
    holder = Holder("their-run", host, pid, since=NOW - 3600, heartbeat=heartbeat)
    storage.write("lease.json", json.dumps(asdict(holder)).encode())


def test_a_lease_is_taken_renewed_and_given_back(tmp_path: Path) -> None:
    storage, clock = LocalStorage(str(tmp_path)), Clock()
    lease = Lease.acquire(storage, "run", clock=clock)
    assert read_holder(storage) == Holder("run", socket.gethostname(), os.getpid(), NOW, NOW)
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


@pytest.mark.parametrize("pid", [DEAD, os.getpid()])
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
