from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.lossless import (
    read_numpy_archive,
    to_coordinate_table,
    write_csv_tables,
    write_numpy_archives,
    write_webdataset_shards,
)
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts import Layout, Part
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, make_landmarks, write_one_file

# NUL at the end of a text is the one thing that numpy's text arrays drop.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SMALL = Layout(
    "small", (Part("body", ("head", "hip"), ("x", "y"), ((0, 1),)), Part("tail", ("tip",), ("x",), scored=False))
)


def assert_same(one: VideoLandmarks, other: VideoLandmarks) -> None:
    for name in ("frame_index", "timestamps", "sizes"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "timestamps"), name
        assert getattr(one, name).dtype == getattr(other, name).dtype
    for name in ("points", "scores"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert {key: values.tobytes() for key, values in ours.items()} == {
            key: values.tobytes() for key, values in theirs.items()
        }
    arrays_ = {"frame_index", "timestamps", "sizes", "points", "scores"}
    for field in fields(one):
        if field.name not in arrays_:
            assert getattr(one, field.name) == getattr(other, field.name), field.name


def test_numpy_reads_every_array(tmp_path: Path) -> None:
    write_numpy_archives(SELECTION, tmp_path)
    video = VIDEOS[1]
    with np.load(tmp_path / "train" / f"{video.video_id}.npz") as archive:
        for part, points in video.points.items():
            assert np.array_equal(archive[part], points, equal_nan=True)
            assert archive[part].dtype == np.float32
        assert np.array_equal(archive["face_score"], video.scores["face"], equal_nan=True)
        assert archive["frame_name"].tolist() == list(video.frame_names)
        assert archive["size"].tolist() == [[210, 260]] * 6
        assert float(archive["fps"]) == 25


@pytest.mark.parametrize("video", VIDEOS, ids=lambda video: video.video_id)
def test_the_round_trip_is_exact(tmp_path: Path, video: VideoLandmarks) -> None:
    assert_same(video, read_numpy_archive(write_one_file(write_numpy_archives, tmp_path, video)))


@given(data=st.data(), frames=st.integers(0, 4), fps=st.none() | st.floats(1, 240))
def test_any_numbers_and_text_make_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, frames: int, fps: float | None
) -> None:
    texts = st.lists(TEXT, min_size=frames, max_size=frames).map(tuple)
    floats = st.floats(width=32, allow_nan=True)
    video = VideoLandmarks(
        data.draw(TEXT),
        data.draw(TEXT),
        SMALL,
        np.arange(frames, dtype=np.int32),
        data.draw(texts),
        data.draw(arrays.arrays(np.float64, frames, elements=st.floats())),
        np.full((frames, 2), 7, np.int32),
        data.draw(texts),
        {
            part.name: data.draw(arrays.arrays(np.float32, (frames, len(part.points), len(part.axes)), elements=floats))
            for part in SMALL.parts
        },
        {"body": data.draw(arrays.arrays(np.float32, frames, elements=floats))},
        fps,
        data.draw(st.dictionaries(TEXT, TEXT, max_size=3)),
    )
    assert_same(video, read_numpy_archive(write_one_file(write_numpy_archives, tmp_path_factory.mktemp("npz"), video)))


@pytest.mark.parametrize("cut", [0, 10, 2000, -1])
def test_a_damaged_file_is_reported(tmp_path: Path, cut: int) -> None:
    file = write_one_file(write_numpy_archives, tmp_path, make_landmarks())
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(OutputError, match=r"video-1\.npz is not an \.npz file that phoenix-ray exported"):
        read_numpy_archive(file)


def test_an_archive_of_somebody_else_is_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", pose=np.zeros(3))
    with pytest.raises(OutputError, match="layout"):
        read_numpy_archive(tmp_path / "v.npz")


def test_objects_in_an_archive_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", layout=np.array([print], dtype=object))
    with pytest.raises(OutputError, match="allow_pickle"):
        read_numpy_archive(tmp_path / "v.npz")


wds = pytest.importorskip("webdataset", reason="webdataset is not installed")


def test_webdataset_reads_equal_arrays_and_annotations(tmp_path: Path) -> None:
    write_webdataset_shards(SELECTION, tmp_path / "out")
    shards = sorted(str(file) for file in (tmp_path / "out").iterdir())
    assert [Path(shard).name for shard in shards] == ["dev-000000.tar", "train-000000.tar"]
    samples = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
    assert [sample["json"]["video_id"] for sample in samples] == [video.video_id for video in VIDEOS]
    for sample, video in zip(samples, VIDEOS, strict=True):
        assert sample["json"]["annotation"]["gloss"] == "MORGEN __ON__ REGEN"
        assert sample["json"]["frames"] == len(video)
        for part, points in video.points.items():
            assert np.array_equal(sample["npz"][part], points, equal_nan=True)


def test_a_shard_takes_videos_until_it_is_full(tmp_path: Path) -> None:
    videos = tuple(make_landmarks("train", f"v{number}", 2) for number in range(5))
    write_webdataset_shards(select_for_export(InMemory(videos)), tmp_path / "out", shard_bytes=100_000)
    shards = sorted(str(file) for file in (tmp_path / "out").iterdir())
    assert len(shards) == 3
    samples = wds.WebDataset(shards, shardshuffle=False).decode()
    assert [sample["json"]["video_id"] for sample in samples] == [video.video_id for video in videos]


def test_pandas_reads_equal_numbers(tmp_path: Path) -> None:
    write_csv_tables(SELECTION, tmp_path)
    video = VIDEOS[1]
    table = pd.read_csv(tmp_path / "train" / f"{video.video_id}.csv")
    assert len(table) == 6
    assert table["frame_name"].tolist() == list(video.frame_names)
    assert np.array_equal(table["face_score"].to_numpy(np.float32), video.scores["face"], equal_nan=True)
    for column, part, point, axis in (
        ("pose_nose_visibility", "pose", 0, 3),
        ("pose_world_nose_x", "pose_world", 0, 0),
        ("left_hand_index_finger_tip_y", "left_hand", 8, 1),
        ("face_467_z", "face", 467, 2),
    ):
        ours = video.points[part][:, point, axis]
        assert np.array_equal(table[column].to_numpy(np.float32), ours, equal_nan=True), column
    coordinates = sum(len(part.points) * len(part.axes) for part in video.layout.parts)
    assert len(table.columns) == len(set(table.columns)) == 6 + 4 + coordinates


def test_a_name_that_a_spreadsheet_would_compute_is_marked(tmp_path: Path) -> None:
    video = replace(VIDEOS[1], frame_names=tuple(f"=cmd|{frame}" for frame in range(len(VIDEOS[1]))))
    assert to_coordinate_table(video)["frame_name"][0].as_py() == "'=cmd|0"
