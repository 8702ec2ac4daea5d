"""What a comparison holds does not grow with the length of a video."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import holistic
from phoenix_ray.verify import comparison, moved_frames
from phoenix_ray.verify.alignment import FrameList
from phoenix_ray.verify.comparison import VideoComparison, compare_collections
from phoenix_ray.verify.tolerance import BITS
from phoenix_ray.verify.video_blocks import Result
from tests.verify.made_up import make_video

KEY = ("train", "long")
BLOCK = 128


class Endless:
    """A video of as many frames as one likes, made when they are read; `offset` is added to every coordinate."""

    layout = holistic(468)

    def __init__(self, frames: int, offset: float = 0) -> None:
        self._frames = frames
        block = make_video(BLOCK, KEY[1], layout=self.layout)
        self._block = replace(
            block, points={part: values + np.float32(offset) for part, values in block.points.items()}
        )

    def keys(self) -> Iterator[VideoKey]:
        yield KEY

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        raise AssertionError("a long video is read in blocks")

    def list_frames(self, split: str, video_id: str) -> FrameList:
        return FrameList.named("" for _ in range(self._frames))

    def load_blocks(self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result]) -> Result:
        return use(self._make(first) for first in range(0, self._frames, BLOCK))

    def _make(self, first: int) -> VideoLandmarks:
        points = {part: np.roll(values, first, axis=1) for part, values in self._block.points.items()}
        numbers = np.arange(first, first + BLOCK, dtype=np.int32)
        return replace(self._block, frame_index=numbers, frame_names=("",) * BLOCK, points=points)


def peak_bytes(frames: int, offset: float) -> tuple[int, VideoComparison]:
    """The most that Python and numpy hold while two versions of a video are compared, and what came of it."""
    gc.collect()
    tracemalloc.start()
    try:
        sides = Endless(frames), Endless(frames, offset)
        (compared,) = compare_collections(*sides, [KEY], BITS, agreed={}, statuses=True)
        return tracemalloc.get_traced_memory()[1], compared
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("offset", [0, 0.25], ids=["equal", "everything differs"])
def test_the_peak_of_a_comparison_does_not_grow_with_the_video(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_ROWS_COMPARED", BLOCK)
    monkeypatch.setattr(comparison, "REACH", BLOCK)
    monkeypatch.setattr(moved_frames, "REACH", BLOCK)
    short, _ = peak_bytes(8 * BLOCK, offset)
    long, compared = peak_bytes(32 * BLOCK, offset)
    assert compared.frames == 32 * BLOCK
    assert compared.differing_frames() == (32 * BLOCK if offset else 0)
    # As arrays, a block of one side takes 0.8 MB.
    assert long < short + 800_000
