from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.frames import choose_source, list_frames
from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError


def write_pictures(folder: Path, count: int, width: int = 21) -> None:
    folder.mkdir(parents=True)
    for index in range(1, count + 1):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((26, width, 3), np.uint8))


def test_all_contestants_get_every_frame_in_natural_order(tmp_path: Path) -> None:
    write_pictures(tmp_path / "dev" / "a", 11)
    write_pictures(tmp_path / "train" / "b", 2, width=30)
    frames = list_frames(SourceSettings(path=str(tmp_path)))
    names = [str(Path(picture).relative_to(tmp_path)) for picture in frames.pictures]
    assert names == [*(f"dev/a/{index}.png" for index in range(1, 12)), "train/b/1.png", "train/b/2.png"]
    assert str(frames) == f"13 frames (21x26, 30x26) of 2 videos in {tmp_path.name}"


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "dev" / "a", 1)
    (tmp_path / "dev" / "a" / "0.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"0\.png"):
        list_frames(SourceSettings(path=str(tmp_path)))


def test_video_files_are_refused(samples: Path) -> None:
    with pytest.raises(ConfigError, match="video file"):
        list_frames(SourceSettings(path=str(samples / "B_repo_licence_only" / "slp-pose"), kind="videos"))


def test_a_given_source_wins_over_the_samples_and_these_over_the_built_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_RAY_SAMPLES", str(tmp_path))
    assert choose_source(None) == SourceSettings(kind="sample")
    phoenix = tmp_path / "phoenix_layout_demo" / "PHOENIX-2014-T"
    phoenix.mkdir(parents=True)
    assert choose_source(None).path == str(phoenix)
    assert choose_source(Path("/data")).path == "/data"
