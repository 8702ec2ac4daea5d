from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.imports import FileCollection, open_collection
from phoenix_ray.exports.kaggle import write_kaggle_asl
from phoenix_ray.exports.landmark_pickle import PARTS, write_landmark_pickle
from phoenix_ray.exports.lossless import write_numpy_archives
from phoenix_ray.exports.pose_components import face_triangles
from phoenix_ray.exports.pose_files import write_pose_files
from phoenix_ray.exports.pose_import import read_pose_file
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts.mediapipe import FACE_EDGES, HAND_EDGES, HAND_POINTS, IRIS_EDGES, POSE_EDGES, POSE_POINTS
from tests.exports.made_up import (
    HEIGHT,
    SELECTION,
    VIDEOS,
    WIDTH,
    InMemory,
    assert_same_points,
    make_landmarks,
    write_dataset,
    write_one_file,
)


def test_a_dataset_is_opened(tmp_path: Path) -> None:
    collection = open_collection(write_dataset(tmp_path))
    assert list(collection.keys()) == sorted((video.split, video.video_id) for video in VIDEOS)
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        assert_same_points(video, again, tuple(video.points))
        assert again.annotation == video.annotation


def test_a_pickle_is_opened_whatever_its_name(tmp_path: Path) -> None:
    write_landmark_pickle(SELECTION, tmp_path / "keypoints.train")
    collection = open_collection(str(tmp_path / "keypoints.train"))
    for video in VIDEOS:
        assert_same_points(video, collection.load(video.split, video.video_id), PARTS)


def test_what_is_not_understood_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in (
        (tmp_path, "no landmarks"),
        (tmp_path / "notes.txt", "no landmarks"),
        (tmp_path / "x", "noth"),
    ):
        with pytest.raises(OutputError, match=message):
            open_collection(str(path))


KEYS = [(video.split, video.video_id) for video in VIDEOS]


@pytest.fixture
def pose_files(tmp_path: Path) -> Path:
    pytest.importorskip("pose_format", reason="pose-format is not installed")
    write_pose_files(SELECTION, tmp_path)
    return tmp_path


def test_a_folder_of_numpy_archives_gives_every_video_back(tmp_path: Path) -> None:
    write_numpy_archives(SELECTION, tmp_path)
    collection = FileCollection.open(tmp_path)
    assert list(collection.keys()) == KEYS
    assert collection.layout == VIDEOS[0].layout
    for video in VIDEOS:
        assert_same_points(video, collection.load(video.split, video.video_id), tuple(video.points))


def test_a_folder_of_pose_files_gives_every_video_back(pose_files: Path) -> None:
    collection = FileCollection.open(pose_files)
    assert list(collection.keys()) == KEYS
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        np.testing.assert_array_max_ulp(again.points["face"], video.points["face"])
        assert (again.split, again.video_id) == (video.split, video.video_id)


def test_files_of_a_flat_folder_have_the_empty_split(pose_files: Path) -> None:
    collection = FileCollection.open(pose_files / "dev")
    assert list(collection.keys()) == [("", "a")]
    assert len(collection.load("", "a")) == 3


def test_deeper_folders_belong_to_the_video_id(pose_files: Path) -> None:
    (pose_files / "train" / "day-1").mkdir()
    shutil.move(pose_files / "dev" / "a.pose", pose_files / "train" / "day-1")
    assert ("train", "day-1/a") in list(FileCollection.open(pose_files).keys())


def test_one_file_is_a_collection_of_one_video(tmp_path: Path) -> None:
    file = write_one_file(write_numpy_archives, tmp_path, VIDEOS[0]).rename(tmp_path / "x.npz")
    assert list(FileCollection.open(file).keys()) == [("dev", "a")]


def test_an_id_too_long_for_a_name_is_read_from_the_archive(tmp_path: Path) -> None:
    video_id = "v" * 300
    file = write_one_file(write_numpy_archives, tmp_path, make_landmarks("dev", video_id))
    assert file.stem != video_id
    assert list(FileCollection.open(tmp_path).keys()) == [("dev", video_id)]


