from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.cluster.lockstep import Lockstep
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import DeviceLostError
from phoenix_ray.estimation import Estimate, first_state, track_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, TrackingModel
from phoenix_ray.models.synthetic import SyntheticTracker
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.synthetic import read_synthetic

FOR_EVER = 1e6


class Tracker(SyntheticTracker):
    """The synthetic tracking model, which fails on some pictures and counts how many it got at a time."""

    def __init__(self, batch_size: int, poison: frozenset[bytes] = frozenset()) -> None:
        super().__init__(batch_size)
        self.poison = poison
        self.sizes: list[int] = []
        self._alone = threading.Lock()

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        assert self._alone.acquire(blocking=False), "two threads called the model"
        try:
            assert 0 < len(images) <= self.batch_size
            self.sizes.append(len(images))
            if any(image.tobytes() in self.poison for image in images):
                raise RuntimeError("no convergence")
            batch, after = super().track(images, states)
            return replace(batch, events=(f"{len(images)} frames",)), after
        finally:
            self._alone.release()


def video(number: int, frames: int) -> Video:
    return Video("train", f"v{number}", "synthetic", "/", frames, "s")


def frames_of(found: Video, unreadable: frozenset[int]) -> Iterator[Frame]:
    for frame in read_synthetic(found, 0, found.frame_count):
        yield replace(frame, image=None, error="cut short") if frame.index in unreadable else frame


def picture(number: int, index: int) -> bytes:
    (frame,) = read_synthetic(video(number, index + 1), index, index + 1)
    assert frame.image is not None
    return frame.image.tobytes()


def track_all(model: TrackingModel, found: Video, unreadable: frozenset[int] = frozenset()) -> Estimate | str:
    try:
        return track_frames(model, frames_of(found, unreadable), 0, found.frame_count, first_state(model))
    except RuntimeError as error:
        return str(error)


def together(lockstep: Lockstep, videos: list[Video], unreadable: frozenset[int]) -> list[Estimate | str]:
    turns = threading.Semaphore(lockstep.batch_size)

    def run(found: Video) -> Estimate | str:
        with turns, lockstep.taking_part():
            return track_all(lockstep, found, unreadable)

    with ThreadPoolExecutor(max(1, len(videos))) as threads:
        return list(threads.map(run, videos))


def same(one: Estimate | str, other: Estimate | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    assert one.state is not None
    assert other.state is not None
    return (
        one.state.tobytes() == other.state.tobytes()
        and one.records == other.records
        and all(points.tobytes() == other.rows.points[part].tobytes() for part, points in one.rows.points.items())
        and all(scores.tobytes() == other.rows.scores[part].tobytes() for part, scores in one.rows.scores.items())
    )


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7),
    batch_size=st.integers(1, 5),
    poison=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 11)), max_size=4),
    unreadable=st.frozensets(st.integers(0, 11), max_size=3),
    patience=st.sampled_from([0.0, FOR_EVER]),
)
def test_a_video_has_the_same_bits_alone_and_in_any_company(
    lengths: list[int], batch_size: int, poison: set[tuple[int, int]], unreadable: frozenset[int], patience: float
) -> None:
    """Also the videos beside one that fails; and with all the patience in the world nobody waits for ever."""
    pictures = frozenset(picture(*where) for where in poison)
    videos = [video(number, frames) for number, frames in enumerate(lengths)]
    found = together(Lockstep(Tracker(batch_size, pictures), patience), videos, unreadable)
    alone = [track_all(Tracker(1, pictures), one, unreadable) for one in videos]
    assert all(same(one, other) for one, other in zip(found, alone, strict=True))


def test_videos_of_equal_length_go_through_in_full_batches() -> None:
    model = Tracker(4)
    barrier = threading.Barrier(4)
    lockstep = Lockstep(model, FOR_EVER)

    def run(number: int) -> Estimate | str:
        with lockstep.taking_part():
            barrier.wait(30)
            return track_all(lockstep, video(number, 10))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, range(4)))
    assert model.sizes == [4] * 10
    events = [event for one in found if isinstance(one, Estimate) for event in one.events]
    assert events == ["4 frames"] * 10, "an event of a batch is recorded once"


def test_a_video_that_waits_for_its_frames_does_not_stop_the_others() -> None:
    lockstep = Lockstep(Tracker(4), patience=0.01)
    with lockstep.taking_part():
        assert isinstance(together(lockstep, [video(0, 5)], frozenset())[0], Estimate)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, DeviceLostError])
def test_whatever_ends_a_step_ends_the_wait_of_all_in_it(ending: type[BaseException]) -> None:
    calls = []

    class Interrupted(Tracker):
        def track(self, images: object, _: object) -> tuple[LandmarkBatch, NDArray[np.float32]]:
            calls.append(images)
            raise ending

    lockstep = Lockstep(Interrupted(2), FOR_EVER)
    barrier = threading.Barrier(2)

    def run(number: int) -> None:
        with lockstep.taking_part():
            barrier.wait(30)
            track_all(lockstep, video(number, 3))

    with ThreadPoolExecutor(2) as threads:
        for call in [threads.submit(run, number) for number in range(2)]:
            with pytest.raises(ending):
                call.result(30)
    assert len(calls) == 1, "what could not be computed together was tried alone"


def test_a_worker_steps_through_its_shards_together_and_each_commits_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Tracker(3, frozenset(picture(1, index) for index in range(10)))
    monkeypatch.setattr(registry, "create", lambda _: model)
    chosen = ModelSettings(name="synthetic", mode="tracking", batch_size=3)
    worker = ShardWorker(
        Settings(model=chosen, output=OutputSettings(path=str(tmp_path))),
        DatasetIdentity("holistic-468", registry.facts(chosen).identity),
    )
    worker.ready()
    shards = [Shard(video(number, 10), 0, 10) for number in range(5)]
    with ThreadPoolExecutor(5) as calls:
        receipts = list(calls.map(worker.process, shards))
    assert [receipt.partition is not None for receipt in receipts] == [True, False, True, True, True]
    assert receipts[1].trouble is not None
    assert receipts[1].trouble.message == "RuntimeError: no convergence"
    for number in (0, 2, 3, 4):
        alone = track_all(Tracker(1), video(number, 10))
        assert isinstance(alone, Estimate)
        assert alone.state is not None
        state = receipts[number].state
        assert state is not None
        assert state.tobytes() == alone.state.tobytes()
