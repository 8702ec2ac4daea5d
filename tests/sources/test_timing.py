from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.disk_paths import DiskFile, DiskPath
from phoenix_ray.sources.timing import (
    COMMON_RATES,
    FrameRate,
    are_fields_split,
    measure_frame_rate,
    without_second_fields,
)
from tests.sources.interlaced import write_fields
from tests.sources.made_up import container_video, write_video

NTSC = Fraction(30000, 1001)
# Of Matroska, MPEG, MP4 as FFmpeg writes it, GIF, and one of nanoseconds.
CLOCKS = [Fraction(1, ticks) for ticks in (1000, 90_000, 15_360, 100, 10**9)]


def shown_at(rate: Fraction, clock: Fraction, frames: int, first: int = 0, phase: Fraction = Fraction(0)) -> list[int]:
    """Return the time stamps of even frames, rounded to ticks of a clock."""
    return [first + round((index / rate + phase) / clock) for index in range(frames)]


@given(
    rate=st.sampled_from(COMMON_RATES),
    clock=st.sampled_from(CLOCKS),
    frames=st.integers(60, 400),
    first=st.integers(-(10**12), 10**12),
    phase=st.fractions(0, 1),
)
def test_a_common_rate_comes_out_exactly_whatever_the_clock(
    rate: Fraction, clock: Fraction, frames: int, first: int, phase: Fraction
) -> None:
    if 1 / rate < 2 * clock:
        return
    frames = max(frames, int(2000 * clock * rate))
    assert measure_frame_rate(shown_at(rate, clock, frames, first, phase), clock, None) == FrameRate(float(rate))


@given(
    intervals=st.lists(st.integers(1, 10**6), min_size=1, max_size=50),
    first=st.integers(-(10**9), 10**9),
    clock=st.sampled_from(CLOCKS),
    declared=st.none() | st.fractions(Fraction(1, 1000), 10_000),
)
def test_the_rate_of_any_time_stamps_is_about_their_average(
    intervals: list[int], first: int, clock: Fraction, declared: Fraction | None
) -> None:
    times = list(accumulate(intervals, initial=first))
    found = measure_frame_rate(times, clock, declared)
    assert found.fps is not None
    average = len(intervals) / ((times[-1] - times[0]) * clock)
    # A common rate is within a tick, or within two milliseconds, of every frame; that moves the average by as much.
    slack = max(clock, Fraction(2, 1000)) / ((times[-1] - times[0]) * clock)
    assert abs(average / Fraction(found.fps) - 1) <= slack + Fraction(1, 10**9)
    if found.varies:
        assert found.fps == float(average)
    else:
        typical = Fraction(sum(intervals), len(intervals))
        assert all(typical / 2 - 1 <= interval <= typical * 3 / 2 + 1 for interval in intervals)


@given(times=st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True).map(sorted), scale=st.integers(2, 9))
def test_a_finer_clock_changes_no_verdict_on_a_clearly_uneven_video(times: list[int], scale: int) -> None:
    coarse, fine = Fraction(1, 1000), Fraction(1, 1000 * scale)
    if measure_frame_rate(times, coarse, None).varies:
        assert measure_frame_rate([time * scale for time in times], fine, None).varies


@pytest.mark.parametrize(
    ("rate", "clock", "frames"),
    [(NTSC, Fraction(1, 30_000), 2), (NTSC, Fraction(1, 1000), 40), (Fraction(25), Fraction(1, 90_000), 20)],
)
def test_a_declared_rate_that_the_time_stamps_deny_is_not_believed(
    rate: Fraction, clock: Fraction, frames: int
) -> None:
    for declared in (Fraction(600), Fraction(1), Fraction(1001, 30)):
        assert measure_frame_rate(shown_at(rate, clock, frames), clock, declared) == FrameRate(float(rate))


def test_a_declared_rate_that_fits_is_taken() -> None:
    clock = Fraction(1, 1000)
    assert measure_frame_rate(shown_at(Fraction(17), clock, 30), clock, Fraction(17)) == FrameRate(17.0)


@pytest.mark.parametrize("times", [[], [5]])
def test_what_is_declared_holds_where_there_is_nothing_to_measure(times: list[int]) -> None:
    assert measure_frame_rate(times, Fraction(1, 1000), NTSC) == FrameRate(float(NTSC))
    assert measure_frame_rate(times, Fraction(1, 1000), None) == FrameRate(None)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([0, 40, 100, 850, 860, 1900], FrameRate(5 / 1.9, varies=True)),
        # One frame of ten was dropped.
        ([0, 40, 80, 120, 200, 240, 280, 320, 360, 400], FrameRate(22.5, varies=True)),
        # A telephone's camera: 30 a second, give or take a few milliseconds.
        ([0, 31, 66, 102, 133, 165, 200, 235, 266, 300], FrameRate(30.0)),
        # Half of it at 30 a second, half at 25: no interval stands out, but frames drift from where an even rate is.
        ([index * 33 for index in range(60)] + [1947 + index * 40 for index in range(1, 60)], None),
    ],
)
def test_a_rate_varies_where_it_would_misplace_a_frame(times: list[int], rate: FrameRate | None) -> None:
    found = measure_frame_rate(times, Fraction(1, 1000), None)
    assert found == rate if rate else found.varies


MAX_PIXELS = DecodeSettings().max_pixels


@pytest.mark.parametrize("name", ["00000.MTS", "clip.m2ts", "clip.mkv", "clip.mp4", "clip.h264"])
@pytest.mark.parametrize("frames", [1, 3, 12, 70])
def test_a_frame_of_two_fields_is_one_frame(tmp_path: Path, name: str, frames: int) -> None:
    path = write_fields(tmp_path / name, frames)
    assert are_fields_split(DiskFile(path))
    video = container_video(path)
    assert video.frame_count == frames
    found = list(DecodingSessions().frames(video, DiskPath(video.location), 0, frames, MAX_PIXELS))
    assert [frame.error for frame in found] == [None] * frames
    # Each picture has a grey of its own.
    greys = [round(float(frame.image.mean())) for frame in found if frame.image is not None]
    assert len(greys) == frames
    assert all(later > earlier for earlier, later in pairwise(greys[:12]))
    if frames > 1:
        assert examine_container(DiskPath(path)).rate == FrameRate(25.0)
        assert [frame.timestamp for frame in found] == pytest.approx([index / 25 for index in range(frames)])


def test_a_damaged_second_field_leaves_the_count_as_it_is(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "clip.ts", 12)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 188] = bytes(188)
    path.write_bytes(data)
    video = container_video(path)
    assert abs(video.frame_count - 12) <= 1
    found = list(DecodingSessions().frames(video, DiskPath(video.location), 0, video.frame_count, MAX_PIXELS))
    assert [frame.index for frame in found] == list(range(video.frame_count))
    assert sum(frame.image is not None for frame in found) >= 9


@pytest.mark.parametrize("name", ["clip.mts", "clip.mp4", "clip.mkv", "clip.h264"])
def test_whole_frames_are_not_fields_whatever_their_intervals(tmp_path: Path, name: str) -> None:
    even = write_video(tmp_path / "even" / name, codec="libx264")
    assert not are_fields_split(DiskFile(even))
    if name in ("clip.mp4", "clip.mkv"):
        times = [0, 20, 40, 80, 100, 120, 140, 160, 200, 220]
        path = write_video(tmp_path / name, codec="libx264", times_ms=times)
        assert not are_fields_split(DiskFile(path))
        assert examine_container(DiskPath(path)).frame_count == len(times)


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
