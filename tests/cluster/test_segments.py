"""A table of segments, from its rows to a dataset, and what the commands make of that dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.plan import plan_run
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import ClusterSettings, OutputSettings, Settings, SourceSettings
from phoenix_ray.dataset.check.dataset_check import check_dataset, compare_with_source
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import as_recorded, claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source
from phoenix_ray.verify.verification import VideoFilter, against_recomputation
from phoenix_ray.viewer.pictures import FramePictures, SourceListing, encode_jpeg
from tests.sources.made_up import write_frames, write_video

ROWS = """video_id,path,FROM,TO,speaker
file/whole,long.mp4,,,Anna
file/a,long.mp4,0.4,1.2,Anna
file/b,long.mp4,1.0,1.8,Bo
folder/a,frames,2,5,Anna
"""
KEYS = {"file/whole": (0, 50), "file/a": (10, 30), "file/b": (25, 45), "folder/a": (2, 5)}


def settings_of(folder: Path, output: Path, mode: str = "static") -> Settings:
    return Settings(
        source=SourceSettings(path=str(folder / "table.csv"), start_column="FROM", end_column="TO", fps_column="rate"),
        model=ModelSettings.model_validate({"name": "synthetic", "batch_size": 1, "mode": mode}),
        cluster=ClusterSettings(shard_frames=8),
        output=OutputSettings(path=str(output)),
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_video(folder / "long.mp4", 50, "libx264")
    write_frames(folder / "frames", 10)
    header, *rows = ROWS.splitlines()
    rate = {"folder/a": "1"}
    lines = [f"{row},{rate.get(row.split(',')[0], '')}" for row in rows]
    (folder / "table.csv").write_text("\n".join((f"{header},rate", *lines)) + "\n")
    return folder


def compute(settings: Settings, *, compacted: bool) -> Dataset:
    """Compute all shards of a plan with one worker, in the order of the plan."""
    opened = open_source(settings.source)
    storage = open_storage(settings.output.path)
    identity = claim_dataset(storage, make_identity(settings, opened.root))
    plan = plan_run(settings, opened, lambda video: [(0, video.frame_count)])
    assert plan.problems == ()
    worker = ShardWorker(settings, identity)
    worker.ready()
    for shard in plan.shards:
        receipt = worker.process(shard)
        assert receipt.trouble is None, receipt.trouble
    if compacted:
        survey = take_survey(storage, identity)
        tasks = plan_compaction(survey, lambda file: read_entries(storage, identity, file), 1e9)
        publish(storage, identity, [compact_videos(storage, task, settings.output) for task in tasks])
    return Dataset.open(settings.output.path)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def dataset(source: Path, output: Path) -> Dataset:
    return compute(settings_of(source, output), compacted=True)


def test_landmarks_of_a_segment_are_those_of_the_same_frames_of_the_whole(dataset: Dataset) -> None:
    whole = dataset.load("all", "file/whole")
    for name in ("file/a", "file/b"):
        first, last = KEYS[name]
        segment = dataset.load("all", name)
        assert len(segment) == last - first
        assert segment.frame_index.tolist() == list(range(last - first))
        assert list(segment.frame_names) == list(whole.frame_names[first:last])
        np.testing.assert_allclose(segment.timestamps, whole.timestamps[first:last] - whole.timestamps[first])
        assert segment.status == whole.status[first:last]
        for part, points in segment.points.items():
            np.testing.assert_array_equal(points, whole.points[part][first:last])


def test_the_table_of_videos_says_where_segments_start(dataset: Dataset) -> None:
    rows = {row["video_id"]: row for row in dataset.videos().to_pylist()}
    assert {name: row["start_frame"] for name, row in rows.items()} == {
        name: first for name, (first, _) in KEYS.items()
    }
    starts = {name: row["start_seconds"] for name, row in rows.items()}
    assert starts == pytest.approx({"file/whole": 0.0, "file/a": 0.4, "file/b": 1.0, "folder/a": 2.0})
    assert {row["signer"] for row in rows.values()} == {None}
    assert [dict(row["annotation"])["speaker"] for row in rows.values()] == ["Anna", "Bo", "Anna", "Anna"]
    assert {row["pixel_aspect_ratio"] for row in rows.values()} == {None}


def test_a_dataset_recomputes_to_the_same_bits_without_naming_the_columns_again(dataset: Dataset, output: Path) -> None:
    verification = against_recomputation(str(output), VideoFilter(), None, "", ())
    found = list(verification.compare())
    assert len(found) == len(KEYS)
    assert [comparison.differences for comparison in found] == [()] * len(KEYS)


def test_the_check_finds_the_segments_in_the_source(dataset: Dataset, output: Path, source: Path) -> None:
    checked = check_dataset(open_storage(str(output)))
    settings = as_recorded(SourceSettings(path=str(source / "table.csv")), dataset.identity)
    assert list(compare_with_source(checked, open_source(settings).videos())) == []


@pytest.fixture
def pictures() -> Iterator[FramePictures]:
    made = FramePictures()
    yield made
    made.close()


def test_the_viewer_shows_the_frames_of_a_segment(dataset: Dataset, source: Path, pictures: FramePictures) -> None:
    settings = as_recorded(SourceSettings(path=str(source / "table.csv")), dataset.identity)
    listing = SourceListing(lambda: open_source(settings))
    listing.done.result(20)
    assert listing.state == "ready", listing.message
    whole = listing.find(("all", "file/whole"))
    for name in ("file/a", "file/b", "folder/a"):
        first, last = KEYS[name]
        segment = listing.find(("all", name))
        shown = pictures.request(segment, 1).result(20)
        if name == "folder/a":
            wanted = cv2.imread(str(source / "frames" / f"images{first + 2:04}.png"), cv2.IMREAD_COLOR_RGB)
            assert shown == encode_jpeg(np.asarray(wanted, np.uint8))
        else:
            assert shown == pictures.request(whole, first + 1).result(20)
        with pytest.raises(IndexError):
            pictures.request(segment, last - first)


def test_tracking_starts_afresh_in_each_segment(source: Path, tmp_path: Path) -> None:
    tracked = compute(settings_of(source, tmp_path, "tracking"), compacted=False)
    segment, whole = tracked.load("all", "file/a"), tracked.load("all", "file/whole")
    first, last = KEYS["file/a"]
    differs = [not np.array_equal(segment.points[part], whole.points[part][first:last]) for part in segment.points]
    assert any(differs)
    alone = compute(
        settings_of(source, tmp_path / "alone", "tracking").model_copy(update={"cluster": ClusterSettings()}),
        compacted=False,
    )
    for part, points in segment.points.items():
        np.testing.assert_array_equal(points, alone.load("all", "file/a").points[part])


def test_a_moved_segment_is_computed_again_alone(dataset: Dataset, source: Path, tmp_path: Path) -> None:
    settings = settings_of(source, tmp_path)
    compute(settings, compacted=True)
    moved = source / "moved.csv"
    moved.write_text((source / "table.csv").read_text().replace("0.4,1.2", "0.44,1.2"))
    elsewhere = settings.source.model_copy(update={"path": str(moved)})
    storage = open_storage(settings.output.path)
    committed = committed_in(take_survey(storage, make_identity(settings, str(moved))))
    missing = {
        video.video_id: committed.missing_ranges(video)
        for video in open_source(elsewhere).videos()
        if isinstance(video, Video)
    }
    assert missing == {"file/whole": [], "file/a": [(0, 19)], "file/b": [], "folder/a": []}
