from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from obstore.store import MemoryStore

from phoenix_ray.cli import cli
from phoenix_ray.dataset import locations
from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.export import export_videos
from phoenix_ray.object_stores import Bucket
from tests.dataset.made_up import commit, make_video, new_dataset
from tests.report.made_up import Page, write_source, write_troubled_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_troubled_dataset(tmp_path_factory.mktemp("dataset"))


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def report(file: Path, *words: str) -> Page:
    result = invoke("report", *words, "-o", str(file))
    assert result.exit_code == 0, result.output
    return Page(file.read_text(encoding="utf-8"))


def cells(html: str) -> list[list[str]]:
    """Return the text of the cells of each row of all tables."""
    rows = re.findall("<tr>(.*?)</tr>", html, re.DOTALL)
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall("<td.*?</td>", row, re.DOTALL)] for row in rows]


@pytest.mark.parametrize("by", ["split", "signer"])
def test_its_numbers_are_those_of_stats(dataset: str, tmp_path: Path, by: str) -> None:
    report(tmp_path / "report.html", dataset)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert invoke("stats", dataset, "--by", by, "--json", str(tmp_path / "stats.json")).exit_code == 0
    tree = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    rows = cells(html)
    for group in tree["groups"]:
        rates = [f"{100 * part['rate']:.1f} %" for part in group["parts"].values()]
        assert [f"{group['videos']:,}", f"{group['frames']:,}", *rates] in [row[1:] for row in rows]
    for name, part in tree["all"]["parts"].items():
        shown = [f"{part[measure]:,.2f}" for measure in ("jitter_pixels", "motion_energy_pixels2", "jerk_pixels")]
        shown += [f"{part[count]:,}" for count in ("gaps", "gap_frames", "longest_gap")]
        assert [name.replace("_", " "), *shown] in [row[:7] for row in rows]
    for outlier in tree["outliers"]:
        if outlier["reason"] == "highest jitter":
            assert f"{outlier['value']:,.1f} px" in html


def test_frames_are_taken_from_the_source_that_is_named_unless_they_are_not_wanted(
    dataset: str, tmp_path: Path
) -> None:
    source = write_source(tmp_path / "source")
    page = report(tmp_path / "a.html", dataset, "--source", source)
    assert any(picture["alt"] == "frame 7 of train/b" for picture in page.pictures())
    page = report(tmp_path / "b.html", dataset, "--source", source, "--no-frames")
    assert not any(picture["alt"].startswith("frame ") for picture in page.pictures())


def test_landmarks_of_other_tools_have_a_page_without_what_they_do_not_record(dataset: str, tmp_path: Path) -> None:
    export_videos(dataset, tmp_path / "videos.pkl", "pickle")
    page = report(tmp_path / "report.html", str(tmp_path / "videos.pkl"), dataset)
    assert "Landmarks of another tool" in page.text
    assert "Where the time went" not in page.text
    assert "files of another tool" in page.text
    assert "Movements leave out" in page.text


def test_a_dataset_in_a_bucket_is_reported(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, local = ObjectStorage(Bucket(MemoryStore(), "s3://bucket/data")), LocalStorage(dataset)
    for file in local.list(""):
        bucket.write(file.name, local.read(file.name))
    monkeypatch.setattr(locations, "ObjectStorage", lambda opened: bucket)
    monkeypatch.setattr(locations, "open_bucket", lambda path: None)
    page = report(tmp_path / "report.html", "s3://bucket/data")
    assert "s3://bucket/data" in page.text
    assert "Workers' time by node" in page.text


def test_a_run_at_work_is_said_with_the_frames_that_are_missing(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path / "dataset")
    commit(storage, make_video("a", frames=30), 0, 12)
    now = time.time()
    holder = {"run_id": "20261129-101112-abcd", "host": "elsewhere", "pid": 1, "since": now, "heartbeat": now}
    storage.write("lease.json", json.dumps(holder).encode())
    page = report(tmp_path / "report.html", storage.root)
    assert "A run is at work (20261129-101112-abcd)" in page.text
    assert "1 video without all frames" in page.text


def test_a_page_that_cannot_be_written_is_reported(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = invoke("report", dataset, "-o", str(tmp_path / "file" / "report.html"))
    assert result.exit_code == OutputError.exit_code
    assert "cannot be written" in result.output


def test_a_page_is_not_written_into_a_dataset_or_to_a_uri(dataset: str) -> None:
    result = invoke("report", dataset, "-o", f"{dataset}/report.html")
    assert result.exit_code == OutputError.exit_code
    assert "lies in the dataset" in result.output
    result = invoke("report", dataset, "-o", "s3://bucket/report.html")
    assert result.exit_code == 2
    assert "is a URI" in result.output


def test_without_a_sample_datasets_are_compared_by_their_rates(dataset: str, tmp_path: Path) -> None:
    page = report(tmp_path / "report.html", dataset, dataset, "--sample", "0")
    assert "Over 4 videos in all datasets." in page.text
    rows = [row for row in cells((tmp_path / "report.html").read_text(encoding="utf-8")) if row[1:2] == ["B"]]
    assert rows[0] == ["", "B", "94.4 %", *["—"] * 9]


def test_datasets_without_a_common_video_cannot_be_compared(dataset: str, tmp_path: Path) -> None:
    storage = new_dataset(tmp_path / "other")
    commit(storage, make_video("another"), 0, 10)
    result = invoke("report", dataset, storage.root, "-o", str(tmp_path / "report.html"))
    assert result.exit_code == OutputError.exit_code
    assert "share no video" in result.output


def test_a_dataset_without_rows_is_an_error(tmp_path: Path) -> None:
    result = invoke("report", new_dataset(tmp_path / "empty").root, "-o", str(tmp_path / "report.html"))
    assert result.exit_code == OutputError.exit_code
    assert "holds no video" in result.output
