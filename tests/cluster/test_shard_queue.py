from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.shard_queue import SHARDS_PER_BLOCK, PackedShards, ShardQueue, Shards
from phoenix_ray.cluster.shards import Assignment, Blame
from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.frames import read_frames
from tests.sources.made_up import container_video, write_video

# Seconds that a frame takes, in the proportions of engine `litert` and frames of 1280x720.
DECODING, ESTIMATION = 0.003, 0.022


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
    first = taken(queue)
    assert len(queue) == 69
    queue.put_back(first)
    assert len(queue) == 70
    assert [taken(queue).video.video_id for _ in range(70)] == [f"видео/{number}" for number in range(70)]
    assert not queue
    assert queue.take(1) is None


def test_a_cleared_queue_gives_nothing_more() -> None:
    queue = ShardQueue(pack([shard(number, 10) for number in range(3)]))
    queue.put_back(taken(queue))
    queue.clear()
    assert len(queue) == 0
    assert queue.take(1) is None


def taken(queue: ShardQueue) -> Shard:
    shard = queue.take(1)
    assert shard is not None
    return shard


def long_video(name: str, frames: int) -> Video:
    return Video("all", name, "video_file", f"/data/{name}.mp4", frames, "signature", 25.0)


def segments_of(video: Video, spans: list[tuple[int, int]]) -> list[Video]:
    """Return segments with IDs in an order that is not that of the file."""
    names = [f"{video.video_id}-{number:04}" for number in range(len(spans))]
    random.Random(video.video_id).shuffle(names)
    return [
        replace(video, video_id=name, is_segment=True, start_frame=first, frame_count=last - first)
        for name, (first, last) in zip(names, spans, strict=True)
    ]


def plan_of(videos: list[Video], shard_frames: int = 512) -> PackedShards:
    ordered = sorted(videos, key=lambda video: video.video_id)
    return make_plan(ordered, lambda video: [(0, video.frame_count)], shard_frames, 1).shards


class ModelledDecoder:
    """Counts frames as `DecodingSessions` with two places would decode them."""

    def __init__(self, kept_frames: int) -> None:
        self.decoded = 0
        self._kept = kept_frames
        self._open: list[tuple[str, int]] = []

    def read(self, shard: Shard) -> int:
        """Return how many frames were decoded for a shard."""
        first, last = shard.video.start_frame + shard.first, shard.video.start_frame + shard.last
        fitting = [place for place in self._open if place[0] == shard.video.location and place[1] - self._kept <= first]
        place = max(fitting, key=lambda each: each[1], default=(shard.video.location, 0))
        if fitting:
            self._open.remove(place)
        decoded = max(0, last - place[1])
        self._open = [*self._open, (place[0], max(last, place[1]))][-2:]
        self.decoded += decoded
        return decoded


def run_all(shards: Shards, readers: list[Callable[[Shard], int]]) -> tuple[int, float]:
    """Compute all shards with as many workers as readers, on a clock of its own; return frames decoded, and seconds."""
    scheduler = Scheduler(shards, 2, Blame(3, 1), workers=len(readers))
    events: list[tuple[float, int, Assignment]] = []
    free_at = [0.0] * len(readers)
    now, decoded, tickets, done = 0.0, 0, 0, []
    while not scheduler.finished:
        fed = True
        while fed:
            fed = False
            for worker, read in enumerate(readers):
                if assignment := scheduler.next_shard(worker, now):
                    count = read(assignment.shard)
                    decoded += count
                    begun = max(now, free_at[worker])
                    free_at[worker] = begun + count * DECODING + assignment.shard.frames * ESTIMATION
                    tickets += 1
                    heapq.heappush(events, (free_at[worker], tickets, assignment))
                    fed = True
        now, _, finished = heapq.heappop(events)
        if scheduler.completed(finished, now):
            done.append(finished.shard.key)
    assert sorted(done) == sorted(shard.key for shard in shards), "each shard is committed once"
    return decoded, now


def test_two_workers_decode_a_table_of_overlapping_segments_almost_once(tmp_path: Path) -> None:
    videos = [container_video(write_video(tmp_path / f"{number}.mp4", 250)) for number in range(10)]
    # 100 segments of 5 frames that overlap by 3 on average: 1,000 in all.
    spans = [(start, start + 5) for start in (round(number * 245 / 99) for number in range(100))]
    segments = [segment for video in videos for segment in segments_of(video, spans)]
    sessions = [DecodingSessions(2, 1 << 20) for _ in range(2)]

    def reader(own: DecodingSessions) -> Callable[[Shard], int]:
        def read(shard: Shard) -> int:
            before = own.decoded
            frames = list(read_frames(shard.video, shard.first, shard.last, DecodeSettings(), own))
            assert [frame.index for frame in frames] == list(range(shard.first, shard.last))
            return own.decoded - before

        return read

    decoded, _ = run_all(plan_of(segments), [reader(own) for own in sessions])
    assert decoded == sum(own.decoded for own in sessions)
    covered = 10 * 250
    assert sum(segment.frame_count for segment in segments) == 2 * covered
    assert decoded <= 1.1 * covered
    for own in sessions:
        own.close()