def test_mixed_and_empty_folders_are_reported(pose_files: Path) -> None:
    write_numpy_archives(SELECTION, pose_files)
    with pytest.raises(OutputError, match=r"holds \.npz and \.pose files"):
        FileCollection.open(pose_files)
    (pose_files / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no files"):
        FileCollection.open(pose_files / "empty")


pose_format = pytest.importorskip("pose_format", reason="pose-format is not installed")
VIDEO = VIDEOS[1]


@dataclass
class Replayed:
    """Stands for MediaPipe's `Holistic`: its results are the landmarks of `VIDEO`, a frame is its number."""

    static_image_mode: bool

    def process(self, frame: int) -> SimpleNamespace:
        return SimpleNamespace(**{f"{part}_landmarks": self.landmarks(part, frame) for part in VIDEO.points})

    def landmarks(self, part: str, frame: int) -> SimpleNamespace | None:
        if not VIDEO.present(part)[frame]:
            return None
        points = VIDEO.points[part][frame].tolist()
        visibilities = VIDEO.points["pose"][frame, :, 3] if part.startswith("pose") else [0.0] * len(points)
        return SimpleNamespace(
            landmark=[
                SimpleNamespace(x=x, y=y, z=z, visibility=float(visibility))
                for (x, y, z, *_), visibility in zip(points, visibilities, strict=True)
            ]
        )

    def close(self) -> None:
        pass


@pytest.fixture
def holistic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`pose_format.utils.holistic`, which wants a few lists of names from MediaPipe to be imported."""
    names = SimpleNamespace(
        Holistic=Replayed,
        PoseLandmark=SimpleNamespace(_member_names_=[point.upper() for point in POSE_POINTS]),
        HandLandmark=SimpleNamespace(_member_names_=[point.upper() for point in HAND_POINTS]),
        POSE_CONNECTIONS=POSE_EDGES,
        HAND_CONNECTIONS=HAND_EDGES,
        FACEMESH_CONTOURS=FACE_EDGES,
        FACEMESH_TESSELATION=[edge for a, b, c in face_triangles() for edge in ((a, b), (b, c), (c, a))],
    )
    modules = ("mediapipe", "mediapipe.python", "mediapipe.python.solutions")
    for name in (*modules, f"{modules[-1]}.face_mesh_connections"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mediapipe"].solutions = SimpleNamespace(holistic=names)  # type: ignore[attr-defined]
    sys.modules[f"{modules[-1]}.face_mesh_connections"].FACEMESH_IRISES = IRIS_EDGES  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "pose_format.utils.holistic", raising=False)
    import pose_format.utils.holistic as module

    yield module
    sys.modules.pop("pose_format.utils.holistic", None)


@pytest.fixture
def theirs(holistic: Any) -> Any:
    """What pose-format makes of the frames of `VIDEO`."""
    return holistic.load_holistic(list(range(len(VIDEO))), fps=25, width=WIDTH, height=HEIGHT, reuse=False)


def read(pose: Any, folder: Path) -> VideoLandmarks:
    with (folder / "v.pose").open("wb") as stream:
        pose.write(stream)
    return read_pose_file(folder / "v.pose", "train", "v")


def test_a_file_that_pose_format_wrote_gives_the_landmarks_back(theirs: Any, tmp_path: Path) -> None:
    video = read(theirs, tmp_path)
    assert video.layout == VIDEO.layout
    for part, points in VIDEO.points.items():
        np.testing.assert_allclose(video.points[part], points, rtol=3e-7)


def test_pose_format_and_we_write_the_same_body(theirs: Any, tmp_path: Path) -> None:
    ours = pose_format.Pose.read(write_one_file(write_pose_files, tmp_path, VIDEO).read_bytes())
    assert [one.name for one in ours.header.components] == [one.name for one in theirs.header.components]
    assert np.array_equal(ours.body.data.data, theirs.body.data.data.astype(np.float32))
    assert np.array_equal(ours.body.confidence, theirs.body.confidence)


def test_mirroring_a_file_with_pose_format_finds_and_loses_no_hand(holistic: Any, theirs: Any, tmp_path: Path) -> None:
    plain, mirrored = read(theirs, tmp_path), read(holistic.mirror_horizontal(theirs), tmp_path)
    assert plain.present("left_hand").tolist() == [False, False, True, True, True, True]
    for part, other in (("left_hand", "right_hand"), ("right_hand", "left_hand"), ("pose", "pose"), ("face", "face")):
        assert np.array_equal(mirrored.present(part), plain.present(other)), part
    np.testing.assert_allclose(
        mirrored.points["left_hand"][3, :, 0], 1 - plain.points["right_hand"][3, :, 0], atol=1e-6
    )
    assert np.array_equal(mirrored.points["pose_world"], plain.points["pose_world"], equal_nan=True)


def test_hidden_legs_are_missing_and_the_rest_of_the_body_is_not(theirs: Any, tmp_path: Path) -> None:
    from pose_format.utils.generic import pose_hide_legs

    plain, hidden = read(theirs, tmp_path), read(pose_hide_legs(copy.deepcopy(theirs)), tmp_path)
    for part in VIDEO.points:
        assert np.array_equal(hidden.present(part), plain.present(part)), part
    assert np.isnan(hidden.points["pose"][:, 23:]).all()
    assert np.array_equal(hidden.points["pose"][:, :23], plain.points["pose"][:, :23], equal_nan=True)


def test_the_number_under_a_mask_means_nothing(theirs: Any, tmp_path: Path) -> None:
    theirs.body.confidence[3, 0, 0:2] = 0
    theirs.body.data.data[4, 0] = 7
    theirs.body.confidence[4] = 0
    video = read(theirs, tmp_path)
    assert np.isnan(video.points["pose"][3, :2]).all()
    assert not np.isnan(video.points["pose"][3, 2:]).any()
    assert video.status == ("no_person", "ok", "ok", "ok", "no_person", "ok")


def test_a_component_without_depth_gives_points_without_z(theirs: Any, tmp_path: Path) -> None:
    theirs.body.data = theirs.body.data[:, :, :, :2]
    for component in theirs.header.components:
        component.format = "XYC"
    video = read(theirs, tmp_path)
    assert [part.axes for part in video.layout.parts] == [("x", "y", "visibility"), *[("x", "y")] * 4]
    np.testing.assert_allclose(video.points["pose"], VIDEO.points["pose"][:, :, [0, 1, 3]], rtol=3e-7)
    np.testing.assert_allclose(video.points["face"], VIDEO.points["face"][:, :, :2], rtol=3e-7)
    with pytest.raises(ConfigError, match="needs x, y, z of each point; 'pose' has x, y, visibility"):
        write_kaggle_asl(select_for_export(InMemory((video,))), tmp_path / "out")


def test_a_channel_between_depth_and_confidence_is_passed_over(theirs: Any, tmp_path: Path) -> None:
    data = theirs.body.data.data
    theirs.body.data = np.ma.masked_array(np.concatenate([data, np.full_like(data[..., :1], 9)], axis=3))
    for component in theirs.header.components:
        component.format = "XYZKC"
    video = read(theirs, tmp_path)
    assert video.layout == VIDEO.layout
    np.testing.assert_allclose(video.points["pose"], VIDEO.points["pose"], rtol=3e-7)


def test_points_are_found_by_name_in_any_order(theirs: Any, tmp_path: Path) -> None:
    plain = read(theirs, tmp_path)
    start = 0
    for component in theirs.header.components:
        stop = start + len(component.points)
        component.points = component.points[::-1]
        component.limbs = [(stop - start - 1 - one, stop - start - 1 - other) for one, other in component.limbs]
        for array in (theirs.body.data, theirs.body.confidence):
            array[:, :, start:stop] = array[:, :, start:stop][:, :, ::-1].copy()
        start = stop
    video = read(theirs, tmp_path)
    assert video.layout == plain.layout
    for part, points in plain.points.items():
        assert np.array_equal(video.points[part], points, equal_nan=True), part


def test_a_reduced_file_has_the_points_it_names(theirs: Any, tmp_path: Path) -> None:
    from pose_format.utils.generic import reduce_holistic

    video = read(reduce_holistic(theirs), tmp_path)
    pose, face = video.layout.part("pose"), video.layout.part("face")
    assert pose.points[0] == "left_shoulder"
    assert len(face.points) == 128
    columns = [POSE_POINTS.index(point) for point in pose.points]
    np.testing.assert_allclose(video.points["pose"], VIDEO.points["pose"][:, columns], rtol=3e-7)
    assert ("left_shoulder", "left_elbow") in {(pose.points[one], pose.points[other]) for one, other in pose.edges}
    assert np.isnan(video.points["pose_world"]).all()


def test_components_alone_leave_the_other_parts_missing(theirs: Any, tmp_path: Path) -> None:
    video = read(theirs.get_components(["RIGHT_HAND_LANDMARKS"]), tmp_path)
    assert video.layout == VIDEO.layout
    assert video.present("right_hand").sum() == 5
    assert not video.present("pose").any()


@pytest.mark.parametrize("rate", [0.0, -25.0, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_none(theirs: Any, tmp_path: Path, rate: float) -> None:
    theirs.body.fps = rate
    video = read(theirs, tmp_path)
    assert video.fps is None
    assert np.isnan(video.timestamps).all()


def with_people(pose: Any) -> None:
    pose.body.data = np.repeat(pose.body.data, 2, axis=1)
    pose.body.confidence = np.repeat(pose.body.confidence, 2, axis=1)


def with_point(name: str) -> Callable[[Any], None]:
    def change(pose: Any) -> None:
        pose.header.components[1].points[3] = name

    return change


def without_axis(pose: Any) -> None:
    pose.header.components[2].format = "XZKC"


def without_height(pose: Any) -> None:
    pose.header.dimensions.height = 0


def of_another_kind(pose: Any) -> None:
    for component in pose.header.components:
        component.name = "BODY"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_people, "holds 2 people; files of one person can be read"),
        (with_point("CHIN"), "component FACE_LANDMARKS has the point 'CHIN', which MediaPipe Holistic lacks"),
        (with_point("4"), "component FACE_LANDMARKS has a point twice"),
        (without_axis, "have the format 'XZKC'; X, Y and C"),
        (without_height, "says that its pictures are 210 x 0"),
        (of_another_kind, "has the components BODY, BODY, .*one of them twice"),
    ],
)
def test_what_cannot_be_read_is_said(theirs: Any, tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    change(theirs)
    with pytest.raises(OutputError, match=rf"v\.pose.*{message}"):
        read(theirs, tmp_path)
