from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cli import cli
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.openpose import KEYS, write_openpose
from phoenix_ray.exports.openpose_import import OpenPoseCollection, parse_frame_size
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts import OPENPOSE_18, OPENPOSE_25, OPENPOSE_137
from phoenix_ray.verify.tolerance import Tolerance
from phoenix_ray.verify.verification import VideoFilter, two_results
from tests.exports.made_up import InMemory
from tests.zoo import SIZE, write_zoo_dataset, zoo_video

COUNTS = {"pose": 25, "face": 70, "left_hand": 21, "right_hand": 21}


def person(confidence: float = 0.5, seed: int = 0, **counts: int) -> dict[str, Any]:
    """Return a person as OpenPose writes it."""
    numbers = np.random.default_rng(seed)
    found: dict[str, Any] = {"person_id": [-1]}
    for part, key in KEYS.items():
        points = numbers.uniform(5, 200, (counts.get(part, 0), 3)).astype(np.float32)
        points[:, 2] = confidence
        found[key] = [float(str(value)) for value in points.ravel()]
    return found


def write_frames(folder: Path, frames: Sequence[Sequence[dict[str, Any]]], stem: str = "clip", first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, people in enumerate(frames, first):
        (folder / f"{stem}_{number:012}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


WHOLE = person(**COUNTS)


def test_all_points_are_read_as_fractions_of_the_picture(tmp_path: Path) -> None:
    write_frames(tmp_path / "train" / "clip", [[WHOLE], []])
    collection = open_collection(str(tmp_path), SIZE)
    assert isinstance(collection, OpenPoseCollection)
    assert list(collection.keys()) == [("train", "clip")]
    assert collection.layout is OPENPOSE_137
    video = collection.load("train", "clip")
    assert (video.status, video.sizes.tolist(), video.fps) == (("ok", "no_person"), [list(SIZE)] * 2, None)
    for part, key in KEYS.items():
        values = np.array(WHOLE[key]).reshape(-1, 3)
        np.testing.assert_allclose(video.points[part][0], values / (*SIZE, 1), rtol=1e-6)
        assert np.isnan(video.points[part][1]).all()


@pytest.mark.parametrize(
    ("counts", "layout"),
    [
        ({"pose": 18}, OPENPOSE_18),
        ({"pose": 25}, OPENPOSE_25),
        (COUNTS, OPENPOSE_137),
        ({"pose": 18, "left_hand": 21, "right_hand": 21}, None),
    ],
)
def test_the_layout_follows_from_how_many_points_there_are(counts: dict[str, int], layout: Any, tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[], [person(**counts)]])
    found = open_collection(str(tmp_path), SIZE).layout
    assert found is layout or layout is None
    assert {part.name: len(part.points) for part in found.parts} == counts


def test_a_point_of_confidence_zero_was_not_found(tmp_path: Path) -> None:
    changed = json.loads(json.dumps(WHOLE))
    changed["pose_keypoints_2d"][3:6] = [12.5, 30, 0]
    changed["hand_left_keypoints_2d"] = [0] * 63
    write_frames(tmp_path, [[changed]])
    video = open_collection(str(tmp_path), SIZE).load("", "clip")
    assert np.isnan(video.points["pose"][0, 1]).all()
    assert not np.isnan(video.points["pose"][0, 2:]).any()
    assert not video.present("left_hand").any()


def test_the_surest_person_is_taken_and_that_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unsure, sure = person(0.2, seed=1, **COUNTS), person(0.7, seed=2, **COUNTS)
    nobody = person(0.0, seed=3, **COUNTS)
    write_frames(tmp_path / "a", [[unsure, sure, nobody], [sure, unsure], [nobody]])
    write_frames(tmp_path / "b", [[sure, sure]])
    collection = open_collection(str(tmp_path), SIZE)
    with caplog.at_level(logging.WARNING):
        video = collection.load("", "a")
        collection.load("", "b")
    np.testing.assert_array_equal(video.points["pose"][0], video.points["pose"][1])
    assert video.points["pose"][0, 0, 2] == np.float32(0.7)
    assert video.status == ("ok", "ok", "no_person")
    (record,) = caplog.records
    assert "2 frames of a hold several people; in all videos the one with the largest sum" in record.getMessage()


@given(st.sets(st.integers(0, 30), min_size=1, max_size=12))
def test_frames_keep_their_numbers_whatever_is_missing(
    tmp_path_factory: pytest.TempPathFactory, kept: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("gaps") / "v"
    for number in kept:
        write_frames(folder, [[person(seed=number, pose=25)]], first=number)
    video = open_collection(str(folder.parent), SIZE).load("", "v")
    assert video.frame_index.tolist() == sorted(kept)
    for row, number in enumerate(sorted(kept)):
        expected = np.array(person(seed=number, pose=25)["pose_keypoints_2d"]).reshape(-1, 3)
        np.testing.assert_allclose(video.points["pose"][row], expected / (*SIZE, 1), rtol=1e-6)


def test_a_missing_file_is_said_and_not_exported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_frames(tmp_path / "in" / "v", [[WHOLE]] * 5)
    (tmp_path / "in" / "v" / f"clip_{2:012}_keypoints.json").unlink()
    open_collection(str(tmp_path / "in"), SIZE).load("", "v")
    assert "1 frame of v have no file" in caplog.text
    result = CliRunner().invoke(
        cli, ["export", str(tmp_path / "in"), str(tmp_path / "out"), "-f", "npz", "--frame-size", "210x260"]
    )
    assert result.exit_code == 6
    assert "v has frames missing before frame 4, by the numbers" in result.output


def test_images_are_numbered_from_their_first(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for number in (1, 2, 4, 10):
        file = tmp_path / "v" / f"images{number:04}_keypoints.json"
        file.write_text(json.dumps({"people": [person(seed=number, pose=25)]}))
    video = open_collection(str(tmp_path), SIZE).load("", "v")
    assert video.frame_index.tolist() == [0, 1, 3, 9]
    assert video.frame_names[0] == "images0001"


def test_several_videos_in_a_folder_go_by_their_stems(tmp_path: Path) -> None:
    write_frames(tmp_path / "train", [[WHOLE]], "one")
    write_frames(tmp_path / "train", [[WHOLE]], "two")
    write_frames(tmp_path / "dev", [[WHOLE]], "three%20a")
    keys = list(open_collection(str(tmp_path), SIZE).keys())
    assert keys == [("dev", "three a"), ("train", "one"), ("train", "two")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "is cut short or damaged"),
        (lambda text: "", "is cut short or damaged"),
        (lambda text: "[" * 100_000, "is cut short or damaged"),
        (lambda text: "[]", "holds a list"),
        (lambda text: "{}", "has no list of people"),
        (lambda text: '{"people": [3]}', "has no list of people"),
        (lambda text: text.replace("pose_keypoints_2d", "pose_keypoints"), "before version 1.2"),
        (lambda text: text.replace("[-1]", "NaN"), "NaN instead of a number"),
        (lambda text: json.dumps({"people": [{"pose_keypoints_2d": ["a", 1, 2]}]}), "not a list of numbers"),
        (lambda text: json.dumps({"people": [{"pose_keypoints_2d": [1e300] * 75}]}), "not a list of numbers"),
        (lambda text: json.dumps({"people": [{"pose_keypoints_2d": [[1, 2]]}]}), "not a list of numbers"),
        (lambda text: json.dumps({"people": [{"pose_keypoints_2d": [1] * 45}]}), "45 numbers; .* 18 or 25 points"),
    ],
)
def test_a_damaged_file_is_named(change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[WHOLE]] * 3)
    file = tmp_path / "v" / f"clip_{1:012}_keypoints.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(OutputError, match=rf"clip_0+1_keypoints\.json.*{message}"):
        open_collection(str(tmp_path), SIZE).load("", "v")


