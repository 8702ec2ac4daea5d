from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.pose_files import write_pose_files
from phoenix_ray.exports.pose_import import read_pose_file
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts import BLAZEPOSE, holistic
from tests.exports.made_up import HEIGHT, SELECTION, VIDEOS, WIDTH, InMemory, make_landmarks, write_one_file

pose_format = pytest.importorskip("pose_format", reason="pose-format is not installed")
VIDEO = VIDEOS[1]
COMPONENTS = {
    "POSE_LANDMARKS": "pose",
    "FACE_LANDMARKS": "face",
    "LEFT_HAND_LANDMARKS": "left_hand",
    "RIGHT_HAND_LANDMARKS": "right_hand",
    "POSE_WORLD_LANDMARKS": "pose_world",
}
# Of the components that pose_format.utils.holistic.holistic_components made with MediaPipe 0.10.21, limbs sorted.
HEADERS = {
    468: "9a940da28fff52c4fad190208441d3601a4a56d4cd646f349d18d4fc7b0a462d",
    478: "303e1b111ea8eef0d5f15a110b0b6728c1623ba39762dffbbe50502360a4f04a",
}


def read(video_file: Path) -> Any:
    pose_format.pose_header.PoseHeaderCache.clear_cache()
    return pose_format.Pose.read(video_file.read_bytes())


@pytest.mark.parametrize("face_points", [468, 478])
def test_the_header_is_that_of_pose_formats_own_holistic_utilities(face_points: int, tmp_path: Path) -> None:
    write_pose_files(select_for_export(InMemory((make_landmarks("s", "v", layout=holistic(face_points)),))), tmp_path)
    components = read(tmp_path / "s" / "v.pose").header.components
    facts = [
        (
            one.name,
            one.format,
            tuple(one.points),
            tuple(sorted(map(tuple, one.limbs))),
            tuple(tuple(int(value) for value in color) for color in one.colors),
        )
        for one in components
    ]
    assert hashlib.sha256(repr(facts).encode()).hexdigest() == HEADERS[face_points]


def test_pose_alone_has_the_components_of_the_pose(tmp_path: Path) -> None:
    write_pose_files(select_for_export(InMemory((make_landmarks("s", "v", layout=BLAZEPOSE),))), tmp_path)
    components = read(tmp_path / "s" / "v.pose").header.components
    assert [component.name for component in components] == ["POSE_LANDMARKS", "POSE_WORLD_LANDMARKS"]
    back = read_pose_file(tmp_path / "s" / "v.pose", "s", "v")
    assert back.present("pose").any()
    assert not back.present("left_hand").any()


def test_pose_format_reads_pixels_and_confidence(tmp_path: Path) -> None:
    write_pose_files(SELECTION, tmp_path)
    pose = read(tmp_path / "train" / "01April_2010_Thursday_heute-6694.pose")
    assert (pose.header.dimensions.width, pose.header.dimensions.height) == (WIDTH, HEIGHT)
    assert pose.body.fps == 25
    assert pose.body.data.shape == (6, 1, 33 + 468 + 21 + 21 + 33, 3)
    start = 0
    for component in pose.header.components:
        part = COMPONENTS[component.name]
        stop = start + len(component.points)
        ours = VIDEO.points[part].astype(np.float64)
        ours[:, :, :2] *= (WIDTH, HEIGHT)
        present = VIDEO.present(part)
        theirs = pose.body.data.data[:, 0, start:stop]
        assert np.array_equal(theirs[present], ours[present, :, :3].astype(np.float32))
        assert not theirs[~present].any()
        confidence = pose.body.confidence[:, 0, start:stop]
        expected = VIDEO.points["pose"][:, :, 3] if part.startswith("pose") else np.ones(confidence.shape, np.float32)
        assert np.array_equal(confidence[present], expected[present])
        assert not confidence[~present].any()
        start = stop


def test_the_tools_of_pose_format_take_the_file(tmp_path: Path) -> None:
    from pose_format.utils.generic import detect_known_pose_format, pose_hide_legs, reduce_holistic

    write_pose_files(SELECTION, tmp_path)
    pose = read(tmp_path / "train" / "01April_2010_Thursday_heute-6694.pose")
    assert detect_known_pose_format(pose) == "holistic"
    assert pose.normalize().body.data.shape == pose.body.data.shape
    assert pose_hide_legs(pose).body.data.shape[0] == 6
    assert len(reduce_holistic(pose).header.components) >= 4


def test_the_viewer_of_pose_format_draws_the_file(tmp_path: Path) -> None:
    visualizer = pytest.importorskip("pose_format.pose_visualizer", reason="its viewer is not installed")
    write_pose_files(SELECTION, tmp_path)
    pose = read(tmp_path / "train" / "01April_2010_Thursday_heute-6694.pose")
    frames = list(visualizer.PoseVisualizer(pose).draw())
    assert [frame.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 6
    assert (frames[0] == frames[0][0, 0]).all()
    assert not (frames[3] == frames[0]).all()


@given(
    numbers=st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6),
    size=st.sampled_from([(210, 260), (256, 512), (1, 1), (1920, 1080)]),
)
def test_the_round_trip_keeps_pixels_within_one_unit_in_the_last_place(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float], size: tuple[int, int]
) -> None:
    points = {name: values.copy() for name, values in VIDEO.points.items()}
    points["face"][3, :6, 0] = numbers
    points["left_hand"][4, :6, 1] = numbers
    video = replace(VIDEO, points=points, sizes=np.full((6, 2), size, np.int32))
    file = write_one_file(write_pose_files, tmp_path_factory.mktemp("pose"), video)
    again = read_pose_file(file, video.split, video.video_id)
    powers_of_two = all(side & (side - 1) == 0 for side in size)
    for name, values in points.items():
        there = ~np.isnan(values)
        assert np.array_equal(there, ~np.isnan(again.points[name]))
        assert np.array_equal(values[:, :, 2:], again.points[name][:, :, 2:], equal_nan=True)
        np.testing.assert_array_max_ulp(again.points[name][there], values[there], maxulp=0 if powers_of_two else 1)
    assert again.sizes.tolist() == video.sizes.tolist()
    assert again.status == video.status
    assert np.allclose(again.timestamps, video.timestamps)


def test_a_video_without_a_clock_has_no_rate(tmp_path: Path) -> None:
    still = replace(VIDEO, fps=None, timestamps=np.full(6, np.nan))
    write_pose_files(select_for_export(InMemory((still,))), tmp_path)
    file = tmp_path / "train" / "01April_2010_Thursday_heute-6694.pose"
    assert read(file).body.fps == 0
    again = read_pose_file(file, "train", "v")
    assert again.fps is None
    assert np.isnan(again.timestamps).all()


def test_pixels_of_frames_of_unknown_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="size of frame 1 is not known"):
        write_pose_files(select_for_export(InMemory((replace(VIDEO, sizes=np.zeros((6, 2), np.int32)),))), tmp_path)


@pytest.mark.parametrize("cut", [0, 3, 500, -5])
def test_a_damaged_file_is_reported(tmp_path: Path, cut: int) -> None:
    write_pose_files(SELECTION, tmp_path)
    file = tmp_path / "dev" / "a.pose"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(OutputError, match=r"a\.pose cannot be read"):
        read_pose_file(file, "dev", "a")
