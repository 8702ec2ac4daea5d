from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.report.pictures import (
    PICTURE_HEIGHT,
    Picture,
    Wanted,
    affected_frames,
    draw_pictures,
    typical_frame,
)
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.registry import open_source
from tests.exports.made_up import InMemory
from tests.prepare.made_up import make_video

KEY = ("train", "v")


def collection(width: int = 210, height: int = 260) -> InMemory:
    video = make_video(8, {"left_hand": [2, 3, 4]}, size=(width, height))
    return InMemory((replace(video, video_id="v", status=(*["ok"] * 6, "failed", "failed")),))


def source(folder: Path, frames: int, width: int = 21, height: int = 26) -> Source:
    (folder / "train" / "v").mkdir(parents=True)
    for index in range(frames):
        cv2.imwrite(str(folder / "train" / "v" / f"{index}.png"), np.full((height, width, 3), 200, np.uint8))
    return open_source(SourceSettings(path=str(folder)))


def pixels(picture: Picture) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape[:2] == (picture.height, picture.width)
    return decoded


def test_landmarks_are_drawn_into_the_frame_and_a_bare_frame_has_none(tmp_path: Path) -> None:
    wanted = {Wanted(KEY, 1), Wanted(KEY, 1, bare=True)}
    drawn, reason, _ = draw_pictures(collection(), wanted, lambda: source(tmp_path, 8))
    assert reason == ""
    assert all(picture.has_frame for picture in drawn.values())
    assert pixels(drawn[Wanted(KEY, 1, bare=True)]).std() < 1
    assert pixels(drawn[Wanted(KEY, 1)]).std() > 5


def test_a_frame_that_the_source_has_no_more_is_a_skeleton(tmp_path: Path) -> None:
    drawn, *_ = draw_pictures(collection(), {Wanted(KEY, 5), Wanted(KEY, 6, bare=True)}, lambda: source(tmp_path, 3))
    assert list(drawn) == [Wanted(KEY, 5)]
    assert not drawn[Wanted(KEY, 5)].has_frame
    assert pixels(drawn[Wanted(KEY, 5)]).mean() < 120


def test_a_source_without_the_video_or_without_anything_is_a_reason(tmp_path: Path) -> None:
    drawn, reason, _ = draw_pictures(
        InMemory((make_video(8),)), {Wanted(("train", "video-0"), 1)}, lambda: source(tmp_path, 3)
    )
    assert reason == "The source holds none of these videos."
    assert len(drawn) == 1

    def gone() -> Source:
        raise SourceError("There is no /data.")

    assert draw_pictures(collection(), {Wanted(KEY, 1)}, gone)[1] == "There is no /data."


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (500, 400), (1, 1)])
def test_frames_of_any_shape_become_small_pictures(tmp_path: Path, shape: tuple[int, int]) -> None:
    width, height = shape
    shown, *_ = draw_pictures(collection(), {Wanted(KEY, 0)}, lambda: source(tmp_path, 1, width, height))
    alone, *_ = draw_pictures(collection(width, height), {Wanted(KEY, 0)}, None)
    for picture in (shown[Wanted(KEY, 0)], alone[Wanted(KEY, 0)]):
        pixels(picture)
        assert picture.height <= PICTURE_HEIGHT
        assert picture.width <= 3 * PICTURE_HEIGHT


def test_a_frame_in_which_nothing_is_found_has_no_skeleton() -> None:
    (video,) = collection().videos
    for points in video.points.values():
        points[3] = np.nan
    drawn, *_ = draw_pictures(InMemory((video,)), {Wanted(KEY, 3), Wanted(KEY, 4)}, None)
    assert list(drawn) == [Wanted(KEY, 4)]


def test_the_frame_in_the_middle_stands_for_those_that_have_or_lack_a_part() -> None:
    assert typical_frame(collection(), KEY, "left_hand", found=False) == 3
    assert typical_frame(collection(), KEY, "left_hand", found=True) == 5
    assert typical_frame(collection(), KEY, "pose", found=False) is None
    assert affected_frames(collection(), KEY, "failed") == ([6, 7], "")
