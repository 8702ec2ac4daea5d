from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray.statistics.measures import VideoMeasures, measure_video
from phoenix_ray.statistics.summary import find_outliers, group, summarise
from tests.prepare.made_up import make_video


def measured(video_id: str, frames: int, missing: list[int], split: str = "train", signer: str = "A") -> VideoMeasures:
    video = make_video(frames, {"left_hand": missing}, seed=len(video_id))
    return measure_video(
        replace(video, split=split, video_id=video_id, annotation={"signer": signer} if signer else {})
    )


VIDEOS = [
    measured("a", 10, [3, 4, 5]),
    measured("b", 30, []),
    measured("c", 20, [*range(10), 12], split="dev", signer="B"),
    measured("d", 20, [7], split="dev", signer=""),
]


def test_rates_count_frames_not_videos() -> None:
    everything = summarise("all", VIDEOS)
    assert (everything.videos, everything.frames) == (4, 80)
    assert everything.parts["left_hand"].rate == pytest.approx(1 - 15 / 80)
    assert everything.parts["pose"].rate == 1
    assert everything.statuses == {"ok": 80}


def test_gaps_add_up() -> None:
    hand = summarise("all", VIDEOS).parts["left_hand"]
    assert (hand.gaps, hand.gap_frames, hand.longest_gap) == (3, 5, 3)


def test_groups_are_those_asked_for() -> None:
    assert [one.name for one in group(VIDEOS, "split")] == ["dev", "train"]
    assert [one.name for one in group(VIDEOS, "signer")] == ["A", "B", "unknown"]
    assert [one.name for one in group(VIDEOS, "video")] == ["dev/c", "dev/d", "train/a", "train/b"]
    assert sum(one.frames for one in group(VIDEOS, "signer")) == 80


def test_outliers_are_the_worst_first_with_the_frame_to_look_at() -> None:
    outliers = {(one.part, one.reason): one for one in reversed(find_outliers(VIDEOS))}
    assert outliers["left_hand", "lowest rate"].video_id == "c"
    gap = outliers["left_hand", "longest gap"]
    assert (gap.split, gap.video_id, gap.value, gap.frame) == ("train", "a", 3, 3)
    assert ("pose", "lowest rate") not in outliers
    jitters = [one.value for one in find_outliers(VIDEOS) if (one.part, one.reason) == ("face", "highest jitter")]
    assert jitters == sorted(jitters, reverse=True)


def test_no_more_outliers_than_asked_for_and_none_of_short_videos() -> None:
    assert len([one for one in find_outliers(VIDEOS, 2) if one.part == "face" and one.reason == "largest jump"]) == 2
    assert find_outliers([measured("short", 9, [1])]) == []


def test_quantiles_come_from_the_counted_scores() -> None:
    part = summarise("all", VIDEOS).parts["face"]
    scores = np.concatenate([make_video(video.frames, seed=1).scores["face"] for video in VIDEOS])
    assert part.score_quantile(0.5) == pytest.approx(float(np.quantile(scores, 0.5)), abs=0.02)
    assert summarise("none", [measured("e", 0, [])]).parts["face"].score_quantile(0.5) is None