@pytest.mark.parametrize("lengths", ["equal", "unequal"])
@pytest.mark.parametrize("workers", [1, 2])
def test_files_are_decoded_at_most_one_tenth_more_than_once(workers: int, lengths: str) -> None:
    frames = [20_000] * 10 if lengths == "equal" else [4_000 * number for number in range(1, 11)]
    videos = [long_video(f"v{number}", length) for number, length in enumerate(frames)]
    spans = {length: [(start, min(start + 250, length)) for start in range(0, length, 200)] for length in frames}
    segments = [segment for video in videos for segment in segments_of(video, spans[video.frame_count])]
    decoders = [ModelledDecoder(60) for _ in range(workers)]
    decoded, _ = run_all(plan_of(segments), [decoder.read for decoder in decoders])
    assert decoded <= 1.1 * sum(frames)


def test_two_workers_share_a_long_video_in_halves() -> None:
    decoders = [ModelledDecoder(0) for _ in range(2)]
    shards = plan_of([long_video("long", 20_000)])
    decoded, seconds = run_all(shards, [decoder.read for decoder in decoders])
    # The second worker decodes the first half too, once. From the first frame for each range it would be 20 times all.
    assert decoded <= 2 * 20_000
    assert seconds < 0.6 * 20_000 * (DECODING + ESTIMATION)


def test_a_small_rest_of_a_file_is_not_worth_decoding_all_before_it() -> None:
    queue = ShardQueue(plan_of([long_video("long", 100_000)]))
    for _ in range(194):
        assert queue.take(1) is not None
    assert len(queue) == 2
    assert queue.take(2) is None
    assert queue.take(2, is_late=lambda worker: worker == 1) is not None
    assert queue.take(2) is None
    assert queue.take(2, must=True) is not None
    assert len(queue) == 0


def test_what_a_lost_worker_was_to_get_goes_to_others_in_the_order_of_the_file() -> None:
    queue = ShardQueue(plan_of([long_video("long", 5_120)]))
    assert [found.first for found in (queue.take(1), queue.take(1)) if found] == [0, 512]
    queue.release(1)
    rest = [queue.take(2) for _ in range(len(queue))]
    assert [found.first for found in rest if found] == list(range(1_024, 5_120, 512))


def test_a_worker_that_computes_several_shards_at_once_takes_them_from_several_files() -> None:
    queue = ShardQueue(plan_of([long_video(name, 2_048) for name in "abc"]))
    files: list[str] = []
    for _ in range(4):
        found = queue.take(1, files_here=files, spreads=True)
        assert found is not None
        files.append(found.video.location)
    assert sorted(files) == ["/data/a.mp4", "/data/a.mp4", "/data/b.mp4", "/data/c.mp4"]


def test_a_link_waits_for_the_worker_that_has_its_file_open_as_long_as_that_is_about_to_ask() -> None:
    queue = ShardQueue(pack([]))
    link = plan_of([long_video("long", 10)])
    (found,) = link
    queue.put_back(found, worker=1)
    assert queue.take(2, has_room=lambda _: True) is None
    assert queue.take(2, has_room=lambda _: False) == found
    queue.put_back(found, worker=1)
    assert queue.take(1, has_room=lambda _: True) == found
    queue.put_back(found, worker=1)
    queue.release(1)
    assert queue.take(2, has_room=lambda _: True) == found


@given(
    lengths=st.lists(st.integers(1, 3_000), max_size=6),
    singles=st.lists(st.integers(1, 600), max_size=6),
    calls=st.lists(st.tuples(st.sampled_from(["take", "take", "take", "put back", "release"]), st.integers(0, 3))),
    spreads=st.booleans(),
)
def test_every_shard_comes_out_once_whatever_the_workers_do(
    lengths: list[int], singles: list[int], calls: list[tuple[str, int]], spreads: bool
) -> None:
    files = [long_video(f"v{number}", length) for number, length in enumerate(lengths)]
    folders = [replace(long_video(f"f{number}", length), kind="frame_folder") for number, length in enumerate(singles)]
    shards = plan_of([*files, *folders])
    queue = ShardQueue(shards)
    out: list[Shard] = []
    for call, worker in calls:
        if call == "release":
            queue.release(worker)
        elif call == "put back" and out:
            queue.put_back(out.pop(), worker)
        elif call == "take" and (found := queue.take(worker, spreads=spreads)) is not None:
            out.append(found)
        assert len(queue) + len(out) == len(shards)
    while (found := queue.take(9, must=True)) is not None:
        out.append(found)
    assert sorted(found.key for found in out) == sorted(found.key for found in shards)
    assert not queue
