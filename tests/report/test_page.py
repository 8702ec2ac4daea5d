from __future__ import annotations

import base64
import hashlib
import re
import shutil
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.report.findings import compare, examine
from phoenix_ray.report.page import make_page
from phoenix_ray.sources.registry import open_source
from tests.report.made_up import HOSTILE, VIDEOS, Page, write_source, write_summary, write_troubled_dataset
from tests.viewer.made_up import compute

NOW = datetime(2026, 11, 29, 12, 30, tzinfo=timezone.utc)
# Everything that a page is built of.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "footer", "div", "p", "span", "b"),
    *("i", "ul", "li", "dl", "dt", "dd", "h1", "h2", "h3", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"),
    *("figure", "figcaption", "svg", "line", "path", "rect", "text", "img"),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_troubled_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_source(tmp_path_factory.mktemp("source"))


def html_of(dataset: str, source: str = "", sample: int = 100) -> str:
    open_frames = partial(open_source, SourceSettings(path=source)) if source else None
    return make_page(examine(dataset, sample, 2), None, open_frames, NOW)


def test_names_full_of_markup_stay_text(dataset: str) -> None:
    page = Page(html_of(dataset))
    assert {tag for tag, _ in page.tags} <= TAGS
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert '"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt; \\u202egnp.exe \\x1b[2J \\x00' in page.text
    assert not {"\u202e", "\x1b", "\x00"} & set(page.text)


def test_the_page_refers_to_nothing_outside_of_itself(dataset: str, source: str) -> None:
    html = html_of(dataset, source)
    page = Page(html)
    assert not {"script", "link", "a", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    style = re.search("<style>(.*)</style>", html, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_its_policy_allows_its_own_style_and_pictures_alone(dataset: str) -> None:
    html = html_of(dataset)
    (policy,) = (tag["content"] for _, tag in Page(html).tags if tag.get("http-equiv") == "Content-Security-Policy")
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; ")
    assert not any("style" in attributes for _, attributes in Page(html).tags)


def test_the_same_dataset_gives_the_same_bytes(dataset: str, source: str) -> None:
    assert html_of(dataset, source) == html_of(dataset, source)


def test_every_plot_has_a_title_labelled_axes_and_a_sentence(dataset: str) -> None:
    figures = re.findall("<figure>(.*?)</figure>", html_of(dataset), re.DOTALL)
    assert len(figures) == 10
    for figure in figures:
        assert re.search("<h3>.+</h3>", figure)
        assert re.search(r"<figcaption>[A-Z].+\.</figcaption>", figure)
        labels = re.findall('class="label middle"[^>]*>([^<]+)<', figure)
        assert labels
        assert all(any(unit in label for unit in (" in ", "frames", "gaps", "score")) for label in labels)


def test_frames_without_landmarks_are_shown_where_the_source_can_be_read(dataset: str, source: str) -> None:
    page = Page(html_of(dataset, source))
    shown = {picture["alt"]: picture["src"] for picture in page.pictures()}
    for frame in (2, 7):
        content = base64.b64decode(shown[f"frame {frame} of train/b"].partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert abs(float(picture.mean()) - 10 * frame) < 2
    assert "1 frame: no person" in page.text
    assert "1 frame: unreadable" in page.text
    assert "1 frame: failed" in page.text
    assert not any(name.endswith("of train/c") for name in shown), "an unreadable frame has no picture"


def test_without_frames_only_skeletons_are_shown_and_the_page_says_so(dataset: str, source: str) -> None:
    page = Page(html_of(dataset))
    assert "Frames are left out of this report on purpose." in page.text
    assert not any(picture["alt"].startswith("frame ") for picture in page.pictures())
    assert page.pictures()
    with_frames = {picture["alt"]: picture["src"] for picture in Page(html_of(dataset, source)).pictures()}
    for picture in page.pictures():
        if "train/d/e" in picture["alt"]:
            assert with_frames[picture["alt"]] != picture["src"]


def test_a_source_that_is_gone_leaves_a_sentence(dataset: str, tmp_path: Path) -> None:
    page = Page(html_of(dataset, str(tmp_path / "gone")))
    assert f"There is no {tmp_path}/gone" in page.text
    assert page.pictures()


def test_the_state_of_the_dataset_is_said_first(dataset: str) -> None:
    text = Page(html_of(dataset)).text
    assert "Some shards or videos failed" in text
    assert "1 frame of 1 video could not be read." in text
    assert "No person was found in 1 frame of 1 video." in text
    assert "No signer occurs in more than one split." in text
    assert text.index("Some shards") < text.index("What it is") < text.index("How it was made")


def test_a_dataset_without_failures_is_said_to_be_finished(tmp_path: Path) -> None:
    storage = LocalStorage(write_troubled_dataset(tmp_path))
    said = "Finished: every frame has its row."
    assert said not in Page(html_of(storage.root)).text
    (failure,) = storage.list("failures")
    storage.delete(failure.name)
    assert said in Page(html_of(storage.root)).text
    write_summary(storage, "20261129-111111-abcd", state="stopped")
    page = Page(html_of(storage.root))
    assert said not in page.text
    assert "The last run ended as stopped; the same command goes on from there." in page.text


def test_a_dataset_without_a_finished_run_says_what_is_missing(tmp_path: Path) -> None:
    storage = LocalStorage(write_troubled_dataset(tmp_path / "a"))
    (run,) = Path(storage.root).glob("runs/*/summary.json")
    run.write_text('{"state": "finished"', encoding="utf-8")
    (run.parent / "status.json").write_text('{"state": "running", "frames_done": 12}', encoding="utf-8")
    page = Page(html_of(storage.root))
    assert f"runs/{run.parent.name}/summary.json is damaged" in page.text
    assert "The last run ended without a summary while it was running." in page.text
    run.unlink()
    (run.parent / "status.json").unlink()
    assert "No run has left a record here" in Page(html_of(storage.root)).text


def test_long_lists_end_with_how_many_more_there_are(tmp_path: Path) -> None:
    storage = LocalStorage(write_troubled_dataset(tmp_path))
    for number in range(30):
        nodes = {f"node-{node}": {"decode": 1.0} for node in range(40)}
        write_summary(storage, f"202611{number:02}-111111-{number:04}", nodes=nodes)
    text = Page(html_of(storage.root)).text
    assert "and 23 more runs" in text
    assert "Shown are 16 of 40 nodes." in text


def test_a_sample_is_measured_where_asked_and_the_page_says_so(dataset: str) -> None:
    assert "Measured in 2 of 4 videos" in Page(html_of(dataset, sample=2)).text
    quick = Page(html_of(dataset, sample=0)).text
    assert "Movement, gaps and scores were not measured" in quick
    assert "Jitter of the videos" not in quick
    assert "Measured in" not in Page(html_of(dataset)).text


def test_datasets_stand_side_by_side_over_the_videos_in_all(dataset: str, tmp_path: Path) -> None:
    from tests.exports.made_up import write_dataset

    others = [write_dataset(tmp_path / "b", VIDEOS[1:]), write_dataset(tmp_path / "c", VIDEOS[:3])]
    findings = examine(dataset, 100, 2)
    comparison = compare(findings, others, 100, 2)
    assert comparison.shared == 2
    assert [dataset.left_out for dataset in comparison.datasets] == [2, 1, 1]
    assert {dataset.summary.frames for dataset in comparison.datasets} == {len(VIDEOS[1]) + len(VIDEOS[2])}
    page = Page(make_page(findings, comparison, None, NOW))
    assert "Over 2 videos in all datasets." in page.text
    assert all(other in page.text for other in others)
    assert HOSTILE[:10] in page.text


def test_frames_of_a_source_that_has_changed_since_are_marked(source: str, tmp_path: Path) -> None:
    dataset = str(compute(Path(source), tmp_path / "output"))
    assert "Beware" not in html_of(dataset, source)
    other = shutil.copytree(source, tmp_path / "other")
    for file in other.rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"more")
    assert "Beware: the source of train/b, train/c, train/d/e has changed since" in html_of(dataset, str(other))
