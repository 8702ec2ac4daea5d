"""Each way in which a video can differ is found, named, and reported once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray import layouts
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.verify import comparison
from phoenix_ray.verify.alignment import FrameList
from phoenix_ray.verify.comparison import VideoComparison, compare_blocks
from phoenix_ray.verify.tolerance import BITS, Tolerance
from phoenix_ray.verify.video_blocks import VideoBlocks
from tests.verify.made_up import LAYOUT, WIDTH, changed, make_video, rearranged, rows_of, without_part

ATOL = Tolerance("normalised", 1e-6)
VIDEO = make_video()


def compare_videos(
    reference: VideoLandmarks, candidate: VideoLandmarks, tolerance: Tolerance, *, statuses: bool = True
) -> VideoComparison:
    expected, found = (VideoBlocks(FrameList.of([video]), iter([video])) for video in (reference, candidate))
    return compare_blocks(expected, found, tolerance, statuses=statuses)


def compare(candidate: VideoLandmarks, tolerance: Tolerance = ATOL) -> VideoComparison:
    return compare_videos(VIDEO, candidate, tolerance)


def messages(comparison: VideoComparison) -> list[str]:
    return [difference.message for difference in comparison.differences]


def test_a_video_is_equal_to_itself() -> None:
    same = compare(VIDEO, BITS)
    assert same.differences == ()
    assert same.notes == ()
    assert same.frames == 12
    assert [part.both for part in same.parts] == [12, 12, 9]
    assert all(part.identical == part.both for part in same.parts)


def test_one_float_that_is_off_by_two_millionths_is_named() -> None:
    (difference,) = compare(changed(VIDEO, "left_hand", 4, 1, 0, 2e-6)).differences
    assert difference.kind == "coordinates"
    assert difference.message.startswith("left_hand differs in frame 4: tip x of frame 4 is 0.")
    assert "off by 2e-06" in difference.message
    assert (difference.part, difference.frames.tolist(), difference.worst_frame) == ("left_hand", [4], 4)
    assert difference.pixels == pytest.approx(2e-6 * WIDTH, rel=0.05)


def test_what_is_within_the_tolerance_is_equal_and_still_seen_in_the_table() -> None:
    near = compare(changed(VIDEO, "pose", 4, 1, 0, 5e-7))
    assert near.differences == ()
    assert near.parts[0].identical == 11


def test_one_changed_bit_is_a_difference_bit_for_bit() -> None:
    moved = changed(VIDEO, "pose", 0, 0, 0, 0)
    moved.points["pose"][0, 0, 0] = np.nextafter(moved.points["pose"][0, 0, 0], np.float32(1))
    assert compare(moved).differences == ()
    assert [difference.kind for difference in compare(moved, BITS).differences] == ["coordinates"]


@given(part=st.sampled_from(LAYOUT.parts), row=st.integers(0, 11), place=st.integers(0, 100), axis=st.integers(0, 100))
def test_any_single_value_that_changes_is_found_and_nothing_else(part, row, place, axis) -> None:  # type: ignore[no-untyped-def]
    if part.name == "left_hand" and row % 4 == 3:
        row -= 1
    point, axis = place % len(part.points), axis % len(part.axes)
    (difference,) = compare(changed(VIDEO, part.name, row, point, axis, 2e-6)).differences
    assert (difference.part, difference.frames.tolist()) == (part.name, [row])
    assert f"{part.points[point]} {part.axes[axis]} of frame {row} is" in difference.message


def test_a_dropped_part_is_named_and_its_numbers_are_not_reported_again() -> None:
    assert messages(compare(without_part(VIDEO, "left_hand", 5))) == ["left_hand missing in frame 5"]


def test_a_part_that_should_not_be_there_is_named() -> None:
    assert messages(compare_videos(without_part(VIDEO, "pose", 5), VIDEO, ATOL)) == ["pose extra in frame 5"]


def test_swapped_frames_are_recognised_and_their_numbers_are_not_reported_again() -> None:
    swapped = rearranged(VIDEO, [0, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 11])
    for tolerance in (BITS, ATOL, Tolerance("pixels", 0.01)):
        (difference,) = compare(swapped, tolerance).differences
        assert difference.kind == "frames moved"
        assert difference.message == "frames 7 and 8 swapped"
        assert difference.frames.tolist() == [7, 8]


def test_swapped_frames_that_took_their_names_along_are_recognised() -> None:
    names = VIDEO.frame_names
    swapped = rearranged(VIDEO, [0, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 11])
    swapped = replace(swapped, frame_names=(*names[:7], names[8], names[7], *names[9:]))
    assert messages(compare(swapped)) == ["frames 7 and 8 swapped"]


def test_frames_that_moved_up_by_one_are_reported_as_a_range() -> None:
    shifted = rearranged(VIDEO, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    assert messages(compare(shifted)) == ["frame 11 missing", "frames 3-10 hold frames 4-11"]


def test_frames_after_a_doubled_one_are_reported_as_a_range() -> None:
    doubled = rearranged(VIDEO, [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert messages(compare(doubled)) == ["frames 3-11 hold frames 2-10"]


def test_a_missing_row_is_named() -> None:
    assert messages(compare(rows_of(VIDEO, [0, 1, 2, 3, 4, 6, 7, 10, 11]))) == ["frames 5, 8-9 missing"]


def test_an_extra_row_is_named() -> None:
    assert messages(compare_videos(rows_of(VIDEO, range(11)), VIDEO, ATOL)) == ["frame 11 extra"]


def test_a_format_without_frame_numbers_is_matched_by_names() -> None:
    lacking = rows_of(VIDEO, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    renumbered = replace(lacking, frame_index=np.arange(11, dtype=np.int32))
    assert messages(compare(renumbered)) == ["frame 3 missing"]


def test_a_renamed_frame_is_named_and_not_missing() -> None:
    renamed = replace(VIDEO, frame_names=("first.png", *VIDEO.frame_names[1:]))
    assert messages(compare(renamed)) == ["frame 0 named 'first.png' instead of 'images0001.png'"]


def test_names_that_only_repeat_the_number_are_no_names() -> None:
    unnamed = replace(VIDEO, frame_names=tuple(f"frame-{index}" for index in range(12)))
    assert compare(unnamed).differences == ()


def test_a_changed_status_is_named() -> None:
    spoiled = replace(VIDEO, status=("unreadable", *VIDEO.status[1:]))
    assert messages(compare(spoiled)) == ["frame 0 'unreadable' instead of 'ok'"]
    assert compare_videos(VIDEO, spoiled, ATOL, statuses=False).differences == ()


def test_a_status_that_follows_from_the_parts_is_not_reported_twice() -> None:
    gone = VIDEO
    for part in LAYOUT.parts:
        gone = without_part(gone, part.name, 0)
    gone = replace(gone, status=("no_person", *VIDEO.status[1:]))
    assert {difference.kind for difference in compare(gone).differences} == {"part missing"}


def test_a_changed_score_is_named() -> None:
    scores = {part: values.copy() for part, values in VIDEO.scores.items()}
    scores["pose"][2] = 0.25
    (message,) = messages(compare(replace(VIDEO, scores=scores)))
    assert message.startswith("pose score differs in frame 2: 0.25 instead of 0.")


def test_a_format_without_scores_is_compared_without_them_and_says_so() -> None:
    silent = replace(VIDEO, scores={part: np.full(12, np.nan, np.float32) for part in VIDEO.scores})
    found = compare(silent)
    assert found.differences == ()
    assert found.notes == ("the candidate has no scores; they were not compared",)


def test_468_and_478_face_points_are_compared_in_the_468_that_both_have() -> None:
    def face(points: int) -> VideoLandmarks:
        layout = layouts.holistic(points)
        values = {part.name: np.full((2, len(part.points), len(part.axes)), 0.5, np.float32) for part in layout.parts}
        scores = {part.name: np.ones(2, np.float32) for part in layout.parts if part.scored}
        return replace(rows_of(VIDEO, range(2)), layout=layout, points=values, scores=scores)

    found = compare_videos(face(468), face(478), BITS)
    assert found.differences == ()
    assert found.notes == (
        "face: only the 468 points that both have were compared (468 in the reference, 478 in the candidate)",
    )


def test_a_tolerance_in_pixels_is_in_the_pixels_of_the_frame() -> None:
    off = changed(VIDEO, "left_hand", 4, 1, 0, 0.4 / WIDTH)
    assert compare(off, Tolerance("pixels", 0.5)).differences == ()
    assert len(compare(off, Tolerance("pixels", 0.3)).differences) == 1


def test_frames_without_any_landmark_are_never_called_swapped() -> None:
    empty = VIDEO
    for part in LAYOUT.parts:
        for row in (2, 5):
            empty = without_part(empty, part.name, row)
    kinds = {difference.kind for difference in compare_videos(VIDEO, empty, ATOL).differences}
    assert kinds == {"part missing"}


def test_a_nan_inside_a_found_part_is_a_difference() -> None:
    broken = changed(VIDEO, "pose", 1, 2, 1, float("nan"))
    (message,) = messages(compare(broken))
    assert "foot y of frame 1 is missing instead of 0." in message


def test_a_part_whose_first_point_alone_is_masked_is_there_and_the_point_is_called_missing() -> None:
    video = make_video()
    points = {**video.points, "pose": video.points["pose"].copy()}
    points["pose"][2, 0] = np.nan
    masked = replace(video, points=points)
    assert masked.present("pose").all()
    (message,) = messages(compare(masked))
    assert message.startswith("pose differs in frame 2: head x of frame 2 is missing instead of 0.")
    assert "inf" not in message
    assert "nan" not in message


def cut(video: VideoLandmarks, rows: int) -> VideoBlocks:
    """The video in blocks of so many rows."""
    blocks = [rows_of(video, range(first, min(first + rows, len(video)))) for first in range(0, len(video), rows)]
    return VideoBlocks(FrameList.of([video]), iter(blocks or [video]))


@given(data=st.data(), rows=st.integers(1, 5), span=st.integers(1, 7), named=st.booleans())
def test_where_videos_are_cut_into_blocks_changes_nothing(
    data: st.DataObject, rows: int, span: int, named: bool
) -> None:
    order = data.draw(st.lists(st.integers(0, 11), max_size=15).map(lambda order: order or [0]), "order")
    other = rearranged(make_video(15), order) if data.draw(st.booleans()) else rows_of(VIDEO, sorted(set(order)))
    if named:
        names = data.draw(st.permutations(range(len(other))))
        other = replace(other, frame_names=tuple(f"images{name + 1:04}.png" for name in names))
    changes = data.draw(st.lists(st.tuples(st.sampled_from(LAYOUT.parts), st.integers(0, len(other) - 1))), "changes")
    for part, row in changes:
        other = data.draw(
            st.sampled_from([changed(other, part.name, row, 0, 0, 0.1), without_part(other, part.name, row)])
        )
    whole = compare_videos(VIDEO, other, ATOL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_ROWS_COMPARED", span)
        pieces = compare_blocks(cut(VIDEO, rows), cut(other, rows + 1), ATOL)
    assert [one.to_json() for one in pieces.differences] == [one.to_json() for one in whole.differences]
    assert (pieces.frames, pieces.notes) == (whole.frames, whole.notes)
    for one, expected in zip(pieces.parts, whole.parts, strict=True):
        assert (one.frames, one.both, one.identical) == (expected.frames, expected.both, expected.identical)
        assert one.errors.keys() == expected.errors.keys()
        for kind, spread in one.errors.items():
            assert spread.mean == pytest.approx(expected.errors[kind].mean, nan_ok=True)
            np.testing.assert_array_equal(spread.bins, expected.errors[kind].bins)
