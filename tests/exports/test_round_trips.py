"""Every layout through every format that holds it, and back: equal numbers."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.export import export_videos
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.lossless import read_numpy_archive
from phoenix_ray.exports.requirements import fitting_formats
from phoenix_ray.layouts import SEEN_FROM, Layout, coco
from phoenix_ray.layouts.correspondence import coco_133_points, named_point
from phoenix_ray.layouts.openpose import BODY_25
from phoenix_ray.text import spreadsheet_text
from tests.zoo import OWN_LAYOUT, SIZE, ZOO, layout_id, write_zoo_dataset, zoo_videos

PIXELS = np.array(SIZE, np.float64)


@dataclass(frozen=True)
class Zoo:
    """A dataset on disk."""

    path: str

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset.open(self.path)

    @property
    def layout(self) -> Layout:
        return self.dataset.layout

    def videos(self) -> list[VideoLandmarks]:
        return [self.dataset.load(*key) for key in sorted(self.dataset.keys())]


@pytest.fixture(scope="module", params=ZOO, ids=layout_id)
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(write_zoo_dataset(tmp_path_factory.mktemp("zoo") / "dataset", request.param))


def exported(zoo: Zoo, form: str, folder: Path) -> Path:
    """Write the dataset in a format; skip where the layout does not fit, which must be refused."""
    if form not in fitting_formats(zoo.layout):
        with pytest.raises(ConfigError, match=f"The format '{form}' .*{zoo.layout.name}"):
            export_videos(zoo.path, folder / form, form)
        assert not (folder / form).exists()
        pytest.skip(f"{zoo.layout.name} does not fit into {form}, and is refused")
    export_videos(zoo.path, folder / form, form)
    return folder / form


def expect_pixels(video: VideoLandmarks, points: list[tuple[str, int] | None]) -> np.ndarray:
    """Return x, y in float32 pixels and confidence, zeros where a point is missing."""
    values = np.zeros((len(video), len(points), 3), np.float32)
    for column, point in enumerate(points):
        if point is not None:
            found = video.points[point[0]][:, point[1]].astype(np.float64)
            values[:, column] = np.nan_to_num(found * (*SIZE, 1)) * ~np.isnan(found[:, :1])
    return values


def test_the_dataset_gives_the_landmarks_back_with_single_points_missing(zoo: Zoo) -> None:
    for made, read in zip(zoo_videos(zoo.layout), zoo.videos(), strict=True):
        assert read.layout == made.layout
        for part, values in made.points.items():
            assert np.array_equal(read.points[part], values, equal_nan=True)
            assert np.array_equal(read.scores[part], made.scores[part], equal_nan=True)
            assert np.array_equal(read.present(part), ~np.isnan(values[:, :, 0]).all(axis=1))
    longest = read if len(read) > 6 else zoo.videos()[1]
    for part, values in longest.points.items():
        alone = np.isnan(values[:, :, 0]) & ~np.isnan(values[:, :, 2])
        assert alone[4:8].any(axis=1).all(), part


@pytest.mark.parametrize("form", ["npz", "webdataset"])
def test_archives_hold_every_bit(zoo: Zoo, form: str, tmp_path: Path) -> None:
    output = exported(zoo, form, tmp_path)
    if form == "npz":
        collection = open_collection(str(output))
        back = {key: collection.load(*key) for key in sorted(collection.keys())}
    else:
        back = {}
        for shard in output.glob("*.tar"):
            with tarfile.open(shard) as tar:
                for name in tar.getnames():
                    if name.endswith(".npz"):
                        file = tmp_path / "sample.npz"
                        member = tar.extractfile(name)
                        assert member is not None
                        file.write_bytes(member.read())
                        video = read_numpy_archive(file)
                        back[video.split, video.video_id] = video
    for video in zoo.videos():
        again = back[video.split, video.video_id]
        assert (again.layout, again.status, again.frame_names) == (video.layout, video.status, video.frame_names)
        for part, values in video.points.items():
            assert np.array_equal(again.points[part].view(np.uint32), values.view(np.uint32)), part
            assert np.array_equal(again.scores[part], video.scores[part], equal_nan=True)


def test_a_table_holds_every_value_also_the_confidence_of_missing_points(zoo: Zoo, tmp_path: Path) -> None:
    output = exported(zoo, "csv", tmp_path)
    for video in zoo.videos():
        (file,) = output.rglob(f"*{'%C3%BC' if 'ü' in video.video_id else video.video_id}*.csv")
        table = pa_csv.read_csv(io.BytesIO(file.read_bytes()))
        for part in video.layout.parts:
            for index, point in enumerate(part.points):
                stem = point if point.startswith(f"{part.name}_") else f"{part.name}_{point}"
                for axis, name in enumerate(part.axes):
                    column = table.column(spreadsheet_text(f"{stem}_{name}")).cast(pa.float64())
                    values = column.to_numpy(zero_copy_only=False).astype(np.float32)
                    assert np.array_equal(values, video.points[part.name][:, index, axis], equal_nan=True)


def test_pose_files_give_the_points_back(zoo: Zoo, tmp_path: Path) -> None:
    pytest.importorskip("pose_format", reason="pose-format is not installed")
    collection = open_collection(str(exported(zoo, "pose", tmp_path)))
    if zoo.layout != OWN_LAYOUT:
        assert collection.layout == zoo.layout
    content = [(part.name, part.points, part.axes, sorted(part.edges)) for part in collection.layout.parts]
    assert content == [(part.name, part.points, part.axes, sorted(part.edges)) for part in zoo.layout.parts]
    for video in zoo.videos():
        again = collection.load(video.split, video.video_id)
        for part, values in video.points.items():
            there = ~np.isnan(values[:, :, 0])
            assert np.array_equal(there, ~np.isnan(again.points[part][:, :, 0]))
            np.testing.assert_array_max_ulp(again.points[part][there][:, :2], values[there][:, :2], 1)
            assert np.array_equal(again.points[part][there][:, 2], values[there][:, 2])
            assert np.isnan(again.points[part][~there]).all()


def test_openposes_files_give_the_points_back(zoo: Zoo, tmp_path: Path) -> None:
    collection = open_collection(str(exported(zoo, "openpose", tmp_path)), SIZE)
    own = zoo.layout.name.startswith("openpose-")
    if own:
        assert collection.layout == zoo.layout
    for video in zoo.videos():
        again = collection.load(video.split, video.video_id)
        assert len(again) == len(video)
        body = again.layout.part("pose").points
        for name in body:
            point = named_point(video.layout, name) or (
                coco_133_points(video.layout)[coco.NAMES.index(name)] if name in coco.NAMES else None
            )
            if point is not None:
                assert_same_point(again.points["pose"][:, body.index(name)], video.points[point[0]][:, point[1]])
        for part in ("face", "left_hand", "right_hand"):
            assert (part in again.points) == (part in video.points)
            for index in range(len(video.layout.part(part).points) if part in video.points else 0):
                assert_same_point(again.points[part][:, index], video.points[part][:, index])


def assert_same_point(again: np.ndarray, values: np.ndarray) -> None:
    there = ~np.isnan(values[:, 0])
    assert np.array_equal(there, ~np.isnan(again[:, 0]))
    np.testing.assert_array_max_ulp(again[there][:, :2], values[there][:, :2], 1)
    assert np.array_equal(again[there][:, 2], values[there][:, 2])


def test_middles_that_a_layout_lacks_are_halfway(tmp_path: Path) -> None:
    zoo = Zoo(write_zoo_dataset(tmp_path / "dataset", ZOO[0]))
    collection = open_collection(str(exported(zoo, "openpose", tmp_path)), SIZE)
    video, again = zoo.dataset.load("train", "a"), collection.load("train", "a")
    ends = [
        video.points["pose"][:, video.layout.part("pose").points.index(f"{side}_hip"), :2] for side in ("left", "right")
    ]
    np.testing.assert_allclose(
        again.points["pose"][:, BODY_25.index("middle_hip"), :2], np.mean(ends, axis=0), rtol=1e-5
    )


def test_coco_annotations_hold_the_points_in_pixels(zoo: Zoo, tmp_path: Path) -> None:
    output = exported(zoo, "coco", tmp_path)
    points = coco_133_points(zoo.layout)
    for video in zoo.videos():
        tree: dict[str, Any] = json.loads((output / f"{video.split}.json").read_text())
        rows = {image["id"]: image for image in tree["images"] if image["video_id"] == video.video_id}
        expected = expect_pixels(video, list(points))
        found = np.zeros_like(expected)
        for annotation in tree["annotations"]:
            if annotation["image_id"] in rows:
                groups = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
                flat = [value for group in groups for value in annotation[group]]
                found[rows[annotation["image_id"]]["frame_index"]] = np.reshape(flat, (133, 3))
        assert np.array_equal(found[:, :, :2], expected[:, :, :2])
        visible = np.where(
            expected[:, :, :2].any(axis=2), np.where(expected[:, :, 2] < SEEN_FROM["confidence"], 1, 2), 0
        )
        assert np.array_equal(found[:, :, 2], visible)
        assert {1, 2} <= set(np.unique(visible).tolist())


@pytest.mark.parametrize("form", ["mska", "twostream"])
def test_translation_pickles_hold_the_133_points_with_their_confidence(zoo: Zoo, form: str, tmp_path: Path) -> None:
    if form == "mska":
        pytest.importorskip("torch", reason="torch is not installed")
    output = exported(zoo, form, tmp_path)
    for video in zoo.videos():
        if form == "mska":
            with (output / f"Phoenix-2014T.{video.split}").open("rb") as stream:
                keypoints = pickle.load(stream)[f"{video.split}/{video.video_id}"]["keypoint"].numpy()
        else:
            with (output / "phoenix-2014t-keypoints.pkl").open("rb") as stream:
                keypoints = pickle.load(stream)[f"{video.split}/{video.video_id}"]["keypoints"]
            assert gzip.decompress((output / f"phoenix-2014t.{video.split}").read_bytes())
        assert np.array_equal(keypoints, expect_pixels(video, list(coco_133_points(video.layout))))


@pytest.mark.parametrize("form", ["pickle", "kaggle", "fingerspelling"])
def test_formats_of_holistic_alone_refuse_the_others(zoo: Zoo, form: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"'{form}' needs MediaPipe Holistic's landmarks; the layout .* written as npz"
    ):
        export_videos(zoo.path, tmp_path / "out", form)


def test_landmarks_go_from_file_to_file(tmp_path: Path) -> None:
    """OpenPose's own files survive a way through `.pose` and back, to the last digit but one."""
    pytest.importorskip("pose_format", reason="pose-format is not installed")
    layout: Layout = next(layout for layout in ZOO if layout.name == "openpose-137")
    zoo = Zoo(write_zoo_dataset(tmp_path / "dataset", layout))
    export_videos(zoo.path, tmp_path / "json", "openpose")
    export_videos(str(tmp_path / "json"), tmp_path / "pose", "pose", frame_size=SIZE)
    export_videos(str(tmp_path / "pose"), tmp_path / "again", "openpose")
    files = sorted(file.relative_to(tmp_path / "json") for file in (tmp_path / "json").rglob("*.json"))
    assert files
    for file in files:
        ours, theirs = (json.loads((tmp_path / folder / file).read_text()) for folder in ("json", "again"))
        assert len(ours["people"]) == len(theirs["people"])
        for person, other in zip(ours["people"], theirs["people"], strict=True):
            for key, values in person.items():
                np.testing.assert_allclose(other[key], values, rtol=3e-7)
