"""`phoenix_ray.extract`: what it returns, on a real Ray, beside a Ray that is up, and in a thread."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import ray
from click.testing import CliRunner

import phoenix_ray
from phoenix_ray.cli import cli
from phoenix_ray.cluster.extraction import Extraction
from phoenix_ray.cluster.summary import RunSummary
from phoenix_ray.cluster.worker import Timings
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.errors import ClusterError, FingerprintMismatchError
from phoenix_ray.layouts import holistic
from tests.cluster.conftest import FRAMES, VIDEOS, environment

Mode = Literal["static", "tracking"]
MODES: tuple[Mode, ...] = ("static", "tracking")


def made_up(state: str, output: str = "/data/out", splits: int = 2, failures: int = 0) -> Extraction:
    tallies = {f"<split> {number}": Tally(20, 5, {"ok": 19, "no_person": 1}, {"pose": 19}) for number in range(splits)}
    summary = RunSummary(
        "r", state, output, 70.0, 50.0, 20 * splits, 2, failures, Timings(1, 2, 3, 4), 300.0, "0" * 32, tallies, {}
    )
    counts = {"ok": 19 * splits, "no_person": splits}
    lines = (f"{state}.", "Next:   the same call")
    rate = summary.frames_per_second
    return Extraction(state, output, counts, (), "0" * 32, 70.0, 20 * splits, rate, lines, summary, holistic(468))


@pytest.mark.parametrize("state", ["finished", "incomplete", "stopped"])
def test_a_result_says_in_a_line_how_it_ended(state: str) -> None:
    shown = repr(made_up(state, f"/data/{'long/' * 300}out", failures=3 if state == "incomplete" else 0))
    assert shown.startswith(f"<Extraction {state}")
    assert ("3 failed" in shown) == (state == "incomplete")
    assert "40 computed at 0.8/s" in shown
    assert len(shown) < 500
    assert "\n" not in shown


class _Cells(HTMLParser):
    """The texts of a page, and the tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_shows_the_rates_of_each_split() -> None:
    page = _Cells()
    page.feed(made_up("finished")._repr_html_())
    assert not page.open
    for text in ("<split> 0", "<split> 1", "all", "95.0%", "left hand", "no person", "finished"):
        assert text in page.texts, text
    assert "the same call" not in "".join(page.texts)
    assert "the same call" in made_up("stopped")._repr_html_()
    assert "<table>" not in made_up("stopped", splits=0)._repr_html_()


