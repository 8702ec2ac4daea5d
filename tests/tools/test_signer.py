"""What is committed of the rendered figures belongs together: scripts, videos, annotations and true joints."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np

from phoenix_ray.config import SourceSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.media_tree import open_videos
from phoenix_ray.sources.phoenix import SPLITS
from tools.signer.cast import Clip, all_clips
from tools.signer.cut import CUTS, Cut
from tools.signer.motion import PLACES, SHAPES, Sign, gloss, random_signs, translate
from tools.signer.pack import BENCHMARK, DEMO

PLANNED: list[Clip | Cut] = [*CUTS, *all_clips()]
CLIPS = {clip.name: clip for clip in PLANNED}


def videos(folder: Path) -> dict[str, Video]:
    found = open_videos(DiskPath(folder), SourceSettings()).videos()
    return {video.video_id: video for video in found if isinstance(video, Video)}


def test_a_gloss_and_a_translation_say_what_both_hands_do() -> None:
    signs = [
        Sign(("fist", "low"), ("fist", "low")),
        Sign(("index", "chin")),
        Sign(("claw", "chest"), ("thumb", "face")),
    ]
    assert gloss(signs) == "BOTH FIST LOW RIGHT INDEX CHIN RIGHT CLAW CHEST LEFT THUMB FACE"
    assert translate(signs) == (
        "both: fist low; right: index at the chin; right: claw at the chest, left: thumb beside the face"
    )


def test_random_signs_are_the_same_every_time_and_never_repeat_at_once() -> None:
    signs = random_signs(7, 40)
    assert signs == random_signs(7, 40) != random_signs(8, 40)
    assert {sign.right[0] for sign in signs} <= SHAPES.keys()
    assert {sign.right[1] for sign in signs} <= PLACES.keys() - {"across", "before"}
    for now, after in pairwise(signs):
        assert now.right[0] != after.right[0]
        assert now.right[1] != after.right[1]


def test_the_annotations_are_what_the_scripts_say() -> None:
    annotated = set()
    for split in SPLITS:
        with (DEMO / f"PHOENIX-2014-T.{split}.corpus.csv").open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table, delimiter="|"):
                clip = CLIPS[row["name"]]
                assert (row["speaker"], clip.split) == (clip.signer_name, split)
                assert (row["orth"], row["translation"]) == (gloss(clip.signs), translate(clip.signs))
                annotated.add(row["name"])
    assert annotated == videos(DEMO).keys()


def test_every_video_has_true_joints_in_every_frame() -> None:
    truth = np.load(BENCHMARK / "truth.npz")
    committed = videos(DEMO) | videos(BENCHMARK)
    assert dict(zip(truth["videos"].tolist(), truth["frames"].tolist(), strict=True)) == {
        name: video.frame_count for name, video in committed.items()
    }
    assert truth["points"].shape == (truth["frames"].sum(), len(truth["names"]), 3)
    assert np.isfinite(truth["points"]).all()
    for name, split, condition in zip(truth["videos"], truth["splits"], truth["conditions"], strict=True):
        assert (split, condition) == (CLIPS[name].split, CLIPS[name].condition)


def test_a_hand_is_outside_only_where_it_leaves_the_picture() -> None:
    truth = np.load(BENCHMARK / "truth.npz")
    hands = [index for index, name in enumerate(truth["names"]) if "hand" in name]
    video = np.repeat(truth["videos"], truth["frames"])
    assert set(video[truth["outside"][:, hands].any(axis=1)]) == {"leaving"}
