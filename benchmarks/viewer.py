"""The suite `viewer`: how fast the viewer's page shows its list, a video and its frames, in a real Chromium.

Lists are measured on datasets that are written directly, as in suite `scale`; frames on a small tree of PNGs of
PHOENIX-2014-T's size. Server and browser share the machine.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from benchmarks.contestants import in_scratch
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.scale import PHOENIX_VIDEOS, stage_once
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import Settings, SourceSettings
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import MissingExtraError, PhoenixRayError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source

WIDTH, HEIGHT = 210, 260
# Of the tree of frames: half as many videos as a screen lists, the first long enough to play.
FRAME_VIDEOS, LONG_FRAMES, SHORT_FRAMES = 8, 250, 115
PLAYED_SECONDS = 4.0
FAST = 4

_OPEN = """(place) => new Promise((resolve) => {
    const row = document.querySelectorAll('.row')[place], view = document.querySelector('.view');
    const began = performance.now();
    const name = row.querySelector('.name').textContent;
    row.click();
    const look = () => {
        const { video, frame, pictured } = view.dataset;
        if (video === name && frame === '0' && pictured === 'true') resolve((performance.now() - began) / 1000);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""
_PLAY = """([seconds, speed]) => new Promise((resolve) => {
    const seen = new Set(), view = document.querySelector('.view'), { player } = window.viewer;
    player.seek(0);
    player.speed = speed;
    player.play();
    const began = performance.now();
    const look = () => {
        seen.add(view.dataset.frame);
        const passed = (performance.now() - began) / 1000;
        if (passed < seconds) { requestAnimationFrame(look); return; }
        player.pause();
        resolve(seen.size / passed);
    };
    requestAnimationFrame(look);
})"""
_LISTED = (
    "(text) => document.querySelector('#count').textContent.startsWith(text) && document.querySelector('.row .name')"
)
_SCROLLED = "() => { const rows = document.querySelector('#rows'); rows.scrollTop = rows.scrollHeight / 2; }"


def check_machine() -> None:
    """Do nothing if there is a browser.

    Raises:
        PhoenixRayError: playwright or Chromium is not installed.
    """
    with _browser():
        pass


def run(request: Request) -> Findings:
    """Measure lists of two sizes and a video's frames, in turns."""
    return in_scratch(request.output, partial(_measure, request))


def _measure(request: Request, scratch: Path) -> Findings:
    sizes = sorted({min(PHOENIX_VIDEOS, request.videos), request.videos})
    staged = {size: stage_once(size, request) for size in sizes}
    frames = _stage_frames(scratch)
    lists: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    shown: list[dict[str, float]] = []
    for number in range(1, request.rounds + 1):
        for size, settings in staged.items():
            lists[size].append(_measure_list(settings, size))
            request.announce(f"round {number}: list of {size:,} videos: {_describe(lists[size][-1])}")
        shown.append(_measure_frames(frames))
        request.announce(f"round {number}: {_describe(shown[-1])}")
    quantities = {
        f"{name}, {size:,} videos": Rounds.of(found[name] for found in all_)
        for size, all_ in lists.items()
        for name in all_[0]
    }
    quantities |= {name: Rounds.of(found[name] for found in shown) for name in shown[0]}
    rows = [(name, value.show(2)) for name, value in quantities.items()]
    return Findings(
        f"Lists of synthetic videos; {FRAME_VIDEOS} videos of {WIDTH}x{HEIGHT} PNGs",
        request.rounds,
        [Table(("viewer", "measured"), rows)],
        quantities,
        [
            "Lists: from the request of the page to the first rows on the screen, the server being ready. Opening the "
            "dataset comes before: from the start of a Python that has imported the server.",
            "The first frame: from the click on a row to the first picture with its landmarks.",
        ],
        raw={"lists": {str(size): all_ for size, all_ in lists.items()}, "frames": shown},
    )


def _describe(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in found.items())


def _measure_list(settings: Settings, size: int) -> dict[str, float]:
    with _served(settings.output.path, settings.source) as (address, process, opening), _page() as page:
        found = {"seconds to open the dataset": opening}
        count = f"{size:,} video"
        found["seconds until the list is on screen"] = _timed(page, lambda: page.goto(address), _LISTED, count)
        found["seconds to show the middle of the list"] = _timed(
            page,
            lambda: page.evaluate(_SCROLLED),
            "() => { const rows = [...document.querySelectorAll('.row')];"
            " return rows.length > 5 && !rows.some((row) => row.classList.contains('loading')); }",
        )
        found["seconds to sort by worth a look"] = _timed(
            page, lambda: page.click("[data-sort=worth]"), "() => document.querySelector('#rows').scrollTop === 0"
        )
        number = size - 1
        found["seconds to search"] = _timed(
            page, lambda: page.fill("#search", f"synthetic-{number:09}"), _LISTED, "1 video"
        )
        # The source is listed meanwhile; what it takes belongs to the server.
        page.wait_for_function(
            "() => !document.querySelector('#notes').textContent.includes('listing')", timeout=300_000
        )
        found["server's memory, MB"] = _peak_mb(process)
    return found


def _measure_frames(settings: Settings) -> dict[str, float]:
    with _served(settings.output.path, settings.source) as (address, process, _), _page() as page:
        page.goto(address)
        page.wait_for_function("() => document.querySelector('.view')?.dataset.pictured === 'true'")
        first = [page.evaluate(_OPEN, place) for place in range(1, FRAME_VIDEOS)]
        page.evaluate(_OPEN, 0)
        return {
            "seconds to the first frame of a video": float(np.median(first)),
            "seconds to the first frame, slowest": max(first),
            "frames/s shown at speed 1 (25 wanted)": page.evaluate(_PLAY, [PLAYED_SECONDS, 1]),
            f"frames/s shown at speed {FAST} (60 wanted at most)": page.evaluate(_PLAY, [PLAYED_SECONDS / 2, FAST]),
            "server's memory with frames, MB": _peak_mb(process),
        }


def _timed(page: Any, action: Any, until: str, argument: object = None) -> float:
    began = time.perf_counter()
    action()
    page.wait_for_function(until, arg=argument, polling="raf")
    return time.perf_counter() - began


def _peak_mb(process: psutil.Process) -> float:
    """Return the largest resident size of a process of Linux."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


@contextmanager
def _page() -> Iterator[Any]:
    with _browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        yield page


@contextmanager
def _browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise MissingExtraError("The suite viewer", "browser") from None
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program = str(own) if own.exists() else shutil.which("chromium")
        if program is None:
            raise PhoenixRayError("The suite viewer needs Chromium: make setup-browser")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def _served(dataset: str, source: SourceSettings) -> Iterator[tuple[str, psutil.Process, float]]:
    """Serve a dataset in another process; give the page's address, the process and the seconds of opening."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, dataset, source))
    process.start()
    sender.close()
    try:
        try:
            address, opening = receiver.recv()
        except EOFError:
            raise PhoenixRayError("The viewer's server failed; its error is above.") from None
        yield address, psutil.Process(process.pid), opening
    finally:
        process.terminate()
        process.join()


def _serve(sender: Connection, dataset: str, source: SourceSettings) -> None:
    from phoenix_ray.viewer.library import Library, ShownDataset
    from phoenix_ray.viewer.server import serve

    began = time.perf_counter()
    library = Library([ShownDataset(dataset, source)])
    opening = time.perf_counter() - began
    serve(library, "127.0.0.1", 0, lambda address: sender.send((address, opening)))


def _stage_frames(scratch: Path) -> Settings:
    """Write videos as PNGs and compute their dataset with the synthetic model; return its settings."""
    random = np.random.default_rng(1)
    for number in range(FRAME_VIDEOS):
        folder = scratch / "source" / "train" / f"video-{number}"
        folder.mkdir(parents=True)
        for index in range(SHORT_FRAMES if number else LONG_FRAMES):
            coarse = random.integers(0, 256, (26, 21, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{index:04}.png"), cv2.resize(coarse, (WIDTH, HEIGHT)))
    settings = Settings.model_validate(
        {
            "source": {"path": str(scratch / "source")},
            "model": {"name": "synthetic"},
            "output": {"path": str(scratch / "dataset")},
        }
    )
    source = open_source(settings.source)
    identity = claim_dataset(open_storage(settings.output.path), make_identity(settings, source.root))
    worker = ShardWorker(settings, identity)
    worker.ready()
    for video in source.videos():
        assert isinstance(video, Video)
        worker.process(Shard(video, 0, video.frame_count))
    return settings
