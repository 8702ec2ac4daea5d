"""Drops videos and signers from a dataset, and allows them again: what `phoenix-ray drop` calls.

A drop counts from the moment that its record exists (`drop_history`); the rest of it removes bytes, and whatever ends
it early, the next drop, run, compaction or repair goes on (`removal`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow.compute as pc

from phoenix_ray.dataset.array_lease import keep_lease_for, live_holders
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.drop_history import SIGNER, DroppedVideo, append_record, read_drops
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.remains import find_remains
from phoenix_ray.dataset.removal import clean_runs
from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError


@dataclass(frozen=True, slots=True)
class DropSelection:
    """What is to be dropped.

    Attributes:
        videos: The videos, each with the signer for whom it is dropped; empty where it was named itself.
        signers: Signers of whom no video may come back.
        frames: Split → number of rows of the videos.
        counts: Split → number of the videos.
    """

    videos: Mapping[VideoKey, str]
    signers: tuple[str, ...]
    frames: Mapping[str, int]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DropReport:
    """What a drop did.

    Attributes:
        selection: What was dropped now; without videos where all was dropped before.
        removed: Files that were deleted.
        rewritten: Data files that were written again without the dropped videos.
        recompute: Other videos whose rows proved to be damaged, so that a run must compute them again.
        unknown: Files in the dataset's folder that phoenix_ray did not write, and that were left alone.
        notes: What the user should know of the dataset card, a line each.
    """

    selection: DropSelection
    removed: tuple[str, ...]
    rewritten: tuple[str, ...]
    recompute: int
    unknown: tuple[str, ...]
    notes: tuple[str, ...] = ()


def select_for_drop(dataset: Dataset, videos: Collection[VideoKey], signers: Collection[str]) -> DropSelection:
    """Return what a drop of some videos, and of all videos of some signers, means for a dataset."""
    statuses = [f"frames_{status}" for status in STATUSES]
    table = dataset.videos().select(["split", "video_id", SIGNER, *statuses])
    wanted = set(videos)
    chosen: dict[VideoKey, str] = dict.fromkeys(sorted(wanted), "")
    frames: dict[str, int] = {}
    counts: dict[str, int] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        rows = zip(*(batch.column(name).to_pylist() for name in ("split", "video_id", SIGNER)), strict=True)
        for index, (split, video_id, signer) in enumerate(rows):
            key = (split, video_id)
            if key not in wanted and signer not in signers:
                continue
            chosen[key] = "" if key in wanted else signer
            counts[split] = counts.get(split, 0) + 1
            frames[split] = frames.get(split, 0) + sum(batch.column(name)[index].as_py() for name in statuses)
    return DropSelection(chosen, tuple(sorted(signers)), frames, counts)


def signers_of(dataset: Dataset) -> list[str]:
    """Return the signers of a dataset, sorted."""
    names = pc.unique(dataset.videos().column(SIGNER)).to_pylist()
    return sorted(name for name in names if name)


def drop_videos(
    storage: Storage,
    identity: DatasetIdentity,
    videos: Collection[VideoKey],
    signers: Collection[str],
    reason: str = "",
) -> DropReport:
    """Drop videos, and all videos of signers, for good; finish earlier drops. What is dropped already may be named.

    Raises:
        OutputError: A run is at work, or the dataset cannot be read or written. Where that happens after the drop was
            recorded, the message says so.
    """
    with _alone_on(storage, "drop") as lease:
        # Under the lease: a run may have added videos of a signer since the user was asked.
        selection = select_for_drop(Dataset(storage, identity), videos, signers)
        history = read_drops(storage)
        fresh = [signer for signer in signers if not history.bans_signer(signer)]
        lease.confirm()
        if selection.videos or fresh:
            append_record(storage, "drop", selection.videos, fresh, reason, sum(selection.frames.values()))
        return _finish(storage, identity, selection)


def allow_videos(
    storage: Storage, identity: DatasetIdentity, videos: Collection[DroppedVideo], signers: Collection[str]
) -> None:
    """Lift the bans on videos and signers: the next run computes what the source has of them.

    Earlier drops are completed first, so that no old row comes back.

    Raises:
        OutputError: A run is at work, or the dataset cannot be read or written.
    """
    with _alone_on(storage, "allow") as lease:
        sweep(storage, identity, temporary_seconds=0)
        lease.confirm()
        append_record(storage, "allow", videos, signers)
        sweep(storage, identity, temporary_seconds=0)


def _finish(storage: Storage, identity: DatasetIdentity, selection: DropSelection) -> DropReport:
    """Remove the bytes of all dropped videos, and search for what is left."""
    try:
        swept = sweep(storage, identity, temporary_seconds=0)
        logs = list(clean_runs(storage))
        for name in logs:
            storage.delete(name)
        notes: list[str] = []
        write_card(storage, identity, CardWords(), notes.append)
        remains = find_remains(storage, identity, read_drops(storage))
    except OutputError as error:
        raise OutputError(
            f"{error} The videos are dropped: no reader and no run uses them. But their bytes are not all removed. "
            "Repeat the same command; it goes on from here."
        ) from None
    if remains.files:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in remains.files)
        raise OutputError(
            f"The videos are dropped: no reader and no run uses them. But these files of {storage.root} may still hold "
            f"something of them:{listed}\nRepeat the same command. If a file is listed again, look at it and delete it."
        )
    removal = swept.removal
    removed = tuple(sorted({*swept.removed, *logs}))
    return DropReport(selection, removed, removal.rewritten, removal.recompute, remains.unknown, tuple(notes))


@contextmanager
def _alone_on(storage: Storage, work: str) -> Iterator[Lease]:
    """Hold the lease of a dataset; OutputError where a run or an element of an array is at work."""
    for holder in live_holders(storage):
        raise OutputError(
            f"{storage.root} is being written by the run {holder.run_id} on {holder.host} (process {holder.pid}). "
            "Nothing was changed. Stop that run, or wait for its end, and repeat the command: a run that goes on could "
            "write rows of what is dropped."
        )
    with keep_lease_for(storage, f"{work}-{time.strftime('%Y%m%d-%H%M%S')}") as lease:
        yield lease
