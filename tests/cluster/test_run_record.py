from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from phoenix_ray.cluster.progress import Meter
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.shards import Assignment, GivenUp, Trouble
from phoenix_ray.cluster.status import MOST_AT_WORK, MOST_LATEST, ShardAtWork, Status, read_status
from phoenix_ray.cluster.worker import Receipt, Timings
from phoenix_ray.dataset.failures import read_failures
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from phoenix_ray.sources.base import Video


class Screen:
    def __init__(self) -> None:
        self.said: list[str] = []

    def show(self, status: Status) -> None: ...

    def say(self, message: str, level: str = "info", event: str = "message") -> None:
        self.said.append(message)

    def close(self, status: Status) -> None: ...


class FullStorage(LocalStorage):
    """A disk that has no room while `full` is set."""

    full = False

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        if self.full:
            raise OutputError(f"Cannot write {name}: No space left on device.")
        super().write(name, content)


@pytest.fixture
def storage(tmp_path: Path) -> FullStorage:
    return FullStorage(str(tmp_path))


def record_on(storage: FullStorage, screen: Screen) -> RunRecord:
    return RunRecord("run", storage, Meter("run", 10, 0), screen, 1e-9)


def test_a_full_disk_does_not_end_the_run_and_owes_it_the_failure_list(storage: FullStorage) -> None:
    screen = Screen()
    record = record_on(storage, screen)
    storage.full = True
    record.add_failure("train", "a", 0, 5, Trouble("infrastructure", "No space left"), attempts=9)
    record.compaction_begins()
    record.add_failure("train", "b", 0, 5, Trouble("infrastructure", "No space left"), attempts=9)
    assert read_failures(storage) == []
    assert sum("The run goes on" in message for message in screen.said) == 1
    storage.full = False
    record.close("incomplete")
    assert [failure.video_id for failure in read_failures(storage)] == ["a", "b"]
    assert json.loads(storage.read("runs/run/status.json"))["state"] == "incomplete"
    assert "No space left" in storage.read("runs/run/log").decode()


def test_a_run_on_a_disk_that_stays_full_ends_in_order(storage: FullStorage) -> None:
    screen = Screen()
    record = record_on(storage, screen)
    storage.full = True
    record.add_failure("train", "a", 0, 5, Trouble("infrastructure", "No space left"), attempts=9)
    assert record.close("incomplete").failures == 1
    assert record.failures == 1


def test_what_cannot_be_computed_without_a_shard_is_listed_beside_it(storage: FullStorage) -> None:
    record = record_on(storage, Screen())
    video = Video("train", "v", "frame_folder", "/", 40, "s")
    trouble = Trouble("model", "no convergence", node="here")
    record.shard_given_up(GivenUp(Shard(video, 10, 20), trouble, attempts=3, rest=Shard(video, 20, 40)))
    cause, rest = read_failures(storage)
    assert (cause.first, cause.last, cause.attempts, cause.message) == (10, 20, 3, "no convergence")
    assert (rest.first, rest.last, rest.attempts, rest.failure_class) == (20, 40, 0, "model")
    assert "frames 10-19 failed" in rest.message


def test_an_element_of_an_array_leaves_the_failures_of_other_shares_on_the_list(storage: FullStorage) -> None:
    record = record_on(storage, Screen())
    names = [f"v{number}" for number in range(8)]
    for name in names:
        record.add_failure("train", name, 0, 0, Trouble("input", "cannot be opened"), attempts=1)
    share = Share(0, 2)
    RunRecord("run", storage, Meter("run", 10, 0), Screen(), 1e-9, share=share)
    left = [failure.video_id for failure in read_failures(storage)]
    assert left == [name for name in names if not share.holds("train", name)]
    assert 0 < len(left) < len(names)


def test_the_status_names_what_workers_do_and_what_was_committed_last(storage: FullStorage) -> None:
    record = record_on(storage, Screen())
    videos = [Video("train", f"v{number}", "frame_folder", "/", 4, "s") for number in range(MOST_LATEST + 2)]
    for number, video in enumerate(videos):
        record.shard_committed(Assignment(number, 0, Shard(video, 0, 4), 0.0), Receipt(None, None, Timings(), 100.0))
    at_work = [ShardAtWork("node", number, "dev", "手", 0, 4, 7.0) for number in range(MOST_AT_WORK + 1)]
    record.update(0, 1, 2, wanted=2, waits_for_nodes=False, draining=False, at_work=lambda: at_work)
    status = read_status(storage.read("runs/run/status.json"))
    assert status.at_work == tuple(at_work[:MOST_AT_WORK])
    assert [shard.video_id for shard in status.latest] == [video.video_id for video in reversed(videos)][:MOST_LATEST]
    record.close("finished")
    ended = read_status(storage.read("runs/run/status.json"))
    assert ended.at_work == ()
    assert ended.latest == status.latest
