from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from phoenix_ray.config_files import load_tree
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.prepare import output
from phoenix_ray.prepare.pipeline import PrepareSettings, build_pipeline
from phoenix_ray.prepare.preparation import ExampleShard, Work, prepare_dataset, write_shard
from tests.exports.made_up import write_dataset
from tests.exports.test_export import add_partition
from tests.prepare.made_up import LAYOUT, make_video

FORMATS = ("npz", "parquet", "webdataset")
VIDEOS = (
    *(
        replace(make_video(5 + number, {"left_hand": [2], "pose": [1]}, seed=number), video_id=f"2010.{number}/a")
        for number in range(4)
    ),
    replace(make_video(4, seed=7), split="dev", video_id="d", annotation={"gloss": "SCHNEE REGEN"}),
    replace(make_video(3, {"pose": range(3)}, seed=8), split="dev", video_id="e", annotation={}),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(write_dataset(tmp_path_factory.mktemp("dataset"), VIDEOS))


def settings(*words: str) -> PrepareSettings:
    return load_tree(PrepareSettings, None, ["files.videos_per_shard=2", "points.select=[upper_body,hands]", *words])


def run(dataset: Dataset, folder: Path, *words: str, workers: int = 1) -> dict[str, Any]:
    return prepare_dataset(dataset, LocalStorage(str(folder)), settings(*words), workers)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def read_npz(folder: Path) -> dict[str, dict[str, Any]]:
    examples: dict[str, dict[str, Any]] = {}
    for file in folder.rglob("*.npz"):
        with np.load(file) as arrays:
            example = {name: arrays[name] for name in arrays}
        examples[json.loads(str(example.pop("annotation")))["video_id"]] = example
    return examples


def read_parquet(folder: Path) -> dict[str, dict[str, Any]]:
    examples: dict[str, dict[str, Any]] = {}
    for row in (row for file in folder.glob("*.parquet") for row in pq.read_table(file).to_pylist()):
        names = [name.removesuffix("_shape") for name in row if name.endswith("_shape")]
        examples[row["video_id"]] = {name: np.array(row[name]).reshape(row[f"{name}_shape"]) for name in names}
    return examples


def read_webdataset(folder: Path) -> dict[str, dict[str, Any]]:
    """Group members by what stands before the first dot, as webdataset does."""
    samples: dict[str, dict[str, Any]] = {}
    for file in folder.glob("*.tar"):
        with tarfile.open(file) as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                stream = archive.extractfile(member)
                assert stream is not None
                content = io.BytesIO(stream.read())
                samples.setdefault(key, {})[suffix] = json.load(content) if suffix == "json" else np.load(content)
    return {
        sample.pop("json")["video_id"]: {name.removesuffix(".npy"): array for name, array in sample.items()}
        for sample in samples.values()
    }


READERS = {"npz": read_npz, "parquet": read_parquet, "webdataset": read_webdataset}


@pytest.mark.parametrize("format_", FORMATS)
def test_files_hold_what_the_pipeline_gives(dataset: Dataset, tmp_path: Path, format_: str) -> None:
    words = (f"files.format={format_}", "clean.fill=linear", "channels.motion=velocity", "files.placement=true")
    report = run(dataset, tmp_path, *words)
    examples = READERS[format_](tmp_path)
    assert set(examples) == {video.video_id for video in VIDEOS}
    for video in VIDEOS:
        prepared = build_pipeline(settings(*words), LAYOUT)(video)
        example = examples[video.video_id]
        assert np.array_equal(example["points"], np.nan_to_num(prepared.points))
        assert np.array_equal(example["mask"], prepared.mask)
        assert np.array_equal(example["filled"], prepared.filled)
        np.testing.assert_array_equal(example["scale"], prepared.placement().scale)
    assert report["axes"] == ("x", "y", "dx", "dy")
    assert examples["d"]["points"].shape[1] == len(report["points"]) == 50


@pytest.mark.parametrize("format_", FORMATS)
def test_prepared_twice_with_any_number_of_processes_the_bytes_are_equal(
    dataset: Dataset, tmp_path: Path, format_: str
) -> None:
    words = (f"files.format={format_}", "mirror.mode=also", "mirror.splits=[]", "clean.smooth=one_euro")
    run(dataset, tmp_path / "one", *words)
    run(dataset, tmp_path / "two", *words, workers=2 if format_ == "npz" else 1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    dataset: Dataset, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"files.format={format_}",)
    run(dataset, tmp_path / "whole", *words)
    written: list[ExampleShard] = []

    def write_two(work: Work, shard: ExampleShard) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard)
        write_shard(work, shard)

    monkeypatch.setattr("phoenix_ray.prepare.preparation.write_shard", write_two)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "stopped", *words)
    (tmp_path / "stopped" / ".tmp-killed").write_text("half a file")
    assert not (tmp_path / "stopped" / output.REPORT).exists()
    written.clear()
    run(dataset, tmp_path / "stopped", *words)
    assert len(written) == 1, "only the third shard was left"
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_video_whose_run_is_not_over_is_refused(tmp_path: Path) -> None:
    storage = LocalStorage(write_dataset(tmp_path / "dataset", VIDEOS))
    add_partition(storage, "begun", frame_count=7)
    with pytest.raises(OutputError, match="dev/begun lacks frames that are not computed yet"):
        prepare_dataset(Dataset.open(storage.root), LocalStorage(str(tmp_path / "out")), PrepareSettings())
    assert not (tmp_path / "out").exists()


