"""Elements of an array: what each plans, and that the last one merges all rows, in every order of their steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_ray.cluster.array import ArrayState, ShareOfSource, finish_array
from phoenix_ray.cluster.claim import Claim
from phoenix_ray.cluster.completion import Job, clear_away, take_stock
from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.config import OutputSettings, RunSettings, Settings
from phoenix_ray.dataset import lease as lease_module
from phoenix_ray.dataset.array_lease import keep_lease_for
from phoenix_ray.dataset.failures import FailureRecord, record_failure
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.process_mark import ProcessMark
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.sources.base import LeftOut, NoteLeftOut, SourceProblem, Video, ignore_left_out
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_array_lease import occupy
from tests.dataset.test_crashes import rows_of
from tests.simulation.scenarios import _Serial

VIDEOS = [make_video(f"v{number}", frames=3) for number in range(6)]
ROWS = {(video.split, video.video_id, frame) for video in VIDEOS for frame in range(video.frame_count)}
SHARES = [Share(index, 3) for index in range(3)]


class ListedSource:
    root = "/data"
    description = "made-up videos"

    def __init__(self, listing: Sequence[Video | SourceProblem] = VIDEOS) -> None:
        self._listing = listing

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        note_left_out(LeftOut("not a video", ".txt", 1, ("a.txt",)))
        yield from self._listing


class Record:
    """What an element says and counts."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.failures = 0

    def say(self, message: str) -> None:
        self.said.append(message)

    def compaction_begins(self) -> None: ...

    def file_damaged(self, damaged: object) -> None:
        self.said.append(str(damaged))

    def videos_missing(self, videos: int) -> None:
        self.failures += videos


def element(
    storage: Storage,
    share: Share,
    *,
    computes: bool = True,
    listing: Sequence[Video | SourceProblem] = VIDEOS,
    compact: bool = True,
    force: bool = False,
) -> tuple[ArrayState, Record]:
    """Do what an element of an array does, with the package's own code where other elements could come in."""
    record, source = Record(), ShareOfSource(ListedSource(listing), share)
    chosen = Settings(output=OutputSettings(compact=compact), run=RunSettings(force=force))
    with keep_lease_for(storage, f"run-{share.index}", share) as lease:
        claim = Claim(storage, lease, f"run-{share.index}", share)
        job = Job(chosen, source, IDENTITY, claim, cast("Any", None), cast("Any", record), cast("Any", None))
        plan = make_plan(source.videos(), take_stock(claim, IDENTITY).missing_ranges, 2, 1)
        for shard in plan.shards if computes else ():
            commit(storage, shard.video, shard.first, shard.last)
        return finish_array(job, source), record


def merged(storage: Storage) -> bool:
    return not list(storage.list("partitions")) and read_manifest(storage, IDENTITY).tally.rows == len(ROWS)


def test_an_element_plans_its_share_and_knows_what_all_shares_lack(tmp_path: Path) -> None:
    problem = SourceProblem("train", "broken", "cannot be opened")
    listed: list[Video | SourceProblem] = []
    left_out: list[LeftOut] = []
    for share in SHARES:
        source = ShareOfSource(ListedSource([*VIDEOS, problem]), share)
        listed += source.videos(left_out.append)
        assert source.unplanned == 1
        assert source.description == f"made-up videos, share {share}"
    assert sorted(video.video_id for video in listed) == sorted([*(video.video_id for video in VIDEOS), "broken"])
    assert len(left_out) == 3