def test_names_that_number_no_frame_are_reported(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[WHOLE]])
    (tmp_path / "v" / "notes_keypoints.json").write_text("{}")
    with pytest.raises(OutputError, match=r"notes_keypoints\.json has no number of a frame in its name"):
        open_collection(str(tmp_path), SIZE)
    (tmp_path / "v" / "notes_keypoints.json").rename(tmp_path / "v" / "image1_keypoints.json")
    with pytest.raises(OutputError, match="holds files of a video and of images"):
        open_collection(str(tmp_path), SIZE)


def test_two_files_of_a_frame_are_reported(tmp_path: Path) -> None:
    for name in ("a1", "a01"):
        (tmp_path / f"{name}_keypoints.json").write_text("{}")
    with pytest.raises(OutputError, match="are both frame 0 of the same video"):
        open_collection(str(tmp_path), SIZE)


def test_two_runs_in_a_video_are_reported(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[person(pose=25)], [person(pose=18)]])
    with pytest.raises(OutputError, match=r"0001_keypoints.json has 18 points of 'pose', others of its video 25"):
        open_collection(str(tmp_path), SIZE).load("", "v")


def test_fractions_are_not_taken_for_pixels(tmp_path: Path) -> None:
    small = {key: [value / 300 for value in values] if key != "person_id" else values for key, values in WHOLE.items()}
    write_frames(tmp_path / "v", [[small]])
    with pytest.raises(OutputError, match="--keypoint_scale 0"):
        open_collection(str(tmp_path), SIZE).load("", "v")


