from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.cluster.chains import Chains, link_frames
from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.scheduler import MAX_INFRASTRUCTURE_RETRIES, Scheduler
from phoenix_ray.cluster.shards import Assignment, Blame, Trouble
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings
from phoenix_ray.dataset.chain_state import STATE_FIELD
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.partitions import latest_state, read_state
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.estimation import Estimate, first_state, track_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import ModelFacts, TrackingModel
from phoenix_ray.models.synthetic import SyntheticTracker
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames

CRASH = Trouble("model", "the worker died", fatal=True)
NODE_GONE = Trouble("infrastructure", "node left")
EXCEPTION = Trouble("model", "exception")
MODEL = ModelSettings(name="synthetic", mode="tracking", batch_size=4)
IDENTITY = DatasetIdentity("holistic-468", registry.facts(MODEL).identity)


def video(video_id: str, frames: int) -> Video:
    return Video("train", video_id, "synthetic", "/", frames, "s")


def make(lengths: dict[str, int], link_frames: int = 10, at_once: int = 1, max_attempts: int = 1) -> Scheduler:
    plan = make_plan(
        [video(name, frames) for name, frames in lengths.items()],
        lambda found: [(0, found.frame_count)],
        link_frames,
        16,
        chained=True,
    )
    return Scheduler(plan.shards, 2, Blame(max_attempts, 1), Chains(link_frames), at_once)


def take(scheduler: Scheduler, worker: int, now: float = 0.0) -> Assignment:
    assignment = scheduler.next_shard(worker, now)
    assert assignment is not None
    return assignment


def about(assignment: Assignment) -> tuple[str, int, int]:
    return assignment.shard.video.video_id, assignment.shard.first, assignment.shard.last


def test_the_next_link_of_a_video_file_goes_to_the_worker_that_has_it_open() -> None:
    found = replace(video("long", 30), kind="video_file")
    scheduler = Scheduler([Shard(found, 0, 30)], 2, Blame(3, 1), Chains(10))
    first = take(scheduler, 1)
    assert scheduler.completed(first, 1.0)
    assert scheduler.next_shard(2, 1.0) is None, "worker 1 is about to ask"
    second = take(scheduler, 1, 1.0)
    assert (second.shard.first, second.shard.last) == (10, 20)
    scheduler.completed(second, 2.0)
    assert scheduler.worker_lost(1, Trouble("model", "died"), 2.0) == []
    third = take(scheduler, 2, 2.0)
    assert (third.shard.first, third.shard.last) == (20, 30)


def test_a_link_is_handed_out_when_the_one_before_is_committed_and_with_its_state() -> None:
    scheduler = make({"a": 25})
    first = take(scheduler, 1)
    assert about(first) == ("a", 0, 9)
    assert first.start is None
    assert scheduler.next_shard(1, 0.0) is None
    assert scheduler.next_shard(2, 0.0) is None, "no copy: it is not late, and what follows it cannot start"
    scheduler.completed(first, 1.0, np.ones(3, np.float32))
    second = take(scheduler, 2)
    assert about(second) == ("a", 9, 17)
    assert second.start is not None
    assert second.start.tolist() == [1, 1, 1]
    scheduler.completed(second, 2.0)
    scheduler.completed(take(scheduler, 1), 3.0)
    assert scheduler.finished


def test_long_chains_come_first_and_go_on_before_others_begin() -> None:
    scheduler = make({"short": 5, "a": 20, "b": 30, "c": 20})
    order = []
    while not scheduler.finished:
        assignment = take(scheduler, 1)
        order.append(about(assignment))
        scheduler.completed(assignment, 0.0)
    assert order == [
        ("short", 0, 5),
        *(("b", first, first + 10) for first in (0, 10, 20)),
        *(("a", first, first + 10) for first in (0, 10)),
        *(("c", first, first + 10) for first in (0, 10)),
    ]


def test_a_link_that_another_follows_shares_no_worker_and_waits_behind_nothing() -> None:
    scheduler = make({"long": 30, "a": 10, "b": 10, "c": 10})
    assert about(take(scheduler, 1)) == ("a", 0, 10)
    assert scheduler.next_shard(1, 0.0) is None, "the long video waits for an idle worker"
    link = take(scheduler, 2)
    assert about(link) == ("long", 0, 10)
    assert scheduler.next_shard(2, 0.0) is None
    assert about(take(scheduler, 1)) == ("b", 0, 10)
    scheduler.completed(link, 0.0)
    link = take(scheduler, 2)
    scheduler.completed(link, 0.0)
    assert about(take(scheduler, 2)) == ("long", 20, 30)
    assert about(take(scheduler, 2)) == ("c", 0, 10), "nothing waits for the last link"


