"""A drop beside drivers, workers and readers: which rows are seen at each moment, and that none is left in the end."""

from __future__ import annotations

from functools import lru_cache

from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.drop_history import append_record, read_drops
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import IDENTITY
from tests.simulation.explorer import Scenario
from tests.simulation.scenarios import (
    TOGETHER,
    Code,
    after,
    committing,
    compaction,
    dataset_of,
    driving,
    ended_well,
    plan_and_write,
    publication,
    readable,
    reading,
    rows_of,
    sweeping,
    video,
)
from tests.simulation.storage import Ended, Files, Program, SimulatedStorage, alone

# The one that is dropped has a name that is in no other text.
A, GONE = video("a", 1), video("zanzibar", 1)
KEY = (GONE.split, GONE.video_id)


def dropping(storage: SimulatedStorage) -> None:
    """What `phoenix-ray drop` does to a dataset."""
    append_record(storage, "drop", {KEY: ""}, [])
    sweep(storage, IDENTITY, temporary_seconds=0)


def before_or_after(files: Files) -> str | None:
    """Return what is wrong with what a reader sees: everything before the record, everything else after it."""
    storage, _ = alone(files)
    if not read_drops(storage):
        return readable(rows_of(A, GONE))(files)
    if wrong := readable(rows_of(A))(files):
        return wrong
    return "a reader sees a dropped row" if readable(rows_of(GONE))(files) is None else None


def gone_for_good(files: Files) -> str | None:
    """Return what is wrong after the next sweep: something is left of the dropped video, or lacks of the other."""
    storage, held = alone(files)
    if not read_drops(storage):
        return readable(rows_of(A, GONE))(files)
    sweep(storage, IDENTITY, temporary_seconds=0)
    if left := [name for name in held if _names_it(storage, name)]:
        return f"the next sweep leaves {left}"
    if findings := [finding for finding in check_dataset(storage).findings if finding.kind != "leftover"]:
        return f"a check finds {findings}"
    return readable(rows_of(A))(held)


def _names_it(storage: Storage, name: str) -> bool:
    return GONE.video_id in name or GONE.video_id.encode() in storage.read(name)


def _scenario(name: str, files: Files, *processes: tuple[str, Code], crashes: int, torn: bool) -> Scenario:
    always = lru_cache(None)(lambda key: before_or_after(dict(key)))
    last = lru_cache(None)(lambda key: gone_for_good(dict(key)))
    return Scenario(
        name,
        files,
        [[Program(label, code, torn)] for label, code in processes],
        crashes,
        lambda files: always(frozenset(files.items())),
        lambda files: last(frozenset(files.items())),
        _ended_well,
    )


def _ended_well(ended: Ended) -> str | None:
    """Return what is wrong with how a process ended; a reader that knew the video from before may not find it now."""
    if isinstance(ended.error, KeyError) and GONE.video_id in str(ended.error):
        return None
    return ended_well(rows_of(A))(ended)


def _compacted(*videos: Video) -> Files:
    files, _ = after(dataset_of(*videos), "earlier", driving(TOGETHER))
    return files


def drop_beside_publish(crashes: int = 0, torn: bool = False) -> Scenario:
    """A driver publishes a data file that holds the video and another one, while the video is dropped."""
    files, results = after(dataset_of(A, GONE), "writes", lambda storage: plan_and_write(storage, TOGETHER))
    processes = (("driver", publication(results)), ("drop", dropping))
    return _scenario(f"a drop beside a publication, {crashes} crashes", files, *processes, crashes=crashes, torn=torn)


def drop_beside_compaction(crashes: int = 0, torn: bool = False) -> Scenario:
    """A driver plans, writes and publishes a data file that holds the video, while the video is dropped."""
    processes = (("driver", compaction(TOGETHER)), ("drop", dropping))
    name = f"a drop beside a compaction, {crashes} crashes"
    return _scenario(name, dataset_of(A, GONE), *processes, crashes=crashes, torn=torn)


def drop_beside_sweep(crashes: int = 0, torn: bool = False) -> Scenario:
    """A driver sweeps while a video in a data file is dropped."""
    processes = (("driver", sweeping), ("drop", dropping))
    name = f"a drop beside a sweep, {crashes} crashes"
    return _scenario(name, _compacted(A, GONE), *processes, crashes=crashes, torn=torn)


def drop_beside_reader(crashes: int = 0, torn: bool = False) -> Scenario:
    """A reader reads while a video in a data file is dropped."""
    processes = (("drop", dropping), ("reader", reading))
    name = f"a drop beside a reader, {crashes} crashes"
    return _scenario(name, _compacted(A, GONE), *processes, crashes=crashes, torn=torn)


def drop_beside_worker(crashes: int = 0, torn: bool = False) -> Scenario:
    """A worker commits a partition of the video again while that is dropped."""
    processes = (("worker", committing(GONE)), ("drop", dropping))
    name = f"a drop beside a worker, {crashes} crashes"
    return _scenario(name, _compacted(A, GONE), *processes, crashes=crashes, torn=torn)


def two_drops(crashes: int = 0, torn: bool = False) -> Scenario:
    """Two users drop the same video at once."""
    processes = (("one", dropping), ("other", dropping))
    name = f"two drops at once, {crashes} crashes"
    return _scenario(name, _compacted(A, GONE), *processes, crashes=crashes, torn=torn)
