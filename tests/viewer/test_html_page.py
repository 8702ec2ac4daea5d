"""The page that is one file: what it holds, and what a real Chromium shows of it, opened from a disk."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import frame_bytes
from phoenix_ray.errors import ConfigError, OutputError, SourceError
from phoenix_ray.viewer import chosen_videos, html_page
from phoenix_ray.viewer.html_page import write_html_page
from phoenix_ray.viewer.video_list import VideoList
from tests.viewer.made_up import HEIGHT, HOSTILE, VIDEOS, WIDTH, picture

STREET = ("train", "Straße 手")
ENDING = "</script><script>document.title='owned'</script><!--"


class Blocks(HTMLParser):
    """The data blocks of a page by ID, as a browser finds them, and the other elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks: dict[str, str] = {}
        self.tags: list[str] = []
        self.title = ""
        self._into: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._into = dict(attrs).get("id") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self.blocks[self._into] = self.blocks.get(self._into, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._into = None


def write(dataset: Path, file: Path, *names: str, frames: bool = False) -> str:
    write_html_page(str(dataset), file, names, SourceSettings() if frames else None)
    return file.read_text(encoding="utf-8")


def test_without_frames_no_source_is_opened_and_no_picture_is_in_the_file(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen_videos, "open_recorded_source", None)
    page = Blocks(write(dataset, tmp_path / "a.html"))
    assert sorted(page.blocks) == ["landmarks-0", "landmarks-1", "landmarks-2", "world"]
    # A JPEG in base64.
    assert "/9j/" not in "".join(page.blocks.values())[:100_000]
    assert str(dataset.parent) not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_policy_allows_no_network_and_only_the_script_and_style_of_the_file(dataset: Path, tmp_path: Path) -> None:
    text = write(dataset, tmp_path / "a.html")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert "unsafe" not in policy
    for name, (content,) in (
        ("script", re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)),
        ("style", re.findall(r"<style>(.*?)</style>", text, re.DOTALL)),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text.partition("<body>")[0])