def test_a_worker_that_computes_several_shards_at_once_gets_as_many() -> None:
    scheduler = make({"a": 20, "b": 20, "c": 20, "d": 5, "e": 5}, at_once=3)
    assert [about(take(scheduler, 1))[0] for _ in range(3)] == ["d", "a", "b"]
    assert scheduler.next_shard(1, 0.0) is None
    assert [about(take(scheduler, 2))[0] for _ in range(2)] == ["c", "e"]
    assert scheduler.overdue(30.0, 10.0) == []
    assert len(scheduler.overdue(31.0, 10.0)) == 5
    assert len(make({"d": 5, "e": 5}, at_once=1)._chains._followers) == 0


def test_the_halves_of_a_searched_link_keep_their_order() -> None:
    scheduler = make({"a": 20})
    take(scheduler, 1)
    scheduler.worker_lost(1, CRASH, 0.0)
    half = take(scheduler, 2)
    assert (about(half), half.alone) == (("a", 0, 5), True)
    assert scheduler.next_shard(3, 0.0) is None
    scheduler.completed(half, 0.0)
    assert about(take(scheduler, 3)) == ("a", 5, 10)
    scheduler.worker_lost(3, CRASH, 0.0)
    order = []
    while not scheduler.finished:
        assignment = take(scheduler, 4)
        order.append(about(assignment)[1:])
        scheduler.completed(assignment, 0.0)
    assert order == [(5, 7), (7, 10), (10, 20)]


def test_a_condemned_frame_is_a_link_too() -> None:
    scheduler = make({"a": 4}, link_frames=2)
    worker = 0
    flagged = []
    while not scheduler.finished:
        assignment = take(scheduler, worker)
        if assignment.shard.first <= 1 < assignment.shard.last and not assignment.condemned:
            assert scheduler.worker_lost(worker, CRASH, 0.0) == []
            worker += 1
            continue
        flagged += [about(assignment)[1:]] if assignment.condemned else []
        scheduler.completed(assignment, 0.0, np.zeros(1, np.float32))
    assert flagged == [(1, 2)]


def test_what_follows_a_link_that_is_given_up_goes_with_it() -> None:
    scheduler = make({"a": 35, "b": 20})
    link = take(scheduler, 1)
    scheduler.completed(link, 0.0)
    given_up = None
    while about(assignment := take(scheduler, 1)) != ("a", 9, 18):
        scheduler.completed(assignment, 0.0)
    given_up = scheduler.failed(assignment, EXCEPTION, 0.0)
    assert given_up is not None
    assert given_up.rest is not None
    assert (given_up.shard.first, given_up.shard.last) == (9, 18)
    assert (given_up.rest.first, given_up.rest.last) == (18, 35)
    assert scheduler.finished


def test_a_stopped_run_begins_no_link() -> None:
    scheduler = make({"a": 30})
    link = take(scheduler, 1)
    scheduler.abandon_waiting()
    scheduler.completed(link, 0.0)
    assert scheduler.finished
    assert scheduler.next_shard(1, 0.0) is None


def test_a_broken_chain_is_computed_again_from_where_it_is_whole() -> None:
    found = video("a", 40)
    scheduler = Scheduler([Shard(found, 30, 40)], 2, Blame(1, 1), Chains(10))
    assert scheduler.chain_broken(take(scheduler, 1), 15, 0.0) is None
    order = []
    while not scheduler.finished:
        assignment = take(scheduler, 1)
        order.append(about(assignment)[1:])
        scheduler.completed(assignment, 0.0)
    assert order == [(15, 23), (23, 30), (30, 40)]


def test_a_chain_that_breaks_for_ever_is_given_up() -> None:
    scheduler = Scheduler([Shard(video("a", 40), 30, 40)], 2, Blame(1, 1), Chains(10))
    for _ in range(MAX_INFRASTRUCTURE_RETRIES):
        assert scheduler.chain_broken(take(scheduler, 1), 20, 0.0) is None
        scheduler.completed(take(scheduler, 1), 0.0)
    assert scheduler.chain_broken(take(scheduler, 1), 20, 0.0) is not None
    assert scheduler.finished


def test_the_plan_of_a_tracking_model_has_a_chain_for_each_gap_and_says_how_long_the_longest_is() -> None:
    plan = make_plan(
        [video("a", 100), video("b", 30)],
        lambda found: [(0, 30), (50, 100)] if found.video_id == "a" else [(20, 30)],
        10,
        16,
        chained=True,
    )
    assert [(shard.first, shard.last) for shard in plan.shards] == [(20, 30), (50, 100), (0, 30)]
    assert (plan.total.shards, plan.longest_chain) == (9, 5)
    assert "in 9 shards" in plan.line()
    assert "the longest video needs 5 shards" in plan.notes()[0]


