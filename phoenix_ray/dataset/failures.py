"""The list of shards that could not be computed: a small JSON file for each, below `failures/`.

The driver records a shard when it gives up on it, and clears records of frames that succeed later.
`phoenix-ray failures` prints the list. A record only says why frames are missing: a run tries all missing frames again,
whatever the list says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.sealing import FiniteNumber, FrameNumber, parse_sealed_json, seal_json, validate
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.text import without_secrets

FailureClass = Literal["input", "model", "memory", "infrastructure"]


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """The JSON of a file in `failures/`: why frames are missing.

    Attributes:
        split: Split of the video.
        video_id: The video.
        first: First frame of the shard.
        last: End of its frames, exclusive; equal to `first` where the video could not be planned.
        failure_class: `input` (the source is at fault), `model`, `memory` or `infrastructure`.
        message: What happened, in one line.
        node: Name of the machine, empty when unknown.
        attempts: Number of attempts.
        traceback: Traceback of the last attempt, empty when there is none.
        run_id: The run that gave up.
        time: When it gave up, in seconds since the epoch.
    """

    split: str
    video_id: str
    first: FrameNumber
    last: FrameNumber
    failure_class: FailureClass
    message: str
    node: str
    attempts: FrameNumber
    traceback: str
    run_id: str
    time: FiniteNumber


_FAILURE = TypeAdapter(FailureRecord)


def record_failure(storage: Storage, failure: FailureRecord) -> None:
    """Add a failure to the list; it replaces an earlier one of the same shard."""
    name = paths.failure_path(failure.split, failure.video_id, failure.first, failure.last)
    cleaned = {"message": without_secrets(failure.message), "traceback": without_secrets(failure.traceback)}
    storage.write(name, seal_json(asdict(failure) | cleaned))


def read_failures(storage: ReadableStorage, most: int | None = None) -> list[FailureRecord]:
    """Return the list, sorted by split, video and frame, without dropped videos.

    Args:
        storage: The dataset.
        most: Read at most so many records; None reads all.

    Raises:
        OutputError: A record cannot be understood.
    """
    dropped = read_drops(storage)
    files = (file for file in storage.list(paths.FAILURES) if not file.temporary)
    names = sorted(file.name for file in files if not dropped.bans_file(file.name))[:most]
    failures = [failure for name in names if (failure := _read_failure(storage, name))]
    return sorted(failures, key=lambda failure: (failure.split, failure.video_id, failure.first))


def clear_failures(storage: Storage, split: str, video_id: str, first: int, last: int) -> None:
    """Remove the records of frames that have succeeded now, and those of the video as a whole.

    A record is removed when any of its frames succeeds: the run that tries the others records them again if they fail.
    """
    for name, (failed_first, failed_last) in _recorded_ranges(storage, split, video_id):
        if failed_first == failed_last or (failed_first < last and first < failed_last):
            storage.delete(name)


def _recorded_ranges(storage: Storage, split: str, video_id: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for file in list(storage.list(paths.video_folder(paths.FAILURES, split, video_id))):
        failure = None if file.temporary else _read_failure(storage, file.name)
        if failure is not None:
            yield file.name, (failure.first, failure.last)


def parse_failure(content: bytes) -> FailureRecord:
    """Return the record that a file holds.

    Raises:
        ValueError: It is not a record, or its seal is broken.
    """
    return validate(_FAILURE, parse_sealed_json(content))


def _read_failure(storage: ReadableStorage, name: str) -> FailureRecord | None:
    try:
        return parse_failure(storage.read(name))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OutputError(
            f"{storage.root}/{name} is not a failure record ({error}). Delete it: runs try its frames again anyway."
        ) from None