def test_names_and_annotations_full_of_markup_are_data(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Blocks(write(dataset, tmp_path / "plain.html"))
    describe = VideoList.find

    def with_markup(videos: Any, key: Any) -> dict[str, Any] | None:
        row = describe(videos, key)
        return row and {**row, "gloss": ENDING, "signer": "<img src=x onerror=alert(1)>"}

    load = Dataset.load

    def with_hostile_annotation(dataset: Dataset, split: str, video_id: str) -> Any:
        return replace(load(dataset, split, video_id), annotation={ENDING: ENDING})

    monkeypatch.setattr(VideoList, "find", with_markup)
    monkeypatch.setattr(Dataset, "load", with_hostile_annotation)
    page = Blocks(write(dataset, tmp_path / "a.html"))
    assert page.tags == plain.tags
    rows = json.loads(page.blocks["world"])["rows"]
    assert {row["gloss"] for row in rows} == {ENDING}
    assert [row["video_id"] for row in rows] == ["b", HOSTILE, "Straße 手"]
    header = base64.b64decode(page.blocks["landmarks-0"])
    assert json.dumps(ENDING)[1:-1].encode() in header


def test_chosen_videos_alone_are_in_the_file(dataset: Path, tmp_path: Path) -> None:
    page = Blocks(write(dataset, tmp_path / "a.html", "Straße 手", "dev/b", "b"))
    assert [row["video_id"] for row in json.loads(page.blocks["world"])["rows"]] == ["b", "Straße 手"]
    assert "landmarks-2" not in page.blocks
    with pytest.raises(ConfigError, match="has no video 'c'"):
        write(dataset, tmp_path / "a.html", "c")


def test_a_page_that_is_too_large_is_refused_with_its_size(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_page, "MOST_BYTES", 300_000)
    with pytest.raises(ConfigError, match=r"3 videos would make a page of 0 MB.*--video ID"):
        write(dataset, tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()
    write(dataset, tmp_path / "a.html", "b")
    with_frames = 4 / 3 * 15 * frame_bytes(html_page._drawn_layout(Dataset.open(str(dataset)).layout)) + 3_000
    monkeypatch.setattr(html_page, "MOST_BYTES", int(with_frames))
    with pytest.raises(ConfigError, match=r"1 video would make a page.*write an --mp4 instead"):
        write(dataset, tmp_path / "b.html", "b", frames=True)


def test_the_size_is_known_before_it_is_written(dataset: Path, tmp_path: Path) -> None:
    frames = sum(VIDEOS.values())
    written = len("".join(Blocks(write(dataset, tmp_path / "a.html")).blocks.values()))
    layout = html_page._drawn_layout(Dataset.open(str(dataset)).layout)
    expected = 4 / 3 * frames * (frame_bytes(layout) + html_page._OTHER_BYTES_OF_A_ROW)
    assert written == pytest.approx(expected, rel=0.05)


def test_errors_name_the_file_or_the_source(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write(dataset, tmp_path / "file" / "a.html")
    with pytest.raises(SourceError, match=r"There is no .*Without --with-frames"):
        write_html_page(str(dataset), tmp_path / "a.html", [], SourceSettings(path=str(tmp_path / "gone")))


def test_the_command_says_what_is_in_the_file(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    result = CliRunner().invoke(cli, ["view", str(dataset), "--html", str(file)], catch_exceptions=False)
    assert result.output.startswith(f"{file}: 3 videos, 67 frames, 0.")
    assert "no pixel of the source" in result.output
    for words, message in (
        (["--html", str(file), "--no-frames", "--with-frames"], "contradict each other"),
        (["--html", str(file), "--beside", "other"], "--beside belongs to"),
        (["--html", str(file), "--sheet", "a.png"], "one thing at a time"),
        (["--html", "page.txt"], "does not end with .html"),
    ):
        refused = CliRunner().invoke(cli, ["view", str(dataset), *words])
        assert refused.exit_code == 2
        assert message in f"{refused.output} {refused.exception}"


@pytest.fixture(scope="module")
def files(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for frames in (False, True):
        write(dataset, folder / f"{frames}.html", frames=frames)
    return {frames: folder / f"{frames}.html" for frames in (False, True)}


@contextmanager
def opened(browser: Any, file: Path, key: tuple[str, str], frame: int) -> Iterator[Any]:
    """Open a file at a frame; nothing may go wrong in it, and nothing but the file be asked for."""
    page, asked, problems = browser.new_page(viewport={"width": 1280, "height": 800}), [], []
    page.set_default_timeout(20_000)
    page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text))
    page.goto(f"{file.as_uri()}#split={quote(key[0])}&video={quote(key[1], safe='')}&frame={frame}")
    page.wait_for_function("() => window.viewer")
    yield page
    assert problems == []
    assert set(asked) == {file.as_uri()}
    page.close()


def wait_for(page: Any, frame: int, pictured: bool) -> None:
    ready = "([frame, pictured]) => { const dataset = document.querySelector('.view')?.dataset ?? {};"
    ready += " return dataset.frame === String(frame) && dataset.pictured === String(pictured); }"
    page.wait_for_function(ready, arg=[frame, pictured])


@pytest.mark.parametrize("frame", [0, 23, 39])
def test_a_frame_shows_the_landmarks_of_the_dataset_and_its_picture(
    browser: Any, files: dict[bool, Path], dataset: Path, frame: int
) -> None:
    video = Dataset.open(str(dataset)).load(*STREET)
    read = "([name, frame]) => { const { landmarks } = viewer.views[0];"
    read += " const part = landmarks.layout.parts.find((part) => part.name === name);"
    read += " const points = landmarks.points(part, frame); return points && Array.from(points, String); }"
    for frames, file in files.items():
        with opened(browser, file, STREET, frame) as page:
            wait_for(page, frame, frames)
            for part, axes in (("pose", [0, 1, 3]), ("left_hand", [0, 1]), ("face", [0, 1])):
                points, expected = page.evaluate(read, [part, frame]), video.points[part][frame][:, axes]
                assert (points is None) == bool(np.isnan(expected).all())
                if points is not None:
                    assert np.array_equal(np.array(points, np.float32), expected.ravel(), equal_nan=True)
            if frames:
                content = page.evaluate("() => document.querySelector('canvas.picture').toDataURL().split(',')[1]")
                image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
                assert image is not None
                assert image.shape == (HEIGHT, WIDTH, 3)
                distances = [np.abs(image.astype(float) - picture(0, other)).mean() for other in range(40)]
                assert np.argmin(distances) == frame


def test_it_plays_and_scrubs(browser: Any, files: dict[bool, Path]) -> None:
    for frames, file in files.items():
        with opened(browser, file, STREET, 0) as page:
            wait_for(page, 0, frames)
            page.keyboard.press(" ")
            page.wait_for_function("() => Number(document.querySelector('.view')?.dataset.frame) > 8")
            page.keyboard.press(" ")
            box = page.locator("#tracks").bounding_box()
            page.mouse.click(box["x"] + 30.5 * box["width"] / 40, box["y"] + 24)
            wait_for(page, 30, frames)


def test_videos_are_listed_searched_and_sorted(browser: Any, files: dict[bool, Path]) -> None:
    with opened(browser, files[False], ("train", HOSTILE), 4) as page:
        wait_for(page, 4, pictured=False)
        assert page.locator("#video-name").text_content() == HOSTILE
        assert page.title() == f"{HOSTILE} · output"
        assert page.locator(".row .name").all_text_contents() == ["b", HOSTILE, "Straße 手"]
        page.click("[data-sort=worth]")
        page.wait_for_function("() => document.querySelector('.row .why')")
        assert any("unreadable 6.7%" in text for text in page.locator(".row .why").all_text_contents())
        page.fill("#search", "STRASSE")
        page.wait_for_function("() => document.querySelectorAll('.row').length === 0")
        page.fill("#search", "straße")
        page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
        page.locator(".row").click()
        page.wait_for_function("() => document.querySelector('#video-name').textContent === 'Straße 手'")


def test_an_unreadable_frame_is_shown_as_such(browser: Any, files: dict[bool, Path]) -> None:
    with opened(browser, files[True], ("dev", "b"), 3) as page:
        wait_for(page, 3, pictured=False)
        assert "unreadable" in page.locator(".remark").text_content()