@pytest.fixture(scope="module")
def runs(frame_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Mode, Extraction]]:
    """The frame folders in both modes, computed beside a Ray that stays up for the tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            root = tmp_path_factory.mktemp("extracted")
            settings = {"cluster.shard_frames": 7, "model.batch_size": 3}
            yield {
                mode: phoenix_ray.extract(
                    frame_folders, root / mode, model="synthetic", mode=mode, num_workers=2, settings=settings
                )
                for mode in MODES
            }
        finally:
            ray.shutdown()


@pytest.mark.cluster
@pytest.mark.parametrize("mode", MODES)
def test_a_result_holds_what_the_dataset_holds(runs: dict[Mode, Extraction], mode: Mode) -> None:
    extraction = runs[mode]
    dataset = extraction.open()
    assert extraction.state == "finished"
    assert extraction.frames == extraction.frames_computed == FRAMES
    assert extraction.failures == ()
    assert int(extraction.digest, 16) == dataset.digest()
    assert extraction.seconds > extraction.summary.compute_seconds > 0
    assert extraction.frames_per_second > 0
    assert extraction.lines[-1] == f"Next:   phoenix_ray.open({extraction.output!r})"


@pytest.mark.cluster
@pytest.mark.parametrize("mode", MODES)
def test_estimate_gives_the_bits_of_a_run(runs: dict[Mode, Extraction], mode: Mode, frame_folders: Path) -> None:
    dataset = runs[mode].open()
    for split, video_ids in VIDEOS.items():
        for video_id in video_ids:
            stored = dataset.load(split, video_id)
            fresh = phoenix_ray.estimate(frame_folders / split / video_id, model="synthetic", mode=mode)
            assert fresh.status == stored.status
            assert fresh.frame_names == stored.frame_names
            np.testing.assert_array_equal(fresh.sizes, stored.sizes)
            for part, points in stored.points.items():
                assert points.tobytes() == fresh.points[part].tobytes(), (video_id, part)
            for part, scores in stored.scores.items():
                assert scores.tobytes() == fresh.scores[part].tobytes(), (video_id, part)


@pytest.mark.cluster
def test_a_ray_of_this_process_stays_up(runs: dict[Mode, Extraction], frame_folders: Path, tmp_path: Path) -> None:
    before, handlers = dict(os.environ), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    extraction = phoenix_ray.extract(frame_folders, tmp_path, model="synthetic", splits="dev")
    assert ray.is_initialized()
    assert ray.get(ray.put(1)) == 1
    assert extraction.frames == 13
    assert dict(os.environ) == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    with pytest.raises(ClusterError, match=r"ray\.shutdown"):
        phoenix_ray.extract(frame_folders, tmp_path, model="synthetic", address="10.0.0.9:6379")


@pytest.mark.cluster
def test_a_relative_output_is_where_the_call_is_made_and_not_where_ray_was_started(
    runs: dict[Mode, Extraction], frame_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    extraction = phoenix_ray.extract(frame_folders, "landmarks", model="synthetic", splits="dev")
    assert extraction.frames_computed == 13
    assert len(phoenix_ray.open(tmp_path / "landmarks")) == len(VIDEOS["dev"])


@pytest.mark.cluster
def test_the_same_call_again_computes_nothing_and_needs_no_ray(
    runs: dict[Mode, Extraction],
    frame_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("init", "remote", "nodes", "cluster_resources"):
        monkeypatch.setattr(ray, name, lambda *_, **__: pytest.fail("Ray was used"))
    began = runs["static"]
    again = phoenix_ray.extract(frame_folders, began.output, model="synthetic", progress=False)
    assert replace(again, seconds=0, frames_computed=0, frames_per_second=0, summary=began.summary) == replace(
        began, seconds=0, frames_computed=0, frames_per_second=0
    )
    assert again.frames_computed == 0
    assert "nothing to compute" in repr(again)
    assert capfd.readouterr() == ("", "")


@pytest.mark.cluster
def test_the_command_line_in_this_process_joins_its_ray_too(
    runs: dict[Mode, Extraction], frame_folders: Path, tmp_path: Path
) -> None:
    """As in a notebook that runs the command without a process of its own."""
    words = [str(frame_folders), str(tmp_path), "model.name=synthetic", "--splits", "dev", "--num-workers", "1"]
    done = CliRunner().invoke(cli, ["run", *words])
    assert done.exit_code == 0, done.output
    assert "the cluster of this process" in done.stderr
    assert ray.is_initialized()


@pytest.mark.cluster
def test_a_thread_may_call_it(runs: dict[Mode, Extraction], frame_folders: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        extraction = pool.submit(
            phoenix_ray.extract, frame_folders, tmp_path, model="synthetic", splits=["dev", "test"], num_workers=1
        ).result()
    assert extraction.state == "finished"
    assert extraction.frames == 43


@pytest.mark.cluster
def test_a_run_with_failures_returns_and_says_so(
    runs: dict[Mode, Extraction], frame_folders: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"video_id,path,split\nalpha,{frame_folders}/train/alpha,train\ngone,{tmp_path}/no,train\n")
    extraction = phoenix_ray.extract(table, tmp_path / "output", model="synthetic", num_workers=1)
    assert extraction.state == "incomplete"
    (failure,) = extraction.failures
    assert (failure.split, failure.video_id) == ("train", "gone")
    assert f"{tmp_path}/no" in failure.message
    assert repr(extraction).startswith("<Extraction incomplete, 1 failed: 21 frames")
    said = capfd.readouterr().err
    assert "Finished, but 1 failure: not every frame has its row." in said
    assert "the same call   # tries them again" in said


@pytest.mark.cluster
def test_other_settings_are_refused_without_a_word_of_the_command_line(
    runs: dict[Mode, Extraction], frame_folders: Path
) -> None:
    with pytest.raises(FingerprintMismatchError) as raised:
        phoenix_ray.extract(frame_folders, runs["static"].output, model="synthetic", mode="tracking")
    assert "phoenix-ray run" not in str(raised.value)


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_caller_goes_on(
    runs: dict[Mode, Extraction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """SIGTERM is sent again when all is closed, to whoever had it; here that goes on too."""
    heard: list[int] = []

    def stop() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not any(tmp_path.glob("partitions/**/[0-9]*.parquet")):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        words: dict[str, Any] = {"model": "synthetic", "settings": {"source.kind": "synthetic"}, "num_workers": 1}
        stopped = phoenix_ray.extract(None, tmp_path, max_videos_per_split=4000, **words)
    finally:
        stopper.join()
        signal.signal(signal.SIGTERM, before)
    assert stopped.state == "stopped"
    assert heard == ([signal.SIGTERM] if number == signal.SIGTERM else [])
    assert not (tmp_path / "lease.json").exists()
    assert 0 < stopped.frames == stopped.frames_computed
    assert "Next:   the same call   # goes on from here" in stopped.lines


@pytest.mark.cluster
@pytest.mark.parametrize(
    "before", ["", "import ray; ray.init('local', num_cpus=1, include_dashboard=False)"], ids=["alone", "up"]
)
def test_workers_import_the_package_from_where_the_caller_has_it(
    frame_folders: Path, tmp_path: Path, before: str
) -> None:
    """Only `sys.path` names the caller's package, a copy whose model finds nobody; another is installed."""
    shutil.copytree(Path(phoenix_ray.__file__).parent, tmp_path / "copy" / "phoenix_ray")
    model = tmp_path / "copy" / "phoenix_ray" / "models" / "synthetic.py"
    model.write_text(model.read_text().replace("NO_PERSON_OF_16 = 1\n", "NO_PERSON_OF_16 = 16\n"))
    program = f"""
import sys
{before}
sys.path.insert(0, {str(tmp_path / "copy")!r})
import phoenix_ray
words = dict(model="synthetic", splits="dev", num_workers=1)
print(phoenix_ray.extract({str(frame_folders)!r}, {str(tmp_path / "output")!r}, **words).counts)
"""
    assert run_apart(program) == ["{'no_person': 13}"]


