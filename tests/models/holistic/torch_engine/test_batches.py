from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.torch_engine import uploading  # noqa: E402 - needs torch
from phoenix_ray.models.holistic.torch_engine.batches import Batches, BatchWork  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.queues import HostQueue  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames, capacity_for  # noqa: E402
from tests.models.holistic.torch_engine.late_queue import LateQueue  # noqa: E402

Image = NDArray[np.uint8]
CPU = torch.device("cpu")
BATCH_SIZE, STATE_SIZE = 4, 2
# Of a row: the sum of the frame's pixels and its width.
COLUMNS = 2


class Adding:
    """A pipeline that any frame's neighbours would disturb if a batch lay where it should not."""

    def __init__(self) -> None:
        self.launched: list[tuple[int, ...]] = []
        self.error: Exception | None = None

    def estimate(self, frames: DeviceFrames) -> Any:
        self.launched.append((frames.table.shape[1], len(frames.pixels)))
        if self.error is not None:
            raise self.error
        first, width, height = frames.table
        sums = torch.cumsum(frames.pixels.to(torch.int64), 0)
        ends = (3 * (first + width * height) - 1).clamp(0, len(sums) - 1)
        before = torch.where(first > 0, sums.take((3 * first - 1).clamp(0, len(sums) - 1)), 0)
        return torch.stack([(sums.take(ends) - before).to(torch.float32), width.to(torch.float32)], dim=1)

    def track(self, frames: DeviceFrames, states: Any, *, smooth: bool, detect: bool) -> Any:
        rows = self.estimate(frames)
        return torch.cat([rows + 0.5 * smooth + 0.25 * detect, states + rows], dim=1)