def test_the_last_element_merges_what_all_have_computed(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for share in SHARES[:2]:
        state, record = element(storage, share)
        assert not state.is_settled
        assert "no other share is at work" in str(state)
        assert not record.said
        assert not list(storage.list("data"))
    state, record = element(storage, SHARES[2])
    assert str(state) == "whole: every frame of all 3 shares has its row"
    assert sum(line.startswith("Compacting 6 videos") for line in record.said) == 1
    assert rows_of(tmp_path) == ROWS
    assert merged(storage)


def test_an_array_of_another_number_finishes_what_one_has_begun(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    element(storage, SHARES[0])
    state, _ = element(storage, Share(0, 1))
    assert not state.missing
    assert rows_of(tmp_path) == ROWS


def test_where_an_element_has_failed_the_last_one_merges_the_rest_and_says_what_lacks(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    lacking = next(video for video in VIDEOS if SHARES[0].holds(video.split, video.video_id))
    others = [video for video in VIDEOS if video is not lacking]
    element(storage, SHARES[0], listing=others)
    element(storage, SHARES[1])
    failure = FailureRecord("train", lacking.video_id, 0, 3, "model", "it dies", "", 3, "", "run-0", 0.0)
    record_failure(storage, failure)
    state, record = element(storage, SHARES[2])
    assert (state.missing, state.failed) == (1, 1)
    assert str(state) == "incomplete: 1 video of all shares lacks frames and failed; no other share is at work"
    assert rows_of(tmp_path) == {row for row in ROWS if row[1] != lacking.video_id}
    assert any("Compacting 5 videos" in line for line in record.said)


def test_a_video_that_cannot_be_opened_keeps_no_array_from_its_end(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for share in SHARES:
        state, _ = element(storage, share, listing=[*VIDEOS, SourceProblem("train", "broken", "no frames")])
    assert (state.missing, state.failed, state.is_settled) == (1, 1, True)
    assert merged(storage)


def test_an_array_that_is_not_to_compact_does_not(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    states = [element(storage, share, compact=False)[0] for share in SHARES]
    assert not states[-1].missing
    assert not list(storage.list("data"))


def test_an_element_leaves_the_merge_to_one_that_is_at_it(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    occupy(storage, SHARES[1], name="lease.json")
    for share in SHARES:
        state, record = element(storage, share, force=True)
    assert not state.missing
    assert "The rows are left to another driver to merge." in record.said[-1]
    assert not list(storage.list("data"))


def test_an_element_leaves_the_damaged_files_of_others_alone(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    names = [commit(storage, video, 0, 3).name for video in VIDEOS]
    for name in names:
        (tmp_path / name).write_bytes(b"damaged")
    share, source = SHARES[0], ShareOfSource(ListedSource(), SHARES[0])
    with keep_lease_for(storage, "run", share) as lease:
        claim = Claim(storage, lease, "run", share)
        committed = take_stock(claim, IDENTITY)
        job = Job(Settings(), source, IDENTITY, claim, cast("Any", None), cast("Any", Record()), cast("Any", None))
        clear_away(job, committed, make_plan(source.videos(), committed.missing_ranges, 5, 1))
    left = {file.name for file in storage.list("partitions")}
    assert left == {n for n, v in zip(names, VIDEOS, strict=True) if not share.holds(v.split, v.video_id)}


def test_only_unfinished_writes_of_drivers_that_died_are_swept(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    (tmp_path / ".tmp-dead").touch()
    for share in SHARES[:2]:
        element(storage, share)
    assert (tmp_path / ".tmp-dead").exists()
    element(storage, SHARES[2])
    assert not (tmp_path / ".tmp-dead").exists()


class Killed(BaseException):
    """The element's process is killed."""


class Turns:
    """Lets one element at a time make a step on the storage, in an order that is given."""

    def __init__(self, name: str, order: Sequence[int], kill_after: int = -1) -> None:
        self._name = name
        self._order = list(order)
        self._kill_after = kill_after
        self._changed = threading.Condition()
        self._waiting: set[str] = set()
        self._running = 0
        self.dead: set[str] = set()
        self.errors: list[BaseException] = []

    def run(self, elements: Sequence[Callable[[], object]]) -> None:
        """Run elements to their end; of all their steps, the one after `kill_after` kills its element."""
        threads = [
            threading.Thread(target=self._run, args=(code,), name=f"{self._name}-{number}")
            for number, code in enumerate(elements)
        ]
        self._running = len(threads)
        for thread in threads:
            thread.start()
        step = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._waiting) == self._running)
                if not self._running:
                    break
                ready = sorted(self._waiting)
                chosen = ready[self._order[step % len(self._order)] % len(ready)]
                if step == self._kill_after:
                    self.dead.add(chosen)
                step += 1
                self._waiting.remove(chosen)
                self._changed.notify_all()
        for thread in threads:
            thread.join()

    def step(self) -> None:
        """Wait for the element's turn."""
        name = threading.current_thread().name
        if not name.startswith(self._name):
            return
        with self._changed:
            self._waiting.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: name not in self._waiting)
        if name in self.dead:
            raise Killed

    def _run(self, code: Callable[[], object]) -> None:
        try:
            code()
        except Killed:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


class SteppedStorage(LocalStorage):
    """A local storage each of whose verbs waits for a turn."""

    def __init__(self, root: str, turns: Turns) -> None:
        super().__init__(root)
        self._turns = turns

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("read", "open", "list", "write", "create", "replace", "writing", "delete"):
            self._turns.step()
        return found


@pytest.fixture(scope="module")
def _elements_are_processes() -> Iterator[None]:
    """Let each thread pass for a process of its own, and let it work without further threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease_module, "own_mark", lambda: ProcessMark("here", threading.current_thread().name))
        for module in ("partitions", "video_table", "publication"):
            patch.setattr(f"phoenix_ray.dataset.{module}.ThreadPoolExecutor", _Serial)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_elements_are_processes")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=400), st.none() | st.integers(0, 150))
def test_in_every_order_of_steps_one_element_merges_all(order: list[int], kill_after: int | None) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        turns = Turns("first", order, -1 if kill_after is None else kill_after)
        patch.setattr(lease_module, "is_running", lambda _, mark: mark.began not in turns.dead)
        storage = new_dataset(Path(folder))
        said = run_array(folder, turns)
        if turns.dead:
            run_array(folder, Turns("again", order))
        else:
            assert sum(line.startswith("Compacting") for line in said) == 1
        assert merged(storage)
        assert not list(storage.list("leases"))
        assert rows_of(Path(folder)) == ROWS


def run_array(folder: str, turns: Turns) -> list[str]:
    """Run all elements to their end; return what they say."""
    said: list[str] = []

    def running(share: Share) -> Callable[[], None]:
        return lambda: said.extend(element(SteppedStorage(folder, turns), share)[1].said)

    turns.run([running(share) for share in SHARES])
    assert not turns.errors
    return said
