from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.backlog import SHARDS_PER_BLOCK, PackedShards, ShardQueue
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video


def shard(number: int, frames: int) -> Shard:
    video = Video(
        "train", f"видео/{number}", "frame_folder", "/data", frames + 5, "sig", 25.0, {"gloss": f"REGEN {number}"}
    )
    return Shard(video, 5, 5 + frames)


def pack(shards: list[Shard]) -> PackedShards:
    packed = PackedShards()
    for one in shards:
        packed.add(one)
    return packed


@given(lengths=st.lists(st.integers(1, 3), max_size=4 * SHARDS_PER_BLOCK))
def test_a_short_shard_comes_out_first_then_all_others_longest_first_equal_ones_as_they_went_in(
    lengths: list[int],
) -> None:
    shards = [shard(number, frames) for number, frames in enumerate(lengths)]
    packed = pack(shards)
    opener = sorted(shards, key=lambda one: one.frames)[:1]
    others = [one for one in shards if one not in opener]
    assert list(packed) == opener + sorted(others, key=lambda one: -one.frames)
    assert (len(packed), packed.frames) == (len(shards), sum(lengths))


def test_packed_shards_can_be_looked_through_more_than_once() -> None:
    packed = pack([shard(number, 10) for number in range(100)])
    assert list(packed) == list(packed)


def test_a_queue_gives_returned_shards_first() -> None:
    queue = ShardQueue(pack([shard(number, 10) for number in range(70)]))
    first = queue.popleft()
    assert len(queue) == 69
    queue.appendleft(first)
    assert len(queue) == 70
    assert [queue.popleft().video.video_id for _ in range(70)] == [f"видео/{number}" for number in range(70)]
    assert not queue
    with pytest.raises(IndexError):
        queue.popleft()


def test_a_cleared_queue_gives_nothing_more() -> None:
    queue = ShardQueue(pack([shard(number, 10) for number in range(3)]))
    queue.appendleft(queue.popleft())
    queue.clear()
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.popleft()
