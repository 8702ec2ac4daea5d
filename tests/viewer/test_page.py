"""The page in a real Chromium. `make setup-browser` installs it; without it these tests are skipped."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from tests.viewer.made_up import HEIGHT, HOSTILE, WIDTH, compute, finish, picture

STREET = ("train", "Straße 手")
SHOWN = "() => Number(document.querySelector('.view').dataset.frame)"
PARTS = ("pose", "left_hand", "right_hand", "face")


@contextmanager
def served(*words: str | Path) -> Iterator[str]:
    """Run `phoenix-ray view` and give its address."""
    command = [sys.executable, "-c", "from phoenix_ray.cli import main; main()", "view", *map(str, words), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("Viewer: ").strip()
        try:
            assert address
            yield address
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(dataset: Path) -> Iterator[str]:
    with served(dataset) as address:
        yield address


@dataclass
class Tab:
    """A page, and what went wrong in it."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def wait_for(self, frame: int, pictured: bool = True) -> None:
        ready = "([frame, pictured]) => { const dataset = document.querySelector('.view')?.dataset ?? {};"
        ready += " return dataset.frame === String(frame) && dataset.pictured === String(pictured); }"
        self.page.wait_for_function(ready, arg=[frame, pictured])

    def shown(self) -> int:
        return int(self.page.evaluate(SHOWN))

    def pixels(self, view: int = 0) -> np.ndarray:
        """Return what the picture's canvas holds, as BGR float64."""
        program = "(view) => document.querySelectorAll('canvas.picture')[view].toDataURL('image/png').split(',')[1]"
        content = np.frombuffer(base64.b64decode(self.page.evaluate(program, view)), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert image is not None
        return image.astype(np.float64)

    def points(self, part: str, frame: int, view: int = 0) -> list[float] | None:
        program = "([view, name, frame]) => { const { landmarks } = viewer.views[view];"
        program += " const part = landmarks.layout.parts.find((part) => part.name === name);"
        program += " const points = landmarks.points(part, frame); return points && Array.from(points, String); }"
        found = self.page.evaluate(program, [view, part, frame])
        return None if found is None else [float(text) for text in found]

    def opacity(self, x: float, y: float) -> int:
        """Return the opacity of the skeleton's layer at a place of the picture, 0..255."""
        program = "([x, y]) => { const canvas = document.querySelector('canvas.overlay');"
        program += " return canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3]; }"
        return int(self.page.evaluate(program, [x, y]))

    def click_strip(self, frame: int, frames: int, strip: int = 1) -> None:
        box = self.page.locator("#tracks").bounding_box()
        self.page.mouse.click(box["x"] + (frame + 0.5) * box["width"] / frames, box["y"] + 18 * strip + 6)


@contextmanager
def opened(browser: Any, address: str, link: str = "") -> Iterator[Tab]:
    """Open the page in a browser without cookies; nothing may go wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = Tab(context.new_page())
    tab.page.set_default_timeout(20_000)
    tab.page.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.page.on("console", lambda line: tab.problems.append(line.text) if line.type == "error" else None)
    tab.page.goto(address + link)
    tab.page.wait_for_function("() => window.viewer")
    yield tab
    assert [line for line in tab.problems if "404" not in line] == []
    context.close()


def link_to(key: tuple[str, str], frame: int) -> str:
    from urllib.parse import quote

    return f"#split={quote(key[0])}&video={quote(key[1], safe='')}&frame={frame}"


def landmarks_of(dataset: Path, key: tuple[str, str] = STREET) -> VideoLandmarks:
    return Dataset.open(str(dataset)).load(*key)


def test_the_page_lists_the_videos_and_opens_the_first(browser: Any, address: str) -> None:
    with opened(browser, address) as tab:
        names = tab.page.locator(".row .name").all_text_contents()
        assert names == ["b", HOSTILE, "Straße 手"]
        assert tab.page.locator("#count").text_content() == "3 videos"
        tab.wait_for(0)
        assert tab.page.locator("#video-name").text_content() == "b"
        assert "token" not in tab.page.url
        tab.page.fill("#search", "straße")
        tab.page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
        tab.page.locator(".row").click()
        tab.page.wait_for_function("() => document.querySelector('#video-name').textContent === 'Straße 手'")


def test_worth_a_look_comes_first_with_the_reason(browser: Any, address: str) -> None:
    with opened(browser, address) as tab:
        tab.page.click("[data-sort=worth]")
        tab.page.wait_for_function("() => document.querySelector('.row .why')")
        assert any("unreadable 6.7%" in text for text in tab.page.locator(".row .why").all_text_contents())


@pytest.mark.parametrize("frame", [0, 1, 23, 39])
def test_a_link_shows_the_frame_with_the_pixels_and_landmarks_that_python_gives(
    browser: Any, address: str, dataset: Path, frame: int
) -> None:
    video = landmarks_of(dataset)
    with opened(browser, address, link_to(STREET, frame)) as tab:
        tab.wait_for(frame)
        pixels = tab.pixels()
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(pixels - picture(0, frame)).mean() < 4
        others = [np.abs(pixels - picture(0, other)).mean() for other in range(40) if other != frame]
        assert min(others) > 12
        for part in PARTS:
            points = tab.points(part, frame)
            expected = video.points[part][frame]
            assert (points is None) == bool(np.isnan(expected).all())
            if points is not None:
                assert np.array_equal(np.array(points, np.float32), expected.ravel(), equal_nan=True)


def test_every_frame_that_plays_is_drawn_with_its_own_picture(browser: Any, address: str) -> None:
    watch = """() => new Promise((resolve) => {
        const seen = [], view = document.querySelector('.view'), canvas = document.querySelector('canvas.picture');
        const small = new OffscreenCanvas(6, 8), context = small.getContext('2d', { willReadFrequently: true });
        const look = () => {
            context.drawImage(canvas, 0, 0, 6, 8);
            seen.push([Number(view.dataset.frame), Array.from(context.getImageData(0, 0, 6, 8).data)]);
            if (seen.length < 150) requestAnimationFrame(look); else resolve(seen);
        };
        document.querySelector('#play').click();
        requestAnimationFrame(look);
    })"""
    with opened(browser, address, link_to(STREET, 0)) as tab:
        tab.wait_for(0)
        seen = tab.page.evaluate(watch)
    frames = [frame for frame, _ in seen]
    assert len(set(frames)) > 5
    # What a frame looks like at that size, from all that was seen of it; another frame's picture would stand out.
    wanted = {
        index: cv2.resize(picture(0, index), (6, 8), interpolation=cv2.INTER_AREA)[:, :, ::-1] for index in range(40)
    }
    for frame, values in seen:
        shown = np.array(values, np.float64).reshape(8, 6, 4)[:, :, :3]
        errors = {index: np.abs(shown - small).mean() for index, small in wanted.items()}
        assert min(errors, key=errors.__getitem__) == frame


def test_dragging_over_the_strips_leads_to_the_frame_under_the_pointer(browser: Any, address: str) -> None:
    with opened(browser, address, link_to(STREET, 0)) as tab:
        tab.wait_for(0)
        tab.click_strip(30, 40)
        tab.wait_for(30)
        box = tab.page.locator("#tracks").bounding_box()
        tab.page.mouse.move(box["x"] + 2, box["y"] + 5)
        tab.page.mouse.down()
        for frame in range(1, 18):
            tab.page.mouse.move(box["x"] + (frame + 0.5) * box["width"] / 40, box["y"] + 5)
        tab.page.mouse.up()
        tab.wait_for(17)
        assert np.abs(tab.pixels() - picture(0, 17)).mean() < 4
        assert (tab.page.locator("#position-frame").text_content()) == "17"
        tab.page.wait_for_function("() => location.hash.endsWith('frame=17')")


def test_strips_show_where_parts_are_found_missing_and_unreadable(browser: Any, address: str, dataset: Path) -> None:
    video = landmarks_of(dataset, ("dev", "b"))
    read = """([x, y]) => {
        const canvas = document.querySelector('#tracks-still'), scale = canvas.width / canvas.clientWidth;
        return Array.from(canvas.getContext('2d').getImageData(x * scale, y * scale, 1, 1).data.slice(0, 3)); }"""
    with opened(browser, address, link_to(("dev", "b"), 0)) as tab:
        tab.wait_for(0)
        width = tab.page.locator("#tracks").bounding_box()["width"]
        colours: dict[str, set[tuple[int, ...]]] = {"found": set(), "missing": set(), "unreadable": set()}
        for frame in range(15):
            state = "found" if video.present("left_hand")[frame] else "missing"
            state = "unreadable" if video.status[frame] == "unreadable" else state
            colours[state].add(tuple(tab.page.evaluate(read, [(frame + 0.4) * width / 15, 18 + 6])))
        assert [len(found) for found in colours.values()] == [1, 1, 1]
        assert len(set.union(*colours.values())) == 3
        tab.click_strip(3, 15)
        tab.wait_for(3, pictured=False)
        assert "unreadable" in tab.page.locator(".remark").text_content()


def test_keys_move_by_frames_and_videos(browser: Any, address: str) -> None:
    with opened(browser, address, link_to(STREET, 5)) as tab:
        tab.wait_for(5)
        for key, frame in (
            ("ArrowRight", 6),
            ("Shift+ArrowRight", 16),
            ("ArrowLeft", 15),
            ("End", 39),
            ("ArrowRight", 39),
            ("Home", 0),
        ):
            tab.page.keyboard.press(key)
            tab.wait_for(frame)
        for key, speed in (("]", "1.5\u00d7"), ("[", "1\u00d7"), ("[", "0.75\u00d7"), ("\\", "1\u00d7")):
            tab.page.keyboard.press(key)
            assert tab.page.locator("#speed").text_content() == speed
        tab.page.keyboard.press("l")
        assert not tab.page.locator("#loop").is_checked()
        tab.page.keyboard.press("?")
        assert tab.page.locator("#help").is_visible()
        tab.page.click("#help button")
        assert not tab.page.locator("#help").is_visible()
        tab.page.keyboard.press("ArrowUp")
        tab.page.wait_for_function("(name) => document.querySelector('#video-name').textContent === name", arg=HOSTILE)


def test_parts_can_be_hidden_and_pictures_too(browser: Any, address: str, dataset: Path) -> None:
    video = landmarks_of(dataset)
    frame = int(np.flatnonzero(video.present("left_hand") & video.present("pose"))[0])
    x, y = video.points["left_hand"][frame, 9, :2].tolist()
    with opened(browser, address, link_to(STREET, frame)) as tab:
        tab.wait_for(frame)
        assert tab.opacity(x, y) > 200
        for part in ("pose", "right_hand", "face"):
            tab.page.locator(f"[data-part={part}] input").click()
        assert tab.opacity(x, y) > 200
        tab.page.keyboard.press("2")
        assert tab.opacity(x, y) == 0
        tab.page.keyboard.press("f")
        tab.wait_for(frame, pictured=False)
        assert (tab.pixels() == 0).all()


def test_the_name_of_a_point_is_shown_under_the_pointer(browser: Any, address: str, dataset: Path) -> None:
    video = landmarks_of(dataset)
    frame = int(np.flatnonzero(video.present("left_hand"))[0])
    with opened(browser, address, link_to(STREET, frame)) as tab:
        tab.wait_for(frame)
        for part in ("pose", "right_hand", "face"):
            tab.page.locator(f"[data-part={part}] input").click()
        x, y = video.points["left_hand"][frame, 8, :2].tolist()
        box = tab.page.locator(".frame").bounding_box()
        tab.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        text = tab.page.locator("#tip").text_content()
        assert text.startswith("left hand · index finger tip\n")
        assert f"{x * WIDTH:.1f}, {y * HEIGHT:.1f} px" in text


def test_a_name_full_of_markup_is_text(browser: Any, address: str) -> None:
    with opened(browser, address, link_to(("train", HOSTILE), 4)) as tab:
        tab.wait_for(4)
        assert tab.page.locator("#video-name").text_content() == HOSTILE
        assert tab.page.title() == f"{HOSTILE} · output"
        assert tab.page.locator("img").count() == 0
        assert np.abs(tab.pixels() - picture(1, 4)).mean() < 4
        tab.page.reload()
        tab.wait_for(4)
        assert tab.page.locator("#video-name").text_content() == HOSTILE


def test_a_link_to_a_video_that_is_not_here_shows_the_first_and_says_so(browser: Any, address: str) -> None:
    with opened(browser, address, link_to(("dev", "gone"), 4)) as tab:
        tab.wait_for(0)
        assert tab.page.locator("#video-name").text_content() == "b"
        assert tab.page.locator("#message").text_content() == "The dataset has no video dev/gone."


def test_two_datasets_show_the_same_frame_and_how_far_apart_they_are(
    browser: Any, source: Path, dataset: Path, tmp_path: Path
) -> None:
    other = compute(source, tmp_path / "tracked", mode="tracking")
    ours, theirs = landmarks_of(dataset), landmarks_of(other)
    frame = int(np.flatnonzero(ours.present("pose") & theirs.present("pose"))[0])
    with served(dataset, "--beside", other) as address, opened(browser, address, link_to(STREET, frame)) as tab:
        tab.wait_for(frame)
        assert tab.page.locator("canvas.picture").count() == 2
        for view in (0, 1):
            assert np.abs(tab.pixels(view) - picture(0, frame)).mean() < 4
        assert np.array_equal(np.array(tab.points("pose", frame, 1), np.float32), theirs.points["pose"][frame].ravel())
        tab.page.wait_for_function("() => viewer.timeline.measured === 40")
        shown = tab.page.evaluate(
            "() => viewer.timeline.rows.at(-1).series.map(({ values }) => Array.from(values, String))"
        )
    for part, values in zip(PARTS, shown, strict=True):
        ways = (ours.points[part][:, :, :2] - theirs.points[part][:, :, :2]).astype(np.float64) * (WIDTH, HEIGHT)
        expected = np.linalg.norm(ways, axis=2).mean(axis=1)
        assert np.allclose(np.array(values, np.float64), expected, rtol=1e-4, equal_nan=True), part
        assert np.isfinite(expected).any()


def test_without_frames_skeletons_play(browser: Any, dataset: Path) -> None:
    with served(dataset, "--no-frames") as address, opened(browser, address, link_to(STREET, 0)) as tab:
        tab.wait_for(0, pictured=False)
        assert "skeletons only" in tab.page.locator("#notes").text_content()
        assert tab.page.locator("#frames-choice").is_hidden()
        tab.page.keyboard.press(" ")
        tab.page.wait_for_function("() => Number(document.querySelector('.view').dataset.frame) > 12")


def test_frames_that_a_run_adds_appear_by_themselves(browser: Any, source: Path, tmp_path: Path) -> None:
    output = compute(source, tmp_path / "growing", unfinished=[STREET[1]])
    with served(output) as address, opened(browser, address, link_to(STREET, 7)) as tab:
        tab.wait_for(7)
        assert "1 unfinished" in tab.page.locator("#notes").text_content()
        assert "not computed yet" in tab.page.locator(".remark").text_content()
        assert tab.points("pose", 7) is None
        finish(source, output, STREET[1])
        tab.page.wait_for_function("() => viewer.views[0].landmarks.rows === 40")
        tab.wait_for(7)
        assert tab.page.locator("#notes").text_content() == ""
