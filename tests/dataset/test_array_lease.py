"""Who may work on a dataset at the same time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.array_lease import keep_lease_for, lease_name, live_holders, remove_dead_leases
from phoenix_ray.dataset.lease import Lease, LeaseHeldError, LeaseHolder, read_holder
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError

SHARES = st.none() | st.integers(1, 4).flatmap(
    lambda count: st.builds(Share, st.integers(0, count - 1), st.just(count))
)


def occupy(storage: LocalStorage, share: Share | None, heartbeat: float | None = None, name: str = "") -> None:
    """Let a run on another machine have the lease for a share."""
    now = time.time() if heartbeat is None else heartbeat
    holder = LeaseHolder("their-run", "elsewhere", 1, now, now, share=str(share or ""))
    storage.write(name or lease_name(share), json.dumps(asdict(holder)).encode())


def files(storage: LocalStorage) -> list[str]:
    return sorted(file.name for file in storage.list(""))


def may_work_together(one: Share | None, other: Share | None) -> bool:
    return one is not None and other is not None and one.count == other.count and one.index != other.index


@given(SHARES, SHARES)
def test_only_different_shares_of_one_number_work_together(own: Share | None, other: Share | None) -> None:
    with TemporaryDirectory() as folder:
        storage = LocalStorage(folder)
        occupy(storage, other)
        if may_work_together(own, other):
            with keep_lease_for(storage, "our-run", own):
                assert {holder.run_id for holder in live_holders(storage)} == {"their-run"}
        else:
            with pytest.raises(LeaseHeldError, match="their-run"), keep_lease_for(storage, "our-run", own):
                pass
            assert files(storage) == [lease_name(other)], "who is refused leaves nothing"
        with keep_lease_for(storage, "our-run", own, force=True):
            assert lease_name(own) in files(storage)


@given(SHARES, SHARES)
def test_a_driver_that_died_is_in_nobodys_way_and_its_lease_goes(own: Share | None, other: Share | None) -> None:
    with TemporaryDirectory() as folder:
        storage = LocalStorage(folder)
        occupy(storage, other, heartbeat=time.time() - 1e6)
        with keep_lease_for(storage, "our-run", own):
            remove_dead_leases(storage, own)
            held = files(storage)
            assert lease_name(own) in held
            assert set(held) <= {lease_name(own), "lease.json"}
        assert not [name for name in files(storage) if name.startswith("leases/")]


def test_the_driver_that_merges_an_array_is_in_no_elements_way(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, Share(0, 4), name="lease.json")
    with keep_lease_for(storage, "our-run", Share(1, 4)):
        pass
    for own in (None, Share(1, 5)):
        with (
            pytest.raises(LeaseHeldError, match=r"the run their-run \(share 0/4\) on elsewhere"),
            keep_lease_for(storage, "our-run", own),
        ):
            pass


def test_of_two_that_take_leases_of_different_names_at_once_one_at_least_sees_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(str(tmp_path))
    create = storage.create

    def create_late(name: str, content: bytes) -> bool:
        occupy(storage, Share(2, 4))
        return create(name, content)

    monkeypatch.setattr(storage, "create", create_late)
    with pytest.raises(LeaseHeldError, match="share 2/4"), keep_lease_for(storage, "our-run"):
        pass
    assert read_holder(storage) is None


def test_a_run_over_all_videos_waits_until_the_last_share_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(str(tmp_path))
    held = [Share(0, 2), Share(1, 2)]
    for share in held:
        occupy(storage, share)
    monkeypatch.setattr(time, "sleep", lambda _: storage.delete(lease_name(held.pop())))
    with keep_lease_for(storage, "our-run", wait_seconds=3600):
        assert not held


def test_a_share_that_is_taken_over_is_told(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    lease = Lease.acquire(storage, "run", name=lease_name(Share(1, 4)), share="1/4")
    occupy(storage, Share(1, 4))
    with pytest.raises(OutputError, match="taken over"):
        lease.renew()
    lease.release()
    assert files(storage) == [lease_name(Share(1, 4))]


@pytest.mark.parametrize("share", ["x", "4/4", "1/"])
def test_a_lease_of_a_share_that_makes_no_sense_is_nobodys(tmp_path: Path, share: str) -> None:
    storage = LocalStorage(str(tmp_path))
    now = time.time()
    holder = LeaseHolder("their-run", "elsewhere", 1, now, now, share=share)
    storage.write("lease.json", json.dumps(asdict(holder)).encode())
    with keep_lease_for(storage, "our-run", Share(1, 4)):
        assert not live_holders(storage)


@pytest.mark.parametrize("name", ["x.json", "1-of-.json", "1-of-4.json.bak", "deep/1-of-4.json"])
def test_files_of_other_names_are_no_leases(tmp_path: Path, name: str) -> None:
    storage = LocalStorage(str(tmp_path))
    occupy(storage, Share(1, 4), name=f"leases/{name}")
    with keep_lease_for(storage, "our-run"):
        assert not live_holders(storage)