def make_batches(queue: Any, pipeline: Adding, *, captures: bool, tracks: bool = False) -> Batches:
    return Batches(
        pipeline,
        queue,
        CPU,
        batch_size=BATCH_SIZE,
        columns=COLUMNS,
        state_size=STATE_SIZE if tracks else 0,
        captures=captures,
    )


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that frames lie across pieces, and larger frames need larger buffers."""
    monkeypatch.setattr(uploading, "PIECE_BYTES", 100)
    monkeypatch.setattr(uploading, "LEAST_CAPACITY", 64)


def picture(seed: int, height: int = 5, width: int = 6) -> Image:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def rows_of(images: Sequence[Image]) -> NDArray[np.float32]:
    return np.array([(image.sum(), image.shape[1]) for image in images], np.float32)


def work(count: int = BATCH_SIZE) -> BatchWork:
    return BatchWork(count, BATCH_SIZE)


@st.composite
def batch(draw: st.DrawFn) -> list[Image]:
    sizes = draw(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=BATCH_SIZE))
    return [picture(draw(st.integers(0, 9)), *size) for size in sizes]


@pytest.mark.parametrize("captures", [False, True])
@settings(max_examples=25)
@given(
    todo=st.lists(st.tuples(batch(), st.integers(0, 3), st.sampled_from(["take", "abandon", "release"])), max_size=8)
)
def test_rows_are_those_of_their_frames_however_batches_overlap(
    captures: bool, todo: list[tuple[list[Image], int, str]]
) -> None:
    """Frames are overwritten as soon as a batch is begun, as a decoder would."""
    batches = make_batches(queue := LateQueue(), Adding(), captures=captures)
    under_way: list[tuple[Any, NDArray[np.float32]]] = []
    with queue:
        for images, more, then in todo:
            expected, given_images = rows_of(images), [image.copy() for image in images]
            count = min(BATCH_SIZE, len(images) + more)
            under_way.append((batches.begin(given_images, work(count)), expected))
            for image in given_images:
                image.fill(0)
            if len(under_way) == 2:
                begun, rows = under_way.pop(0)
                if then == "release":
                    batches.release()
                if then == "abandon":
                    begun.abandon()
                else:
                    np.testing.assert_array_equal(begun.rows(), rows)
        for begun, rows in under_way:
            np.testing.assert_array_equal(begun.rows(), rows)


@pytest.mark.parametrize("captures", [False, True])
def test_states_go_in_and_come_out_and_missing_videos_have_none(captures: bool) -> None:
    batches = make_batches(queue := LateQueue(), pipeline := Adding(), captures=captures, tracks=True)
    states = np.arange(4, dtype=np.float32).reshape(2, 2)
    images = [picture(0), picture(1)]
    with queue:
        for detect in (True, False, True, False):
            tracking = BatchWork(BATCH_SIZE, BATCH_SIZE, tracks=True, smooth=True, detect=detect)
            rows = batches.begin(images, tracking, states).rows()
            np.testing.assert_array_equal(rows[:, :COLUMNS], rows_of(images) + 0.5 + 0.25 * detect)
            np.testing.assert_array_equal(rows[:, COLUMNS:], states + rows_of(images))
    assert len(queue.programs) == (2 if captures else 0), "with and without the detector"
    assert {count for count, _ in pipeline.launched} == {BATCH_SIZE}


def test_a_size_is_captured_once_and_run_from_then_on() -> None:
    batches = make_batches(queue := LateQueue(), pipeline := Adding(), captures=True)
    with queue:
        for seed, count in enumerate((4, 2, 4, 2, 4)):
            images = [picture(seed)] * count
            np.testing.assert_array_equal(batches.begin(images, work(count)).rows(), rows_of(images))
    assert [entry for entry in queue.log if entry in ("capture", "replay")] == ["capture"] * 2 + ["replay"] * 3
    assert queue.pools == 1, "they share memory"
    assert len(pipeline.launched) == 4, "each size as it is, then for its program"
    assert len({capacity for _, capacity in pipeline.launched}) == 1, "and from the same memory"


def test_a_batch_is_copied_before_the_one_before_it_is_waited_for() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=True)
    with queue:
        for begun in [batches.begin([picture(0)], work(1)) for _ in range(2)]:
            begun.rows()
        queue.log.clear()
        first = batches.begin([picture(1)], work(1))
        second = batches.begin([picture(2)], work(1))
        # It waits for pieces of page-locked memory alone, which are copied long since.
        assert queue.log == ["copy", "synchronize", "replay"] * 2
        assert queue.calls
        np.testing.assert_array_equal(first.rows(), rows_of([picture(1)]))
        np.testing.assert_array_equal(second.rows(), rows_of([picture(2)]))


def test_larger_frames_get_other_programs_and_smaller_ones_do_not() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=True)
    with queue:
        for side in (6, 5, 6, 20, 5, 20):
            images = [picture(side, side, side)]
            np.testing.assert_array_equal(batches.begin(images, work(1)).rows(), rows_of(images))
    assert queue.log.count("capture") == 2
    assert queue.pools == 2
    assert queue.programs[0].was_reset
    assert not queue.programs[1].was_reset


@pytest.mark.parametrize("together", range(1, 130))
def test_frames_of_one_size_never_need_another_buffer_and_it_is_at_most_a_quarter_too_large(together: int) -> None:
    frame = np.broadcast_to(np.uint8(0), (260, 210, 3))
    capacities = {capacity_for([frame] * count, together) for count in range(1, together + 1)}
    needed = together * frame.size
    (capacity,) = capacities
    assert needed <= capacity <= 1.25 * needed


def test_page_locked_memory_does_not_grow_with_the_frames() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=True)
    with queue:
        for side in (4, 8, 40, 80):
            images = [picture(side, side, side)] * BATCH_SIZE
            begun = [batches.begin(images, work()) for _ in range(2)]
            for pending in begun:
                np.testing.assert_array_equal(pending.rows(), rows_of(images))
    for_pixels = [memory for memory in queue.locked if memory.dtype == torch.uint8]
    assert sum(memory.nbytes for memory in for_pixels) == uploading.PIECES * uploading.PIECE_BYTES


def test_a_capture_that_fails_is_reported_once_and_batches_are_launched_from_then_on() -> None:
    batches = make_batches(queue := LateQueue(), pipeline := Adding(), captures=True)
    queue.refusal = RuntimeError("operation failed due to a previous error during capture")
    queue.refusal.__context__ = RuntimeError("operation not permitted when stream is capturing\nand more lines")
    events: list[str] = []
    with queue:
        for seed in range(4):
            begun = batches.begin([picture(seed)], work(1))
            events += begun.events
            np.testing.assert_array_equal(begun.rows(), rows_of([picture(seed)]))
    (event,) = events
    assert event.startswith("CUDA graphs could not be captured (operation not permitted when stream is capturing): ")
    assert queue.log.count("capture") == 1
    assert len(pipeline.launched) == 4


def test_a_capture_that_costs_the_device_is_raised() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=True)
    queue.refusal = RuntimeError("CUDA error: an illegal memory access was encountered")
    with queue, pytest.raises(RuntimeError, match="illegal memory access"):
        batches.begin([picture(0)], work(1))


def test_a_third_batch_is_refused_until_there_is_room() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=False)
    with queue:
        first, second = (batches.begin([picture(seed)], work(1)) for seed in (1, 2))
        with pytest.raises(RuntimeError, match="2 batches are under way: take the rows of one, or abandon it"):
            batches.begin([picture(3)], work(1))
        first.abandon()
        third = batches.begin([picture(3)], work(1))
        np.testing.assert_array_equal(third.rows(), rows_of([picture(3)]))
        np.testing.assert_array_equal(second.rows(), rows_of([picture(2)]))
        first.abandon()
        with pytest.raises(RuntimeError, match="the batch is over"):
            first.rows()


def test_a_batch_that_cannot_be_launched_leaves_room_for_the_next_and_the_one_before_unharmed() -> None:
    batches = make_batches(queue := LateQueue(), pipeline := Adding(), captures=True)
    with queue:
        before = batches.begin([picture(1)], work(1))
        pipeline.error = torch.OutOfMemoryError("CUDA out of memory")
        for _ in range(3):
            with pytest.raises(torch.OutOfMemoryError):
                batches.begin([picture(2)] * 2, work(2))
        pipeline.error = None
        after = batches.begin([picture(3)], work(1))
        np.testing.assert_array_equal(before.rows(), rows_of([picture(1)]))
        np.testing.assert_array_equal(after.rows(), rows_of([picture(3)]))


def test_a_device_that_fails_under_way_says_so_to_who_waits_and_takes_the_next() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=False)
    with queue:
        first, second = (batches.begin([picture(seed)], work(1)) for seed in (1, 2))
        queue.failure = RuntimeError("launch failed")
        with pytest.raises(RuntimeError, match="launch failed"):
            first.rows()
        np.testing.assert_array_equal(second.rows(), rows_of([picture(2)]))
        np.testing.assert_array_equal(batches.begin([picture(3)], work(1)).rows(), rows_of([picture(3)]))


def test_closing_under_way_computes_what_was_begun_and_gives_everything_back() -> None:
    batches = make_batches(queue := LateQueue(), Adding(), captures=True)
    with queue:
        begun = batches.begin([picture(1)], work(1))
        batches.close()
        np.testing.assert_array_equal(begun.rows(), rows_of([picture(1)]))
    assert all(program.was_reset for program in queue.programs)
    assert queue.log[-2:] == ["give memory back", "synchronize"]


def test_a_device_that_computes_at_once_gives_the_same_rows() -> None:
    batches = make_batches(HostQueue(), Adding(), captures=False)
    some, others = [picture(1), picture(2, 9, 3)], [picture(3)]
    first, second = batches.begin(some, work(3)), batches.begin(others, work(1))
    np.testing.assert_array_equal(second.rows(), rows_of(others))
    np.testing.assert_array_equal(first.rows(), rows_of(some))
