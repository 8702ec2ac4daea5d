from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from phoenix_ray import layouts
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import EXIT_DIFFERENT
from phoenix_ray.models.holistic.parity import PARITY
from phoenix_ray.verify.comparison import VideoComparison, compare_collections
from phoenix_ray.verify.report import VIDEOS_LISTED, Criterion, VerificationReport, gather, report_text
from phoenix_ray.verify.tolerance import BITS, Tolerance
from tests.verify.made_up import WIDTH, InMemory, changed, make_video, without_part

ATOL = Criterion(Tolerance("normalised", 1e-6))
VIDEOS = [make_video(video_id=f"video {number}") for number in range(3)]


def report(
    candidates: Sequence[VideoLandmarks], criterion: Criterion = ATOL, references: Sequence[VideoLandmarks] = VIDEOS
) -> VerificationReport:
    sides = InMemory(*references), InMemory(*candidates)
    keys = sorted({*sides[0].keys(), *sides[1].keys()})
    return gather(
        ("A", "B"), criterion, compare_collections(*sides, keys, criterion.tolerance, agreed={}, statuses=True)
    )


def test_equal_results_leave_with_0_and_say_so_in_the_first_line() -> None:
    same = report(VIDEOS)
    assert (same.exit_code, same.kinds(), same.differing) == (0, {}, ())
    assert report_text(same).splitlines()[0] == "**EQUAL within 1e-06: 3 videos, 36 frames**"
    assert report(VIDEOS, Criterion(BITS)).verdict() == "EQUAL bit for bit: 3 videos, 36 frames"


def test_differing_results_leave_with_1_and_name_what_differs() -> None:
    found = report([VIDEOS[0], changed(VIDEOS[1], "left_hand", 4, 1, 0, 0.1)])
    text = report_text(found)
    assert found.exit_code == EXIT_DIFFERENT
    assert text.startswith("**DIFFERENT: 2 of 3 videos differ by more than 1e-06 (24 frames compared)**")
    assert "coordinates: 1 video (1 frame); video missing: 1 video" in text
    assert "- train/video 1\n  - left_hand differs in frame 4: tip x" in text
    assert "- train/video 2\n  - the video is missing" in text


def test_parts_add_up_over_videos() -> None:
    parts = {part.part: part for part in report([without_part(VIDEOS[0], "pose", 2), *VIDEOS[1:]]).parts}
    assert (parts["pose"].frames, parts["pose"].both, parts["pose"].only_reference) == (36, 35, 1)
    assert parts["left_hand"].both == 27


def test_the_worst_video_comes_first() -> None:
    found = report(
        [
            without_part(VIDEOS[0], "pose", 2),
            *(changed(v, "pose", 0, 0, 0, 0.1 * n) for n, v in enumerate(VIDEOS[1:], 1)),
        ]
    )
    assert [video.video_id for video in found.worst()] == ["video 2", "video 1", "video 0"]


def test_the_json_is_plain_and_holds_every_difference() -> None:
    found = report([changed(VIDEOS[0], "pose", 3, 0, 1, float("nan")), *VIDEOS[1:]])
    tree = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (tree["equal"], tree["videos"], tree["frames"]) == (False, 3, 36)
    (video,) = tree["differences"]
    assert video["video_id"] == "video 0"
    (difference,) = video["differences"]
    assert (difference["kind"], difference["frames"], difference["worst_frame"]) == ("coordinates", [[3, 3]], 3)
    assert [part["part"] for part in tree["parts"]] == ["pose", "pose_world", "left_hand"]


def test_a_long_list_of_videos_is_cut_on_the_screen_and_whole_in_the_json() -> None:
    many = [make_video(2, video_id=str(number)) for number in range(VIDEOS_LISTED + 5)]
    found = report([], references=many)
    assert "… and 5 more videos" in report_text(found)
    assert len(found.to_json()["differences"]) == len(many)


def holistic(offset: float, frames: int = 50) -> VideoLandmarks:
    layout = layouts.holistic(468)
    video = make_video(frames, layout=layout)
    points = {part: values + np.float32(offset / WIDTH) for part, values in video.points.items()}
    return VideoLandmarks(
        video.split,
        video.video_id,
        layout,
        video.frame_index,
        video.frame_names,
        video.timestamps,
        video.sizes,
        video.status,
        points,
        video.scores,
    )


@pytest.mark.parametrize(("offset", "equal"), [(0.01, True), (0.05, False)])
def test_bars_judge_all_points_together(offset: float, equal: bool) -> None:
    found = report([holistic(offset)], Criterion(Tolerance("pixels", 0.5), PARITY), [holistic(0)])
    assert found.equal is equal
    assert found.verdict().startswith("AT PARITY" if equal else "NOT AT PARITY")
    assert found.differing == ()


def test_a_single_far_point_is_reported_but_the_bars_decide() -> None:
    far = changed(holistic(0), "face", 3, 7, 0, 0.1)
    found = report([far], Criterion(Tolerance("pixels", 0.5), PARITY), [holistic(0)])
    assert found.equal
    assert "face_007 x of frame 3" in report_text(found)


def test_a_missing_video_is_no_parity_whatever_the_bars_say() -> None:
    found = report([], Criterion(Tolerance("pixels", 0.5), PARITY), [holistic(0)])
    assert found.exit_code == EXIT_DIFFERENT


def test_what_could_not_be_compared_is_counted() -> None:
    found = gather(
        ("A", "B"), ATOL, [VideoComparison("train", name, notes=("face is in the reference only",)) for name in "ab"]
    )
    assert "- face is in the reference only (2 videos)" in report_text(found)
