"""The page of a run in a real Chromium. `make setup-browser` installs it; without it these tests are skipped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.cluster.status import CommittedShard, ShardAtWork
from phoenix_ray.dataset.storage import LocalStorage
from tests.commands.test_status import hold, record
from tests.viewer.made_up import HOSTILE, compute, write_source

RUN = "20260101-000000-0001"
HOSTILE_NODE = "<b onmouseover=document.title='owned'>node</b>"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return compute(write_source(tmp_path / "source"), tmp_path / "output")


@contextmanager
def opened(browser: Any, output: Path) -> Iterator[Any]:
    """Run `phoenix-ray status --web` and yield its page in a browser; nothing may go wrong in it."""
    command = [sys.executable, "-c", "from phoenix_ray.cli import main; main()", "status", str(output), "--web"]
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    with subprocess.Popen([*command, "--no-open"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().removeprefix("Viewer: ").strip()
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
            page.goto(address)
            yield page
            assert problems == []
        finally:
            context.close()
            process.kill()


def wait_for_state(page: Any, state: str) -> None:
    page.wait_for_function("(state) => document.querySelector('#state').textContent === state", arg=state)


def figures(page: Any) -> dict[str, str]:
    names, values = (page.locator(f"#figures {tag}").all_text_contents() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def test_a_run_at_work_is_shown_with_its_workers_and_its_last_pictures(browser: Any, output: Path) -> None:
    storage = LocalStorage(str(output))
    at_work = (ShardAtWork(HOSTILE_NODE, 7, "train", HOSTILE, 4, 9, 1.0),)
    latest = (CommittedShard("train", "Straße 手", 0, 40), CommittedShard("train", HOSTILE, 0, 12))
    shown: dict[str, Any] = {
        "frames_per_second": 2.5,
        "seconds_left": 90.0,
        "failures": 1,
        "at_work": at_work,
        "latest": latest,
    }
    record(storage, RUN, "running", 5, **shown)
    hold(storage, RUN)
    with opened(browser, output) as page:
        wait_for_state(page, "running")
        assert page.title() == "25 % · running"
        assert page.locator("#run-id").text_content() == f"run {RUN}"
        assert page.locator("#frames").text_content() == "25.0 %: 5 of 20 frames"
        seen = figures(page)
        assert (seen["frames per second"], seen["time left"], seen["failures"]) == ("2.5", "1 min 30 s", "1")
        assert f"phoenix-ray failures {output}" in page.locator("#notes").text_content()

        cells = page.locator("#workers td").all_text_contents()
        assert cells[:4] == [HOSTILE_NODE, "7", f"train/{HOSTILE}", "4\N{EN DASH}8"]
        assert page.locator("#workers b, #workers img, #latest img").count() == 0

        names = page.locator("#latest span").all_text_contents()
        assert names == ["train/Straße 手, frame 19", f"train/{HOSTILE}, frame 5"]
        drawn = """(canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(data).size;
        }"""
        for canvas in page.locator("#latest canvas").all():
            page.wait_for_function(f"(canvas) => ({drawn})(canvas) > 50", arg=canvas.element_handle())

        page.locator("#latest a").last.click()
        page.wait_for_function("() => document.querySelector('.view')?.dataset.frame === '5'")
        assert page.locator("#video-name").text_content() == HOSTILE


def test_the_page_follows_a_run_from_before_its_start_to_its_end(browser: Any, tmp_path: Path) -> None:
    output = tmp_path / "not yet"
    with opened(browser, output) as page:
        wait_for_state(page, "no run yet")
        assert "waits for a run" in page.locator("#frames").text_content()
        assert not page.locator("#workers-note").is_visible()
        assert page.locator("#viewer").is_hidden()

        compute(write_source(tmp_path / "source"), output)
        storage = LocalStorage(str(output))
        record(storage, RUN, "running", 5)
        hold(storage, RUN)
        wait_for_state(page, "running")
        assert page.locator("#workers-note").text_content() == "1 more worker ready."
        assert page.locator("#viewer").is_visible()

        record(storage, RUN, "incomplete", 15, failures=1)
        storage.delete("lease.json")
        wait_for_state(page, "incomplete")
        assert "tries again" in page.locator("#notes").text_content()
        assert "time left" not in figures(page)
        assert not page.locator("#workers-note").is_visible()
