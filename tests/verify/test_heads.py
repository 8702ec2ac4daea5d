"""What heads say is compared as landmarks are: named, reported once, and left out where only one side has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Head
from phoenix_ray.verify.alignment import FrameList
from phoenix_ray.verify.comparison import VideoComparison, compare_blocks
from phoenix_ray.verify.tolerance import BITS, Tolerance
from phoenix_ray.verify.video_blocks import VideoBlocks
from tests.dataset.with_heads import WITH_HEADS, video_with_heads

VIDEO = video_with_heads()


def compare(candidate: VideoLandmarks, tolerance: Tolerance = BITS, block: int = 4) -> VideoComparison:
    def blocks(video: VideoLandmarks) -> VideoBlocks:
        rows = [np.arange(first, min(first + block, len(video))) for first in range(0, len(video), block)]
        return VideoBlocks(FrameList.of([video]), iter([_rows(video, some) for some in rows]))

    return compare_blocks(blocks(VIDEO), blocks(candidate), tolerance)


def _rows(video: VideoLandmarks, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> VideoLandmarks:
    return replace(
        video,
        frame_index=video.frame_index[rows],
        frame_names=tuple(video.frame_names[row] for row in rows),
        timestamps=video.timestamps[rows],
        sizes=video.sizes[rows],
        status=tuple(video.status[row] for row in rows),
        points={part: points[rows] for part, points in video.points.items()},
        scores={part: scores[rows] for part, scores in video.scores.items()},
        heads={head: values[rows] for head, values in video.heads.items()},
    )


def changed(row: int, column: int, value: float) -> VideoLandmarks:
    heads = {head: values.copy() for head, values in VIDEO.heads.items()}
    heads["emotion"][row, column] = value
    return replace(VIDEO, heads=heads)


def test_equal_heads_are_equal() -> None:
    assert compare(VIDEO).differences == ()
    assert compare(VIDEO).notes == ()


def test_a_logit_that_differs_is_named_with_its_class_and_frame() -> None:
    (difference,) = compare(changed(6, 1, 0.5)).differences
    assert difference.kind == "heads"
    assert difference.part == "emotion"
    assert difference.frames.tolist() == [6]
    assert "emotion_logits of sad of frame 6 is 0.5 instead of" in difference.message


def test_a_number_that_is_missing_differs_within_any_tolerance() -> None:
    (difference,) = compare(changed(6, 3, np.nan), Tolerance("pixels", 5)).differences
    assert "emotion_valence of frame 6 is missing instead of" in difference.message


def test_a_tolerance_holds_for_heads_too() -> None:
    near = changed(6, 3, float(VIDEO.heads["emotion"][6, 3]) + 0.01)
    assert compare(near, Tolerance("normalised", 0.02)).differences == ()
    assert [difference.kind for difference in compare(near, Tolerance("normalised", 0.005)).differences] == ["heads"]


def test_heads_that_only_one_side_has_or_that_mean_other_things_are_left_out_with_a_note() -> None:
    emotion, age = WITH_HEADS.heads
    without = replace(VIDEO, layout=replace(WITH_HEADS, heads=(emotion,)), heads={"emotion": VIDEO.heads["emotion"]})
    assert compare(without).notes == ("age is in the reference only and was not compared",)
    other = Head("emotion", "body", ("sad", "glad", "calm"), emotion.values)
    renamed = replace(VIDEO, layout=replace(WITH_HEADS, heads=(other, age)))
    assert compare(renamed).notes == ("emotion has other classes or values in the candidate and was not compared",)
    assert compare(renamed).differences == ()