class WorkerDiedError(BaseException):
    """What a frame does that kills its worker."""


class MortalWorker(ShardWorker):
    """A worker in this process, which dies of some frames and cannot read others."""

    def __init__(self, output: Path, poison: frozenset[int], unreadable: frozenset[int]) -> None:
        super().__init__(Settings(model=MODEL, output=OutputSettings(path=str(output))), IDENTITY)
        self._poison = poison
        self._unreadable = unreadable
        self.ready()

    def _read_frames(self, shard: Shard) -> Iterator[Frame]:
        for frame in super()._read_frames(shard):
            if frame.index in self._poison:
                raise WorkerDiedError
            yield replace(frame, image=None, error="cut short") if frame.index in self._unreadable else frame


def in_one_go(found: Video, without: frozenset[int]) -> Estimate:
    model = registry.create(MODEL)
    assert isinstance(model, TrackingModel)
    frames = read_frames(found, 0, found.frame_count, Settings().decode)
    seen = (replace(frame, image=None) if frame.index in without else frame for frame in frames)
    return track_frames(model, seen, 0, found.frame_count, first_state(model))


class Laboratory:
    """Runs without Ray: the scheduler, workers in this process, and what may happen to them."""

    def __init__(self, output: Path, videos: list[Video], worker: MortalWorker, random: Random) -> None:
        self.storage = LocalStorage(str(output))
        self.videos = videos
        self.worker = worker
        self.random = random
        claim_dataset(self.storage, IDENTITY)

    def run(self, link_frames: int, at_once: int, events: list[str]) -> None:
        """Run until all is committed, or until the event `stop`."""
        committed = committed_in(take_survey(self.storage, IDENTITY))
        for damaged in committed.damaged:
            self.storage.delete(damaged.name)
        plan = make_plan(self.videos, committed.missing_ranges, link_frames, 4, chained=True)
        scheduler = Scheduler(plan.shards, 2, Blame(1, 1), Chains(link_frames), at_once)
        flying: dict[int, list[Assignment]] = {0: [], 1: []}
        now = 0.0
        while not scheduler.finished:
            now += 100.0
            assert now < 100_000
            for worker, queue in flying.items():
                while assignment := scheduler.next_shard(worker, now):
                    queue.append(assignment)
            worker = self.random.choice([worker for worker, queue in flying.items() if queue])
            event = events.pop() if events else "complete"
            if event.startswith("lose"):
                self.lose_a_partition()
            if event.endswith("stop"):
                return
            died = CRASH if event == "crash" else NODE_GONE if event == "node" else None
            assignment = self.random.choice(flying[worker][:at_once])
            try:
                if died is None and self.process(scheduler, assignment, now):
                    flying[worker].remove(assignment)
            except WorkerDiedError:
                died = CRASH
            if died:
                assert scheduler.worker_lost(worker, died, now) == []
                flying[max(flying) + 1] = []
                del flying[worker]

    def process(self, scheduler: Scheduler, assignment: Assignment, now: float) -> bool:
        if assignment.condemned:
            receipt = self.worker.flag(assignment.shard, "it kills", assignment.start)
        else:
            receipt = self.worker.process(assignment.shard, assignment.start)
        if receipt.reached is not None:
            assert scheduler.chain_broken(assignment, receipt.reached, now) is None
        else:
            assert receipt.trouble is None, receipt.trouble.traceback
            scheduler.completed(assignment, now, receipt.state)
        return True

    def lose_a_partition(self) -> None:
        """Delete or damage one."""
        names = sorted(file.name for file in self.storage.list("partitions"))
        if names:
            name = self.random.choice([*names, *names[-1:] * len(names)])
            content = bytearray(self.storage.read(name))
            where = content.rfind(f'"{STATE_FIELD}"'.encode())
            match self.random.choice(["delete", "cut", "state", "state"]):
                case "delete":
                    self.storage.delete(name)
                case "cut":
                    self.storage.write(name, bytes(content[: len(content) // 2]))
                case "state":
                    content[where + 30] ^= 1
                    self.storage.write(name, bytes(content))


EVENTS = st.lists(
    st.sampled_from(["complete", "complete", "node", "crash", "lose", "lose and stop", "stop"]), max_size=8
)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    runs=st.lists(st.tuples(st.integers(1, 15), st.integers(1, 3), EVENTS), min_size=1, max_size=3),
    poison=st.sets(st.integers(0, 39), max_size=2),
    unreadable=st.sets(st.integers(0, 39), max_size=3),
    random=st.randoms(use_true_random=False),
)
def test_whatever_is_cut_killed_and_lost_a_tracked_video_is_that_of_one_go(
    lengths: list[int],
    runs: list[tuple[int, int, list[str]]],
    poison: set[int],
    unreadable: set[int],
    random: Random,
) -> None:
    videos = [video(f"v{number}", frames) for number, frames in enumerate(lengths)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        worker = MortalWorker(output, frozenset(poison), frozenset(unreadable))
        laboratory = Laboratory(output, videos, worker, random)
        for link_frames, at_once, events in runs:
            laboratory.run(link_frames, at_once, list(events))
        for _ in range(2):
            laboratory.run(7, 1, [])
        assert not any(
            committed_in(take_survey(laboratory.storage, IDENTITY)).missing_ranges(found) for found in videos
        )
        dataset = Dataset.open(folder)
        for found in videos:
            expected = in_one_go(found, frozenset(poison | unreadable))
            loaded = dataset.load(found.split, found.video_id)
            for part, points in expected.rows.points.items():
                assert loaded.points[part].tobytes() == points.tobytes()
            statuses = [
                "unreadable" if index in unreadable - poison else "failed" if index in poison else status
                for index, status in enumerate(record.status for record in expected.records)
            ]
            assert list(loaded.status) == statuses


def test_a_flagged_frame_hands_on_the_state_it_found(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path, frozenset(), frozenset())
    found = video("v", 10)
    before = worker.process(Shard(found, 0, 5)).state
    receipt = worker.flag(Shard(found, 5, 6), "it kills")
    assert before is not None
    assert receipt.partition is not None
    handed_on = read_state(LocalStorage(str(tmp_path)), receipt.partition.name)
    assert handed_on is not None
    assert handed_on.tobytes() == before.tobytes()


def test_a_worker_says_where_a_chain_is_broken(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path, frozenset(), frozenset())
    found = video("v", 20)
    assert worker.process(Shard(found, 10, 20)).reached == 0
    worker.process(Shard(found, 0, 4))
    receipt = worker.process(Shard(found, 10, 20))
    assert (receipt.reached, receipt.trouble, receipt.partition) == (4, None, None)
    worker.process(Shard(found, 4, 10))
    assert worker.process(Shard(found, 10, 20)).partition is not None
    assert latest_state(LocalStorage(str(tmp_path)), IDENTITY, replace(found, signature="other"), 20, 193) is None


@pytest.mark.parametrize("static", [True, False])
def test_only_a_tracking_model_writes_states(tmp_path: Path, static: bool) -> None:
    model = MODEL.model_copy(update={"mode": "static" if static else "tracking"})
    worker = ShardWorker(
        Settings(model=model, output=OutputSettings(path=str(tmp_path))),
        DatasetIdentity("holistic-468", registry.facts(model).identity),
    )
    worker.ready()
    receipt = worker.process(Shard(video("v", 20), 8, 16) if static else Shard(video("v", 20), 0, 16))
    assert receipt.partition is not None
    assert (receipt.state is None) == static
    assert (read_state(LocalStorage(str(tmp_path)), receipt.partition.name) is None) == static


def test_the_first_worker_that_is_ready_leaves_their_share_to_the_others() -> None:
    plan = make_plan([video(str(number), 10) for number in range(7)], lambda found: [(0, 10)], 10, 16, chained=True)
    scheduler = Scheduler(plan.shards, 2, Blame(1, 1), Chains(10), at_once=8, workers=2)
    taken = dict.fromkeys((1, 2), 0)
    for worker in taken:
        while scheduler.next_shard(worker, 0.0):
            taken[worker] += 1
    assert taken == {1: 4, 2: 3}


def test_a_worker_computes_as_many_shards_at_once_as_it_can_where_many_are_left() -> None:
    plan = make_plan([video(str(number), 10) for number in range(40)], lambda found: [(0, 10)], 10, 16, chained=True)
    scheduler = Scheduler(plan.shards, 2, Blame(1, 1), Chains(10), at_once=8, workers=2)
    assert sum(scheduler.next_shard(1, 0.0) is not None for _ in range(20)) == 8


def test_a_model_that_cannot_go_on_computes_all_of_a_video_that_lacks_a_frame() -> None:
    facts = ModelFacts(SyntheticTracker.layout, {}, 1, uses_gpu=False, tracks=True, whole_videos=True)
    assert link_frames(facts, 10) == sys.maxsize
    assert link_frames(replace(facts, whole_videos=False), 10) == 10
    assert link_frames(replace(facts, tracks=False, whole_videos=False), 10) is None


def test_a_worker_that_computes_several_shards_at_once_has_time_for_all_of_them() -> None:
    scheduler = make({str(number): 10 for number in range(4)}, at_once=4)
    assignments = [take(scheduler, 1) for _ in range(4)]
    assert scheduler.overdue(now=399.0, stall_seconds=100.0) == []
    assert scheduler.overdue(now=401.0, stall_seconds=100.0) == assignments