def test_the_size_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[WHOLE]])
    write_frames(tmp_path / "w", [[]])
    collection = open_collection(str(tmp_path))
    assert collection.load("", "w").status == ("no_person",)
    with pytest.raises(OutputError, match=r"v in .* do not say the size of the picture .*--frame-size 210x260"):
        collection.load("", "v")


def test_a_file_alone_and_mixed_folders_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [[WHOLE]])
    (file,) = (tmp_path / "v").iterdir()
    with pytest.raises(OutputError, match="is one frame of OpenPose's: give the folder"):
        open_collection(str(file), SIZE)
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(OutputError, match=r"holds \.npz and _keypoints\.json files"):
        open_collection(str(tmp_path), SIZE)


@pytest.mark.parametrize("text", ["210", "210x0", "0x5", "210 x 260", "a", "-2x3", "210x260x3", "1000000x2"])
def test_a_size_is_width_and_height(text: str) -> None:
    assert parse_frame_size("210x260") == (210, 260)
    with pytest.raises(ValueError, match="is not a size"):
        parse_frame_size(text)


def test_verify_takes_the_sizes_of_the_dataset_beside(tmp_path: Path) -> None:
    dataset = write_zoo_dataset(tmp_path / "dataset", OPENPOSE_137)
    result = CliRunner().invoke(cli, ["export", dataset, str(tmp_path / "json"), "-f", "openpose"])
    assert result.exit_code == 0, result.output
    # Confidences of points that are missing are not in the files.
    verification = two_results(
        dataset, str(tmp_path / "json"), VideoFilter(), Tolerance("pixels", 1e-3), "", full=False
    )
    for comparison in verification.compare():
        assert comparison.frames
        assert {difference.kind for difference in comparison.differences} <= {"coordinates"}
        for part in comparison.parts:
            assert part.only_reference == part.only_candidate == 0
            assert part.errors["xy px"].maximum < 1e-3 or not part.both


@pytest.mark.parametrize("command", ["stats", "report", "export"])
def test_commands_take_a_folder_of_openposes(command: str, tmp_path: Path) -> None:
    video = zoo_video(OPENPOSE_137, "train", "a")
    write_openpose(select_for_export(InMemory((video, replace(video, video_id="b")))), tmp_path / "json")
    words = {
        "stats": ["stats", str(tmp_path / "json")],
        "report": ["report", str(tmp_path / "json"), "-o", str(tmp_path / "report.html")],
        "export": ["export", str(tmp_path / "json"), str(tmp_path / "out"), "--format", "npz"],
    }[command]
    result = CliRunner().invoke(cli, [*words, "--frame-size", "210x260"])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(cli, [*words, "--frame-size", "210"])
    assert refused.exit_code == 2
    assert "'210' is not a size" in refused.output
