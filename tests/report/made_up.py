"""A dataset with every kind of trouble and names full of markup, and what a browser would make of its page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from phoenix_ray.dataset.failures import FailureRecord, record_failure
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt; \u202egnp.exe \x1b[2J \x00'
SIZE = (26, 21)
VOID = {"meta", "img", "br"}


def _video(number: int, split: str, video_id: str, signer: str, **statuses: int) -> VideoLandmarks:
    """Return a video of 12 frames or more; `statuses` gives frames another status, without landmarks."""
    video = make_video(12 + number, {"left_hand": [4, 5], "face": [0]}, number, size=SIZE)
    status = list(video.status)
    for name, frame in statuses.items():
        status[frame] = name
        for points in video.points.values():
            points[frame] = np.nan
    annotation = {"signer": signer, "gloss": f"{HOSTILE} REGEN", "translation": HOSTILE}
    return replace(video, split=split, video_id=video_id, status=tuple(status), annotation=annotation)


VIDEOS = (
    _video(0, "dev", HOSTILE, "A"),
    _video(1, "train", "b", "B", no_person=2, failed=7),
    _video(2, "train", "c", HOSTILE, unreadable=3),
    _video(3, "train", "d/e", "B"),
)


def write_troubled_dataset(folder: Path) -> str:
    """Write the videos, a run's summary and an entry of the failure list."""
    storage = LocalStorage(write_dataset(folder, VIDEOS))
    write_summary(storage, "20261128-080910-ab12", versions={"ray": HOSTILE}, nodes={HOSTILE: {"inference": 5.0}})
    failure = FailureRecord("train", HOSTILE, 0, 5, "model", HOSTILE, "node", 3, HOSTILE, "run", 0.0)
    record_failure(storage, failure)
    return storage.root


def write_summary(storage: LocalStorage, run_id: str, **fields: object) -> None:
    """Write a `summary.json` as a run does."""
    tree: dict[str, object] = {
        "run_id": run_id,
        "state": "finished",
        "frames_computed": 54,
        "seconds": 75.0,
        "compute_seconds": 27.0,
        "workers": 2,
        "failures": 0,
        "timings": {"decode": 2.0, "inference": 6.0, "write": 1.0, "idle": 1.0},
        "peak_memory_mb": 512.0,
        "versions": {"phoenix-ray": "0.1.0"},
    }
    storage.write(f"runs/{run_id}/summary.json", json.dumps(tree | fields).encode())


def write_source(folder: Path) -> str:
    """Write frame folders of the videos whose names a folder can have; each frame of a grey level of its own."""
    for video in VIDEOS[1:]:
        place = folder / video.split / video.video_id
        place.mkdir(parents=True)
        for index in range(len(video)):
            cv2.imwrite(str(place / f"{index:03}.png"), np.full((SIZE[1], SIZE[0], 3), 10 * index, np.uint8))
    return str(folder)


class Page(HTMLParser):
    """What a browser sees: the tags with their attributes, and the text; it fails where tags do not match.

    Attributes:
        tags: (name, attributes) of each.
        text: All text between tags.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> list[dict[str, str]]:
        """Return the attributes of each picture."""
        return [attributes for tag, attributes in self.tags if tag == "img"]