def run_apart(program: str) -> list[str]:
    """Run a program that finds the package by itself, elsewhere, and return the lines that it prints."""
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd="/", timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.cluster
def test_a_script_with_nothing_started_has_a_ray_that_ends_with_the_call(frame_folders: Path, tmp_path: Path) -> None:
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(phoenix_ray.__file__).parents[1])!r})
import phoenix_ray
import ray  # which sets variables
before = dict(os.environ), signal.getsignal(signal.SIGTERM)
for split in ("dev", "test"):
    words = dict(model="synthetic", splits=split, num_workers=1)
    done = phoenix_ray.extract({str(frame_folders)!r}, {str(tmp_path)!r}, **words)
    print(done.state, done.frames)
print(ray.is_initialized(), before == (dict(os.environ), signal.getsignal(signal.SIGTERM)))
"""
    assert run_apart(program) == ["finished 13", "finished 43", "False True"]


@pytest.mark.cluster
def test_calls_at_the_same_time_take_turns_with_a_ray_of_their_own(frame_folders: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, {str(Path(phoenix_ray.__file__).parents[1])!r})
import phoenix_ray
import ray
words = dict(model="synthetic", num_workers=1, progress=False)
with ThreadPoolExecutor(2) as pool:
    calls = [
        pool.submit(phoenix_ray.extract, {str(frame_folders)!r}, {str(tmp_path)!r} + "/" + split, splits=split, **words)
        for split in ("dev", "test")
    ]
for call in calls:
    print(call.result().state, call.result().frames)
print(ray.is_initialized())
"""
    assert run_apart(program) == ["finished 13", "finished 30", "False"]
