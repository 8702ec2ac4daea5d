from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import DeviceLostError
from phoenix_ray.estimation import Estimate, estimate_frames, first_state, track_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel
from phoenix_ray.models.synthetic import SyntheticTracker
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames

FRAMES = 20
SETTINGS = ModelSettings(name="synthetic", batch_size=4)


@pytest.fixture
def video(tmp_path: Path) -> Video:
    return write_video(tmp_path / "video")


@pytest.fixture(scope="module")
def shared_video(tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A video that no test changes."""
    return write_video(tmp_path_factory.mktemp("shared") / "video")


def write_video(folder: Path) -> Video:
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(FRAMES):
        picture = np.full((26, 21, 3), random.integers(60, 200), np.uint8)
        cv2.imwrite(str(folder / f"images{index + 1:04}.png"), picture)
    return Video("train", "video", "frame_folder", str(folder), FRAMES, "signature", 25.0)


class Failing:
    """The synthetic model, which raises on some calls."""

    def __init__(self, poison: set[int]) -> None:
        self._model = registry.create(SETTINGS)
        self._poison = poison
        self.layout = self._model.layout
        self.batch_size = 4
        self.seen: list[int] = []

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        self.seen.append(len(images))
        if any(int(image[0, 0, 0]) in self._poison for image in images):
            raise RuntimeError("no convergence")
        return self._model.estimate(images)

    def close(self) -> None:
        self._model.close()


def shade(video: Video, index: int) -> int:
    picture = cv2.imread(f"{video.location}/images{index + 1:04}.png")
    assert picture is not None
    return int(picture[0, 0, 0])


def same_rows(model: PoseModel, video: Video, whole: LandmarkBatch, first: int, last: int) -> bool:
    rows = estimate_frames(model, read_frames(video, first, last, DecodeSettings()), first, last).rows
    return all(
        np.array_equal(rows.points[part], points[first:last], equal_nan=True) for part, points in whole.points.items()
    )


def test_a_range_of_frames_gives_the_rows_of_the_whole_video_bit_for_bit(video: Video) -> None:
    model = registry.create(SETTINGS)
    whole = estimate_frames(model, read_frames(video, 0, FRAMES, DecodeSettings()), 0, FRAMES).rows
    for first, last in [(0, 8), (8, 12), (12, FRAMES), (4, FRAMES)]:
        assert same_rows(model, video, whole, first, last)


def test_batches_are_cut_at_multiples_of_the_batch_size_from_the_first_frame(video: Video) -> None:
    model = Failing(poison=set())
    estimate_frames(model, read_frames(video, 6, 15, DecodeSettings()), 6, 15)
    assert model.seen == [2, 4, 3]


def test_a_frame_on_which_the_model_fails_costs_that_frame_alone(video: Video) -> None:
    model = Failing(poison={shade(video, 5)})
    estimate = estimate_frames(model, read_frames(video, 0, FRAMES, DecodeSettings()), 0, FRAMES)
    records, rows = estimate.records, estimate.rows
    failed = [record.index for record in records if record.status == "failed"]
    assert 5 in failed
    assert all(shade(video, index) == shade(video, 5) for index in failed)
    assert records[5].error == "RuntimeError: no convergence"
    assert np.isnan(rows.points["pose"][5]).all()
    assert sum(record.status == "ok" for record in records) > FRAMES / 2


def test_a_model_that_fails_on_every_frame_raises(video: Video) -> None:
    model = Failing(poison=set(range(256)))
    with pytest.raises(RuntimeError, match="no convergence"):
        estimate_frames(model, read_frames(video, 0, FRAMES, DecodeSettings()), 0, FRAMES)


def test_an_unreadable_frame_is_a_flagged_row(video: Video) -> None:
    Path(video.location, "images0003.png").write_bytes(b"")
    frames = read_frames(video, 0, FRAMES, DecodeSettings())
    records = estimate_frames(registry.create(SETTINGS), frames, 0, FRAMES).records
    assert [record.index for record in records] == list(range(FRAMES))
    assert records[2].status == "unreadable"
    assert records[2].error


def test_what_a_model_wants_recorded_is_handed_on(video: Video) -> None:
    class Telling(Failing):
        def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
            return replace(super().estimate(images), events=(f"{len(images)} frames",))

    estimate = estimate_frames(Telling(poison=set()), read_frames(video, 0, 6, DecodeSettings()), 0, 6)
    assert estimate.events == ("4 frames", "2 frames")


class Pending:
    """A batch of `Overlapping`, computed when somebody asks for it."""

    def __init__(self, model: Overlapping, images: list[NDArray[np.uint8]]) -> None:
        self._model, self._images = model, images

    def result(self) -> LandmarkBatch:
        self._model.under_way.remove(self)
        self._model.log.append(f"result {len(self._images)}")
        return self._model.estimate(self._images)

    def abandon(self) -> None:
        if self in self._model.under_way:
            self._model.under_way.remove(self)
            self._model.log.append("abandon")


class Overlapping(Failing):
    """The same model, which takes a batch before the last is over, but no more than two, and fails early or late."""

    def __init__(self, poison: set[int], fails_early: bool = False, error: Exception | None = None) -> None:
        super().__init__(poison)
        self.under_way: list[Pending] = []
        self.log: list[str] = []
        self._fails_early = fails_early
        self._error = error or RuntimeError("no convergence")

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        assert len(self.under_way) < 2, "a batch computed at once needs room too"
        self._refuse(images)
        return replace(super().estimate(images), events=(f"{len(images)} frames from {images[0][0, 0, 0]}",))

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Pending:
        assert len(self.under_way) < 2, "a third batch is under way"
        self.log.append(f"begin {len(images)}")
        if self._fails_early:
            self._refuse(images)
        self.under_way.append(Pending(self, list(images)))
        return self.under_way[-1]

    def _refuse(self, images: Sequence[NDArray[np.uint8]]) -> None:
        if any(int(image[0, 0, 0]) in self._poison for image in images):
            raise self._error


def test_the_next_batch_is_begun_before_the_one_before_it_is_taken(video: Video) -> None:
    model = Overlapping(poison=set())
    estimate_frames(model, read_frames(video, 0, 10, DecodeSettings()), 0, 10)
    assert model.log == ["begin 4", "begin 4", "result 4", "begin 2", "result 4", "result 2"]


@given(
    cuts=st.tuples(st.integers(0, FRAMES), st.integers(0, FRAMES)),
    poison=st.sets(st.integers(60, 199), max_size=60),
    fails_early=st.booleans(),
)
def test_batches_that_overlap_give_the_records_landmarks_and_events_of_batches_that_do_not(
    shared_video: Video, cuts: tuple[int, int], poison: set[int], fails_early: bool
) -> None:
    first, last = sorted(cuts)
    some, others = (
        estimate_or_error(model, shared_video, first, last)
        for model in (Overlapping(poison, fails_early), one_at_a_time(poison))
    )
    if isinstance(some, str) or isinstance(others, str):
        assert some == others
        return
    assert some.records == others.records
    assert some.events == others.events
    assert points_of([some]) == points_of([others])


def estimate_or_error(model: PoseModel, video: Video, first: int, last: int) -> Estimate | str:
    try:
        return estimate_frames(model, read_frames(video, first, last, DecodeSettings()), first, last)
    except RuntimeError as error:
        return str(error)


def one_at_a_time(poison: set[int]) -> PoseModel:
    """`Overlapping` without its `begin`."""
    model = Overlapping(poison)

    class Plain:
        layout, batch_size = model.layout, model.batch_size

        def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
            return model.estimate(images)

        def close(self) -> None:
            model.close()

    return Plain()


@pytest.mark.parametrize("error", [MemoryError("too little"), DeviceLostError("gone")])
@pytest.mark.parametrize("fails_early", [False, True])
def test_what_is_not_a_frames_fault_is_raised_at_once_and_nothing_stays_under_way(
    video: Video, error: Exception, fails_early: bool
) -> None:
    model = Overlapping({shade(video, 5)}, fails_early, error)
    with pytest.raises(type(error), match=str(error)):
        estimate_frames(model, read_frames(video, 0, FRAMES, DecodeSettings()), 0, FRAMES)
    assert model.under_way == []
    assert all(count > 1 for count in model.seen), "no frame is tried alone"


def test_frames_that_cannot_be_read_end_batches_under_way(video: Video) -> None:
    def broken() -> Iterator[Frame]:
        yield from islice(read_frames(video, 0, FRAMES, DecodeSettings()), 6)
        raise OSError("the disk is gone")

    model = Overlapping(poison=set())
    with pytest.raises(OSError, match="the disk is gone"):
        estimate_frames(model, broken(), 0, FRAMES)
    assert model.under_way == []
    assert model.log == ["begin 4", "abandon"]


class FailingTracker(SyntheticTracker):
    """The synthetic tracking model, which raises on frames of some shades."""

    def __init__(self, poison: set[int]) -> None:
        super().__init__(batch_size=1)
        self._poison = poison

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        if any(int(image[0, 0, 0]) in self._poison for image in images):
            raise RuntimeError("no convergence")
        return super().track(images, states)


def track_range(
    model: SyntheticTracker, video: Video, first: int, last: int, state: NDArray[np.float32] | None = None
) -> Estimate:
    before = first_state(model) if state is None else state
    return track_frames(model, read_frames(video, first, last, DecodeSettings()), first, last, before)


def points_of(estimates: Sequence[Estimate]) -> list[bytes]:
    return [
        np.concatenate([estimate.rows.points[part] for estimate in estimates]).tobytes()
        for part in estimates[0].rows.points
    ]


@given(cuts=st.sets(st.integers(1, FRAMES - 1)), poison=st.sets(st.integers(60, 199), max_size=40))
def test_ranges_that_hand_on_the_state_give_the_video_bit_for_bit(
    shared_video: Video, cuts: set[int], poison: set[int]
) -> None:
    model = FailingTracker(poison - {shade(shared_video, 0)})
    whole = track_range(model, shared_video, 0, FRAMES)
    pieces: list[Estimate] = []
    state = first_state(model)
    edges = [0, *sorted(cuts), FRAMES]
    for first, last in pairwise(edges):
        try:
            pieces.append(track_range(model, shared_video, first, last, state))
        except RuntimeError:
            assume(False)
        assert pieces[-1].state is not None
        state = pieces[-1].state
    assert points_of(pieces) == points_of([whole])
    assert [record for piece in pieces for record in piece.records] == whole.records
    assert whole.state is not None
    assert state.tobytes() == whole.state.tobytes()


def test_frames_that_cannot_be_read_or_computed_leave_the_state_untouched(video: Video) -> None:
    poison = shade(video, 7)
    Path(video.location, "images0003.png").write_bytes(b"")
    estimate = track_range(FailingTracker({poison}), video, 0, FRAMES)
    lost = [record.index for record in estimate.records if record.status in ("unreadable", "failed")]
    assert {2, 7} <= set(lost)
    model = SyntheticTracker(batch_size=1)
    state = first_state(model)
    for index in sorted(set(range(FRAMES)) - set(lost)):
        alone = track_range(model, video, index, index + 1, state)
        assert np.array_equal(alone.rows.points["pose"][0], estimate.rows.points["pose"][index], equal_nan=True)
        assert alone.state is not None
        state = alone.state
    assert estimate.state is not None
    assert state.tobytes() == estimate.state.tobytes()


def test_a_tracking_model_that_fails_on_every_frame_raises(video: Video) -> None:
    with pytest.raises(RuntimeError, match="no convergence"):
        track_range(FailingTracker(set(range(256))), video, 0, FRAMES)
