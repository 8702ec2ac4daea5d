"""Leases for drivers that share a dataset: either one works on all of it, or the elements of one array do.

`lease.json` is the lease of a driver that works on all videos: a run, a compaction, a repair. An element of an array
has `leases/<index>-of-<count>.json` instead, for its share of the videos (`share.Share`). A driver for all videos and
one for a share refuse each other, and so do shares of different counts: they may overlap.

The last element of an array takes `lease.json` too, to merge what all have computed. Elements of the same count do not
mind: they write partitions, which a compaction never loses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.lease import Lease, LeaseHolder, is_alive, keep_lease, read_holder, refuse_alive
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import ReadableStorage, Storage

# Held by the element that makes a new dataset, until `dataset.json` is there.
BEGINNING = f"{paths.LEASES}/beginning.json"
_OF_SHARE = re.compile(rf"{paths.LEASES}/[0-9]+-of-[0-9]+\.json")


def lease_name(share: Share | None) -> str:
    """Return the name of the lease for a share; None is all videos."""
    return f"{paths.LEASES}/{share.index}-of-{share.count}.json" if share else paths.LEASE


def keep_lease_for(
    storage: Storage,
    run_id: str,
    share: Share | None = None,
    force: bool = False,
    wait_seconds: float = 0.0,
    say: Callable[[str], None] | None = None,
) -> AbstractContextManager[Lease]:
    """Take the lease for a share of the videos, or for all, and renew it until the block ends.

    Args:
        storage: The dataset.
        run_id: Names this run; unique.
        share: The share; None is all videos.
        force: Take it although other drivers seem to be at work.
        wait_seconds: How long to wait for them.
        say: Receives a line when the wait begins.

    Raises:
        LeaseHeldError: Another driver is at work on this share or on one that may overlap, also after the wait.
        OutputError: The output cannot be written.
    """

    def refuse_others() -> None:
        if not force:
            for name in _rivals(storage, share):
                refuse_alive(storage, name)

    return keep_lease(
        storage, run_id, force, wait_seconds, say, lease_name(share), str(share) if share else "", refuse_others
    )


def live_holders(storage: ReadableStorage) -> list[LeaseHolder]:
    """Return the other drivers that seem to be at work on a dataset: on all videos first, then by share."""
    found = (read_holder(storage, name) for name in (paths.LEASE, *_share_leases(storage)))
    now = time.time()
    return [holder for holder in found if holder is not None and is_alive(holder, now)]


def remove_dead_leases(storage: Storage, own: Share | None) -> None:
    """Delete leases of shares whose drivers died; the heartbeat of one that lives would write its lease again."""
    now = time.time()
    for name in (*_share_leases(storage), BEGINNING):
        holder = read_holder(storage, name)
        if name != lease_name(own) and holder is not None and not is_alive(holder, now):
            storage.delete(name)


def _rivals(storage: Storage, share: Share | None) -> Iterator[str]:
    """Yield the names of the leases that stand against one for a share, as far as their names say."""
    if share is None:
        yield from _share_leases(storage)
        return
    holder = read_holder(storage)
    if holder is not None and not holder.share.endswith(f"/{share.count}"):
        yield paths.LEASE
    for name in _share_leases(storage):
        if not name.endswith(f"-of-{share.count}.json"):
            yield name


def _share_leases(storage: ReadableStorage) -> list[str]:
    return sorted(file.name for file in storage.list(paths.LEASES) if _OF_SHARE.fullmatch(file.name))
