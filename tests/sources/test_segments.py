from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.sources import listing
from phoenix_ray.sources.base import Frame, LeftOut, SourceProblem, Video
from phoenix_ray.sources.containers import ContainerFile, examine_container
from phoenix_ray.sources.examined import SegmentedSources
from phoenix_ray.sources.frames import read_frames, read_frames_except, undecoded_frames
from phoenix_ray.sources.paths import SourcePath
from phoenix_ray.sources.registry import open_source
from phoenix_ray.sources.segments import SegmentError, Span, find_segment, read_span, unread_span_columns
from phoenix_ray.sources.timing import Timeline
from tests.sources.made_up import listed, listed_videos, problem, write_frames, write_video

SETTINGS = SourceSettings()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with a video of 50 frames at 25 a second, and a frame folder of 10."""
    write_video(tmp_path / "long.mp4", 50)
    write_frames(tmp_path / "frames", 10)
    return tmp_path


def table(folder: Path, header: str, *rows: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def frames_of(video: Video) -> list[Frame]:
    return list(read_frames(video, 0, video.frame_count, DecodeSettings()))


def spans(videos: Sequence[Video]) -> list[tuple[int, int]]:
    return [(video.start_frame, video.start_frame + video.frame_count) for video in videos]


def test_seconds_time_codes_and_frames_name_the_same_frames(media: Path) -> None:
    seconds = table(
        media, "video_id,path,start,end", "a,long.mp4,0.4,1.2", "b,long.mp4,00:00:00.4,0:01,2", name="s.csv"
    )
    seconds.write_text(seconds.read_text().replace("0:01,2", '"0:01,2"'))
    frames = table(media, "video_id,path,start_frame,end_frame", "a,long.mp4,10,30", name="f.csv")
    assert spans(listed_videos(seconds)) == [(10, 30), (10, 30)]
    assert spans(listed_videos(frames)) == [(10, 30)]


def test_a_segment_is_the_same_frames_of_the_whole_with_names_of_the_source_and_times_of_its_own(media: Path) -> None:
    rows = ("w,long.mp4,,", "x,long.mp4,0.4,1.2", "y,long.mp4,1.6,", "z,long.mp4,,0.2")
    whole, *segments = listed_videos(table(media, "video_id,path,start,end", *rows))
    assert (whole.is_segment, whole.frame_count, whole.start_frame, whole.start_seconds) == (False, 50, 0, 0.0)
    assert spans(segments) == [(10, 30), (40, 50), (0, 5)]
    assert [segment.start_seconds for segment in segments] == pytest.approx([0.4, 1.6, 0.0])
    of_whole = frames_of(whole)
    for segment in segments:
        found = frames_of(segment)
        assert [frame.index for frame in found] == list(range(segment.frame_count))
        assert [frame.timestamp for frame in found] == pytest.approx([index / 25 for index in range(len(found))])
        for frame, other in zip(found, of_whole[segment.start_frame :], strict=False):
            assert frame.name == other.name == f"frame-{segment.start_frame + frame.index}"
            np.testing.assert_array_equal(frame.image, other.image)
        assert [frame.name for frame in undecoded_frames(segment, 0, segment.frame_count)] == [f.name for f in found]
        some = list(read_frames_except(segment, {1}, DecodeSettings()))
        assert [frame.image is None for frame in some] == [index == 1 for index in range(len(found))]


def test_a_varying_rate_is_cut_and_timed_by_the_file_s_time_stamps(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", codec="libx264", times_ms=[0, 40, 100, 850, 860, 1900])
    (video,) = listed_videos(table(tmp_path, "video_id,path,start,end", "a,clip.mkv,0.1,1.9"))
    assert video.fps_varies
    assert spans([video]) == [(2, 5)]
    assert video.start_seconds == pytest.approx(0.1)
    assert [frame.timestamp for frame in frames_of(video)] == pytest.approx([0.0, 0.75, 0.76])


def test_frame_folders_are_cut_by_frames_and_by_seconds_where_the_table_has_a_rate(media: Path) -> None:
    (by_frames,) = listed_videos(table(media, "video_id,path,start_frame,end_frame", "a,frames,2,5"))
    assert [frame.name for frame in frames_of(by_frames)] == [f"images{number:04}.png" for number in (3, 4, 5)]
    assert (by_frames.start_seconds, frames_of(by_frames)[1].timestamp) == (None, None)
    (by_seconds,) = listed_videos(table(media, "video_id,path,start,end,fps", "a,frames,0.2,0.5,10"))
    assert spans([by_seconds]) == [(2, 5)]
    assert (by_seconds.start_seconds, frames_of(by_seconds)[1].timestamp) == (0.2, 0.1)
    without = problem(table(media, "video_id,path,start,end", "a,frames,0.2,0.5"))
    assert "add a column `fps` (source.fps_column)" in without.message


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("1.2,0.4", "it ends before it starts"),
        ("2.5,3", "it starts at 2.5 s, after the last frame: the source has 50 frames, the last of them at 1.96 s"),
        ("soon,1", "start = soon is not seconds (12.5) or a time code (00:01:02.5)"),
        ("-1,1", "start = -1 is negative"),
        ("0.401,0.402", "it holds no frame"),
        ("1;5,2", "is not seconds"),
        ("nan,2", "is not seconds"),
    ],
)
def test_a_row_that_names_no_segment_is_a_problem_that_says_why(media: Path, cells: str, message: str) -> None:
    found = problem(table(media, "video_id,path,start,end", f"a,long.mp4,{cells}"))
    assert found.message.startswith("table.csv row 1: ")
    assert message in found.message


def test_seconds_and_frames_in_one_row_are_a_problem(media: Path) -> None:
    found = problem(table(media, "video_id,path,start,end,start_frame,end_frame", "a,long.mp4,0,1,0,25"))
    assert "it gives seconds and frames (start = 0, end = 1, start_frame = 0, end_frame = 25)" in found.message


def test_an_end_after_the_last_frame_is_clipped_and_marked(media: Path) -> None:
    header = "video_id,path,start,end"
    exact, clipped = listed_videos(table(media, header, "a,long.mp4,1,2.01", "b,long.mp4,1,2.5"))
    assert spans([exact, clipped]) == [(25, 50), (25, 50)]
    assert (exact.is_clipped, clipped.is_clipped) == (False, True)


def test_two_segments_of_one_id_are_a_problem_that_says_what_to_do(media: Path) -> None:
    found = listed(table(media, "video_id,path,start,end", "a,long.mp4,0,1", "a,long.mp4,1,2"))
    assert isinstance(found[1], SourceProblem)
    assert "table.csv row 1 is used. Give each segment an ID of its own." in found[1].message


def test_a_moved_segment_and_a_changed_file_have_another_signature(media: Path) -> None:
    header = "video_id,path,start,end"
    (before,) = listed_videos(table(media, header, "a,long.mp4,0,1"))
    (moved,) = listed_videos(table(media, header, "a,long.mp4,0.2,1.2"))
    write_video(media / "long.mp4", 51)
    (changed,) = listed_videos(table(media, header, "a,long.mp4,0,1"))
    assert len({before.signature, moved.signature, changed.signature}) == 3


def test_columns_have_names_from_the_settings_and_are_no_annotations(media: Path) -> None:
    path = table(
        media, "video_id\tpath\tSTART_REALIGNED\tEND_REALIGNED\ttext", "a\tlong.mp4\t0.4\t1.2\thi", name="t.csv"
    )
    (video,) = listed_videos(path, start_column="START_REALIGNED", end_column="END_REALIGNED")
    assert spans([video]) == [(10, 30)]
    assert video.annotation == {"text": "hi"}


def test_columns_that_look_like_segments_but_are_not_read_are_reported(media: Path) -> None:
    path = table(media, "video_id,path,START_REALIGNED,END_REALIGNED,split", "a,long.mp4,0.4,1.2,train")
    reported: list[LeftOut] = []
    (video,) = open_source(SourceSettings(path=str(path))).videos(reported.append)
    assert isinstance(video, Video)
    assert not video.is_segment
    assert video.annotation == {"START_REALIGNED": "0.4", "END_REALIGNED": "1.2"}
    (line,) = listing.describe_left_out(reported)
    assert line.startswith("Left out: 2 columns (START_REALIGNED, END_REALIGNED): they look like the start and end")
    assert "source.start_column" in line


@pytest.mark.parametrize(
    ("name", "is_reported"),
    [
        ("Begin Time - hh:mm:ss.ms", True),
        ("End Time - ss.msec", True),
        ("Begin Time - msec", True),
        ("start (s)", True),
        ("end [ms]", True),
        ("startTime", True),
        ("start_frames", True),
        ("begin", True),
        ("ending", False),
        ("start city", False),
        ("Tier - hh:mm:ss.ms", False),
        ("gender", False),
    ],
)
def test_names_of_columns_that_other_tools_write_are_recognised(name: str, is_reported: bool) -> None:
    assert unread_span_columns(SourceSettings(path="t.csv"), ["video_id", name]) == [name] * is_reported


def test_a_wrong_frame_number_names_the_settings_of_frames(media: Path) -> None:
    (found,) = listed(table(media, "video_id,path,start_frame,end_frame", "a,long.mp4,20.5,30"))
    assert isinstance(found, SourceProblem)
    assert "start_frame = 20.5 is not a frame number" in found.message
    assert "source.start_frame_column=, source.end_frame_column=" in found.message


def test_a_column_may_stay_an_annotation(media: Path) -> None:
    (video,) = listed_videos(table(media, "video_id,path,start", "a,long.mp4,monday"), start_column="")
    assert (video.is_segment, video.annotation) == (False, {"start": "monday"})


def test_parquet_holds_numbers_with_empty_cells(media: Path) -> None:
    columns = {"video_id": ["a", "b"], "path": ["long.mp4"] * 2, "start_frame": [10.0, None], "end_frame": [30.0, None]}
    parquet.write_table(pa.table(columns), media / "table.parquet")
    assert spans(listed_videos(media / "table.parquet")) == [(10, 30), (0, 50)]


def test_a_limit_on_frames_holds_for_each_segment(media: Path) -> None:
    path = table(media, "video_id,path,start,end", "a,long.mp4,0.4,1.2", "b,long.mp4,1.9,2")
    assert spans(listed_videos(path, limit_frames=3)) == [(10, 13), (48, 50)]


def test_a_file_is_examined_once_for_all_its_segments(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = []

    def examine(path: SourcePath, limit_frames: int | None) -> ContainerFile:
        examined.append(path)
        return examine_container(path, limit_frames)

    monkeypatch.setattr(listing, "examine_container", examine)
    rows = [f"s{number},long.mp4,{number / 25},{(number + 3) / 25}" for number in range(40)]
    assert len(listed_videos(table(media, "video_id,path,start,end", *rows))) == 40
    assert len(examined) == 1


def test_a_damaged_file_is_a_problem_for_each_of_its_segments(media: Path) -> None:
    (media / "long.mp4").write_bytes(b"no video")
    found = listed(table(media, "video_id,path,start,end", "a,long.mp4,0,1", "b,long.mp4,1,2"))
    assert ["cannot be opened as a video" in str(problem) for problem in found] == [True, True]


def test_a_source_without_segments_examines_nothing() -> None:
    assert SegmentedSources([])._spans == {}


def row(start: str, end: str) -> dict[str, str]:
    return {"start": start, "end": end}


@given(
    ticks=st.lists(st.integers(1, 500), min_size=2, max_size=30),
    cuts=st.lists(st.integers(0, 16_000), min_size=2, max_size=6),
)
def test_segments_that_meet_in_time_share_no_frame_and_leave_none_out(ticks: list[int], cuts: list[int]) -> None:
    """Whatever the time stamps are, and wherever the table cuts between two frames."""
    times = tuple(sum(ticks[:count]) for count in range(len(ticks)))
    timeline = Timeline(times, Fraction(1, 1000), 25.0)
    found = []
    for start, end in pairwise(sorted(cuts)):
        span = read_span(row(f"{start / 1000}", f"{end / 1000}"), SETTINGS)
        assert span is not None
        try:
            found.append(find_segment(span, len(times), timeline))
        except SegmentError:
            continue
    for left, right in pairwise(found):
        assert left.last == right.first or left.is_clipped
    assert all(0 <= segment.first < segment.last <= len(times) for segment in found)


@given(first=st.integers(0, 99), length=st.integers(1, 100), fps=st.sampled_from([23.976, 25.0, 29.97, 50.0]))
def test_frames_written_as_seconds_of_three_decimals_come_back(first: int, length: int, fps: float) -> None:
    last = min(100, first + length)
    span = read_span(row(f"{first / fps:.3f}", f"{last / fps:.3f}"), SETTINGS)
    assert span is not None
    times = tuple(round(index * 90_000 / fps) for index in range(100))
    for timeline in (Timeline(times, Fraction(1, 90_000), fps), Timeline((), Fraction(1), fps)):
        segment = find_segment(span, 100, timeline)
        assert (segment.first, segment.last, segment.is_clipped) == (first, last, False)


def test_an_even_file_without_time_stamps_is_timed_by_its_rate() -> None:
    segment = find_segment(Span(Fraction(1), Fraction(2), in_frames=False), 100, Timeline((), Fraction(1), 25.0))
    assert (segment.first, segment.last, segment.start_seconds) == (25, 50, 1.0)
