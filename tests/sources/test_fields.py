from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources.containers import decode_video, examine
from phoenix_ray.sources.fields import are_fields_split, without_second_fields
from phoenix_ray.sources.frame_rate import FrameRate
from tests.sources.interlaced import write_fields
from tests.sources.made_up import container_video, write_video

MAX_PIXELS = DecodeSettings().max_pixels


@pytest.mark.parametrize("name", ["00000.MTS", "clip.m2ts", "clip.mkv", "clip.mp4", "clip.h264"])
@pytest.mark.parametrize("frames", [1, 3, 12, 70])
def test_a_frame_of_two_fields_is_one_frame(tmp_path: Path, name: str, frames: int) -> None:
    path = write_fields(tmp_path / name, frames)
    assert are_fields_split(str(path))
    video = container_video(path)
    assert video.frame_count == frames
    found = list(decode_video(video, 0, frames, MAX_PIXELS))
    assert [frame.error for frame in found] == [None] * frames
    # Each picture has a grey of its own.
    greys = [round(float(frame.image.mean())) for frame in found if frame.image is not None]
    assert len(greys) == frames
    assert all(later > earlier for earlier, later in pairwise(greys[:12]))
    if frames > 1:
        assert examine(str(path)).rate == FrameRate(25.0)
        assert [frame.timestamp for frame in found] == pytest.approx([index / 25 for index in range(frames)])


def test_a_damaged_second_field_leaves_the_count_as_it_is(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "clip.ts", 12)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 188] = bytes(188)
    path.write_bytes(data)
    video = container_video(path)
    assert abs(video.frame_count - 12) <= 1
    found = list(decode_video(video, 0, video.frame_count, MAX_PIXELS))
    assert [frame.index for frame in found] == list(range(video.frame_count))
    assert sum(frame.image is not None for frame in found) >= 9


@pytest.mark.parametrize("name", ["clip.mts", "clip.mp4", "clip.mkv", "clip.h264"])
def test_whole_frames_are_no_fields_whatever_their_intervals(tmp_path: Path, name: str) -> None:
    even = write_video(tmp_path / "even" / name, codec="libx264")
    assert not are_fields_split(str(even))
    if name in ("clip.mp4", "clip.mkv"):
        times = [0, 20, 40, 80, 100, 120, 140, 160, 200, 220]
        path = write_video(tmp_path / name, codec="libx264", times_ms=times)
        assert not are_fields_split(str(path))
        assert examine(str(path)).frame_count == len(times)


@given(st.lists(st.booleans(), max_size=30))
def test_fields_pair_up_and_frames_stand_alone(fields: list[bool]) -> None:
    kept = list(without_second_fields(range(len(fields)), fields))
    assert all(index in kept for index, field in enumerate(fields) if not field)
    # Of a run of fields every other one begins a frame.
    expected = [index for index in range(len(fields)) if not fields[index] or _fields_before(fields, index) % 2 == 0]
    assert kept == expected


def _fields_before(fields: list[bool], index: int) -> int:
    count = 0
    while count < index and fields[index - 1 - count]:
        count += 1
    return count