def test_a_finished_output_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    report = run(dataset, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    again = run(dataset, tmp_path)
    assert json.loads(json.dumps(report)) == again
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_other_settings_or_other_files_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path / "a")
    with pytest.raises(OutputError, match=r"made from something else \(settings, axes differ"):
        run(dataset, tmp_path / "a", "points.axes=xyz")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.pdf").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds other files \(thesis.pdf"):
        run(dataset, tmp_path / "b")


def test_another_dataset_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out")
    other = Dataset.open(write_dataset(tmp_path / "other", VIDEOS[1:]))
    with pytest.raises(OutputError, match=r"\(dataset, vocabularies differ"):
        run(other, tmp_path / "out")


def test_the_report_says_what_was_done(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path, "files.format=parquet", "clean.fill=hold")
    report = json.loads((tmp_path / output.REPORT).read_text())
    assert report["dataset"]["landmark_digest"] == f"{dataset.digest():032x}"
    assert report["settings"]["clean"]["fill"] == "hold"
    assert report["points"][0] == {"part": "pose", "index": 11, "name": "left_shoulder", "flat": 11}
    train, dev = report["splits"]["train"], report["splits"]["dev"]
    assert (train["videos"], train["frames"]) == (4, 5 + 6 + 7 + 8)
    assert train["filled"] == 4 * (8 + 21)
    assert train["missing"] == 0
    assert dev["without_measure"] == ["e"]
    assert [file["name"] for file in report["files"]] == [
        "dev-00000.parquet",
        "train-00000.parquet",
        "train-00001.parquet",
    ]
    assert {file.name for file in tmp_path.iterdir()} == {*(file["name"] for file in report["files"]), output.REPORT}


def test_vocabularies_come_from_the_training_split_alone(dataset: Dataset, tmp_path: Path) -> None:
    report = run(dataset, tmp_path, "files.splits=[dev]")
    gloss = report["vocabularies"]["gloss"]["tokens"]
    assert gloss == ["<blank>", "<pad>", "<unk>", "MORGEN", "REGEN"]
    examples = read_npz(tmp_path)
    assert examples["d"]["gloss_ids"].tolist() == [gloss.index("<unk>"), gloss.index("REGEN")]
    assert examples["e"]["gloss_ids"].tolist() == []
    assert set(examples) == {"d", "e"}


def test_mirrored_examples_stand_beside_their_originals(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path, "mirror.mode=also", "points.select=[hands]")
    examples = read_npz(tmp_path)
    assert {"d", "2010.0/a", "2010.0/a.mirrored"} <= set(examples)
    assert "d.mirrored" not in examples
    one, other = examples["2010.0/a"], examples["2010.0/a.mirrored"]
    assert np.array_equal(one["mask"][:, :21], other["mask"][:, 21:])
    np.testing.assert_allclose(one["points"][:, :21, 0], -other["points"][:, 21:, 0], atol=1e-5)


def test_half_precision_and_nan_are_written_when_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path, "channels.dtype=float16", "channels.missing=nan")
    example = read_npz(tmp_path)["2010.0/a"]
    assert example["points"].dtype == np.float16
    assert np.array_equal(np.isnan(example["points"][:, :, 0]), ~example["mask"])


def test_archives_hold_no_time_and_no_user(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path / "tar", "files.format=webdataset")
    with tarfile.open(next((tmp_path / "tar").glob("*.tar"))) as archive:
        assert {(member.mtime, member.uid, member.uname) for member in archive} == {(0, 0, "")}
    run(dataset, tmp_path / "npz")
    with zipfile.ZipFile(next((tmp_path / "npz").rglob("*.npz"))) as archive_:
        assert {member.date_time for member in archive_.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["points.select=[hand]"], "Did you mean"),
        (["points.select=[left_hand]", "mirror.mode=also"], "without its counterpart"),
        (["files.splits=[tst]"], "tst"),
    ],
)
def test_what_does_not_fit_the_dataset_is_refused_before_anything_is_written(
    dataset: Dataset, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(dataset, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("clean.savitzky_golay_window=4", "must be odd"),
        ("clean.fil=hold", "Did you mean 'clean.fill'"),
        ("normalise.reference=none normalise.hands=wrist", "needs a reference"),
    ],
)
def test_settings_that_make_no_sense_are_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(*word.split())


@pytest.fixture(scope="module")
def truncated(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four videos to train with, of which one lacks 4 of 8 frames."""
    cut = replace(
        make_video(8, seed=9),
        video_id="cut",
        status=("ok",) * 4 + ("unreadable",) * 4,
        annotation={"gloss": "NUR-HIER"},
    )
    return Dataset.open(write_dataset(tmp_path_factory.mktemp("truncated"), (*VIDEOS[:3], cut)))


@pytest.mark.parametrize(("most", "videos", "left_out"), [("1", 4, 0), ("0.5", 4, 0), ("0.49", 3, 1), ("0", 3, 1)])
def test_videos_that_lack_too_many_frames_are_left_out(
    truncated: Dataset, tmp_path: Path, most: str, videos: int, left_out: int
) -> None:
    report = run(truncated, tmp_path, f"files.max_unreadable={most}")
    assert report["splits"]["train"]["videos"] == videos
    assert report["partly_unreadable"] == {"videos": 1, "left_out": left_out}
    assert ("NUR-HIER" in str(report["vocabularies"]["gloss"])) is (left_out == 0)


def test_a_dataset_of_which_nothing_is_left_is_refused(truncated: Dataset, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"all 1 lack more frames than files\.max_unreadable allows"):
        run(truncated.select(where=pc.field("video_id") == "cut"), tmp_path, "files.max_unreadable=0.1")
