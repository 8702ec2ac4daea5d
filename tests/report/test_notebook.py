"""What a notebook shows of a dataset and of a video."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

import phoenix_ray
from phoenix_ray.dataset.descriptions import describe_dataset
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.dataset.video_table import VideoEntry, to_video_table
from phoenix_ray.layouts import holistic
from phoenix_ray.report.notebook import dataset_html, video_html
from phoenix_ray.sources import registry
from tests.dataset.made_up import LAYOUT, commit, commit_truncated, make_video, new_dataset
from tests.prepare.made_up import make_video as make_landmarks

HOSTILE = "<script>alert(1)</script>\x1b\u202e\"'&amp; s3://user:secret@bucket"
HOLISTIC = holistic(468)


class Shown(HTMLParser):
    """The elements and the text of a page; balanced, or reading it fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        assert all((value or "").startswith("data:image/jpeg") for name, value in attrs if name in ("src", "href"))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "|"


def entry(key: VideoKey, frames: int = 100, hand: int = 60) -> VideoEntry:
    tally = Tally(frames, statuses={"ok": frames - 10, "no_person": 10}, detected={"pose": frames, "left_hand": hand})
    return VideoEntry(
        split=key[0],
        video_id=key[1],
        frame_count=frames,
        signature="1",
        fps=25.0,
        annotation={},
        first_row=0,
        tally=tally,
    )


@pytest.fixture
def no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make reading a row or a source an error."""
    monkeypatch.setattr(RowReader, "read", None)
    monkeypatch.setattr(registry, "open_source", None)


@pytest.mark.usefixtures("no_rows")
def test_a_dataset_is_a_table_of_its_splits(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    commit(storage, make_video("b"), 0, 4)
    commit_truncated(storage, make_video("c", "dev"), 0, 10, range(5))
    shown = Shown(phoenix_ray.open(tmp_path)._repr_html_())
    assert shown.text.startswith(f"Dataset |{tmp_path}|: 3 videos, 30 frames, 1 video unfinished|")
    assert "split|videos|frames|body|without landmarks|" in shown.text
    assert shown.text.endswith("dev|1|10|0.0%|5|train|2|20|100.0%|0|all|3|30|58.3%|5|")


def test_rates_are_those_of_frames_not_of_videos() -> None:
    videos = to_video_table(HOLISTIC, [entry(("a", "1"), 100, 60), entry(("a", "2"), 300, 60)], "file")
    text = Shown(dataset_html("OUTPUT", DatasetIdentity(HOLISTIC.name), HOLISTIC, videos)).text
    assert "|a|2|400|100.0%|30.0%|0.0%|0.0%|20|" in text


def test_many_splits_with_hostile_names_make_a_short_page() -> None:
    keys = [(f"{HOSTILE}{number:04}" + "x" * 10_000, HOSTILE * 200) for number in range(1_000)]
    videos = to_video_table(HOLISTIC, [entry(key) for key in keys], "file")
    identity = DatasetIdentity(HOLISTIC.name, {HOSTILE: HOSTILE, "model": HOSTILE * 1_000, "engine": HOSTILE})
    html = dataset_html(HOSTILE * 100, identity, HOLISTIC, videos)
    assert len(html) < 200_000
    shown = Shown(html)
    assert shown.tags == {"div", "strong", "bdi", "table", "thead", "tbody", "tr", "th", "td"}
    assert "and 980 more splits" in shown.text
    assert "secret" not in html
    assert not set(html) & set("\x1b\u202e")
    assert len(describe_dataset(HOSTILE * 100, identity, HOLISTIC, videos)) < 500


@pytest.mark.usefixtures("no_rows")
def test_a_video_is_its_facts_and_some_skeletons() -> None:
    video = replace(make_landmarks(30, {"left_hand": range(15)}), annotation={"gloss": HOSTILE * 100, "signer": "S1"})
    html = video_html(video)
    shown = Shown(html)
    assert "VideoLandmarks |train/video-0|: 30 frames, 25 fps (holistic-468)|" in shown.text
    assert "found in|100.0%|100.0%|50.0%|100.0%|100.0%|" in shown.text
    assert "signer |S1|" in shown.text
    assert "script" not in shown.tags
    assert len(html) < 200_000
    pictures = re.findall(r'base64,([^"]+)"', html)
    assert len(pictures) == 4
    for content in pictures:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.std() > 5
    assert [int(frame) for frame in re.findall(r"skeleton of frame (\d+)", html)] == [0, 10, 19, 29]


def test_pictures_of_any_size_are_small() -> None:
    for size in ((0, 0), (30_000, 1), (1, 30_000), (3_840, 2_160)):
        video = make_landmarks(6, size=size)
        noise = np.random.default_rng(0)
        points = {part: noise.random(values.shape, np.float32) for part, values in video.points.items()}
        assert len(video_html(replace(video, points=points))) < 200_000


def test_a_video_in_which_nothing_was_found_says_so() -> None:
    everything = {part.name: range(4) for part in HOLISTIC.parts}
    video = replace(make_landmarks(4, everything, fps=None), status=("no_person",) * 3 + ("unreadable",))
    shown = Shown(video_html(video))
    assert "4 frames, 3 no person, 1 unreadable (holistic-468)" in shown.text
    assert "No landmarks were found in any frame." in shown.text
    assert "img" not in shown.tags


def test_a_dataset_without_videos_is_shown(tmp_path: Path) -> None:
    new_dataset(tmp_path)
    assert "0 videos, 0 frames" in Shown(phoenix_ray.open(tmp_path)._repr_html_()).text


def test_many_videos_are_described_at_once() -> None:
    table = to_video_table(LAYOUT, [entry(("train", "a"))], "file")
    videos = pa.concat_tables([table.take(pa.array(np.zeros(200_000, np.int64)))])
    started = time.process_time()
    assert "200,000 videos" in dataset_html("OUTPUT", DatasetIdentity(LAYOUT.name), LAYOUT, videos)
    assert "200,000 videos" in describe_dataset("OUTPUT", DatasetIdentity(LAYOUT.name), LAYOUT, videos)
    assert time.process_time() - started < 2
