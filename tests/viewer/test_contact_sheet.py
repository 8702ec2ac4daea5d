from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, OutputError, SourceError
from phoenix_ray.layouts import BLAZEPOSE
from phoenix_ray.viewer import tiling
from phoenix_ray.viewer.contact_sheet import write_contact_sheet
from tests.viewer.made_up import compute


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Two splits with one video each; a frame of one is unreadable."""
    source = tmp_path / "source"
    random = np.random.default_rng(3)
    for split, video_id in [("train", "Straße 手"), ("dev", "b")]:
        folder = source / split / video_id
        folder.mkdir(parents=True)
        for index in range(4):
            cv2.imwrite(str(folder / f"{index}.png"), random.integers(0, 256, (26, 21, 3), dtype=np.uint8))
    (source / "dev" / "b" / "0.png").write_bytes(b"no picture")
    return str(compute(source, tmp_path / "output"))


def sheet_of(dataset: str, file: Path, videos: int = 2, frames: int = 4) -> np.ndarray:
    write_contact_sheet(dataset, file, SourceSettings(), videos, frames)
    picture = cv2.imread(str(file))
    assert picture is not None
    return picture


def test_a_sheet_shows_every_split_also_with_unreadable_frames_and_foreign_letters(
    dataset: str, tmp_path: Path
) -> None:
    picture = sheet_of(dataset, tmp_path / "new folder" / "sheet.png")
    assert min(picture.shape[:2]) > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1_000


def test_more_frames_make_a_wider_sheet(dataset: str, tmp_path: Path) -> None:
    narrow = sheet_of(dataset, tmp_path / "a.png", frames=2)
    wide = sheet_of(dataset, tmp_path / "b.png", frames=4)
    assert wide.shape[1] > narrow.shape[1]
    assert wide.shape[0] == narrow.shape[0]


def test_a_video_that_is_named_is_shown_alone(dataset: str, tmp_path: Path) -> None:
    whole = sheet_of(dataset, tmp_path / "whole.png")
    for name in ("b", "dev/b"):
        write_contact_sheet(dataset, tmp_path / "one.png", SourceSettings(), 2, 4, only=[name])
        picture = cv2.imread(str(tmp_path / "one.png"))
        assert picture is not None
        assert picture.shape[0] < whole.shape[0]
    with pytest.raises(OutputError, match="holds none of train/b"):
        write_contact_sheet(dataset, tmp_path / "none.png", SourceSettings(), 2, 4, only=["train/b"])


def test_frames_around_one_stand_side_by_side(dataset: str, tmp_path: Path) -> None:
    spread = sheet_of(dataset, tmp_path / "spread.png", frames=3)
    write_contact_sheet(dataset, tmp_path / "near.png", SourceSettings(), 2, 3, around=1)
    near = cv2.imread(str(tmp_path / "near.png"))
    assert near is not None
    assert near.shape == spread.shape
    assert (near != spread).any()


def test_a_frame_beyond_the_end_of_a_video_is_reported(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dev/b ends with frame \d+: --around 1000 is beyond its end"):
        write_contact_sheet(dataset, tmp_path / "sheet.png", SourceSettings(), 2, 3, only=["b"], around=1000)
    assert not (tmp_path / "sheet.png").exists()


def test_a_source_that_is_another_dataset_is_reported(dataset: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "clip"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "1.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(OutputError, match="nothing to show"):
        write_contact_sheet(dataset, tmp_path / "sheet.png", SourceSettings(path=str(tmp_path / "other")), 2, 4)


def test_a_picture_that_cannot_be_written_is_reported(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_contact_sheet(dataset, tmp_path / "file" / "sheet.png", SourceSettings(), 2, 4)


def test_a_source_that_moved_is_asked_for_and_found_at_its_new_place(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "source").rename(tmp_path / "moved")
    with pytest.raises(SourceError, match=rf"was computed from {tmp_path}/source\..*--source NEWPATH"):
        sheet_of(dataset, tmp_path / "sheet.png")
    write_contact_sheet(dataset, tmp_path / "sheet.png", SourceSettings(path=str(tmp_path / "moved")), 2, 4)
    with pytest.raises(SourceError, match="There is no") as caught:
        write_contact_sheet(dataset, tmp_path / "sheet.png", SourceSettings(path=str(tmp_path / "wrong")), 2, 4)
    assert "NEWPATH" not in str(caught.value)


def test_the_legend_names_the_parts_of_the_layout_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(tiling, "write", lambda pen, corner, text, *rest: written.append(text))
    tiling.compose("Landmarks", [], (100, 100), BLAZEPOSE)
    assert written == ["Landmarks", "body"]
