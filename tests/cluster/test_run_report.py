"""The report at the end of a run (`run.report`)."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.cluster.claim import Claim
from phoenix_ray.cluster.job import write_run_report
from phoenix_ray.cluster.summary import RunSummary
from phoenix_ray.cluster.worker import Timings
from phoenix_ray.config import RunSettings, Settings, SourceSettings
from phoenix_ray.dataset.lease import keep_lease
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from phoenix_ray.sources.registry import open_source
from tests.cluster.conftest import Run
from tests.report.made_up import Page, write_source, write_troubled_dataset

SUMMARY = RunSummary("run", "finished", "", 1.0, 1.0, 1, 1, 0, Timings(), 1.0, "", {}, {})


class Ending:
    """A run that has ended, and what is said at its end."""

    def __init__(self, folder: Path) -> None:
        self.storage = LocalStorage(write_troubled_dataset(folder / "dataset"))
        self.source = open_source(SourceSettings(path=write_source(folder / "source")))
        self.said: list[str] = []

    def write(self, report: Any = "skeletons", summary: RunSummary = SUMMARY) -> Page | None:
        settings = Settings(run=RunSettings(report=report))
        with keep_lease(self.storage, "run") as lease, ExitStack() as beginning:
            claim = Claim(self.storage, lease, "run", None, beginning)
            write_run_report(settings, claim, self.source, summary, self.said.append)
        file = Path(self.storage.root) / "runs" / "run" / "report.html"
        return Page(file.read_text(encoding="utf-8")) if file.is_file() else None


@pytest.fixture
def ending(tmp_path: Path) -> Ending:
    return Ending(tmp_path)


def test_it_lies_beside_the_summary_and_its_place_is_said(ending: Ending) -> None:
    page = ending.write()
    assert page is not None
    assert ending.said == [f"Report: {ending.storage.root}/runs/run/report.html"]
    assert not any(picture["alt"].startswith("frame ") for picture in page.pictures())


def test_frames_are_in_it_only_where_that_was_asked_for(ending: Ending) -> None:
    page = ending.write("frames")
    assert page is not None
    assert any(picture["alt"] == "frame 7 of train/b" for picture in page.pictures())


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (replace(SUMMARY, state="stopped"), "No report, because the run was stopped. `phoenix-ray report "),
        (replace(SUMMARY, share="0/2", videos_missing=3), "No report yet: the share that completes the dataset"),
    ],
)
def test_a_run_that_is_not_through_writes_none_and_says_why(ending: Ending, summary: RunSummary, said: str) -> None:
    assert ending.write(summary=summary) is None
    (line,) = ending.said
    assert line.startswith(said)


@pytest.mark.parametrize("error", [OutputError("the disk is full"), MemoryError(), KeyboardInterrupt()])
def test_a_report_that_cannot_be_made_says_why_and_does_no_harm(
    ending: Ending, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*words: object) -> None:
        raise error

    monkeypatch.setattr("phoenix_ray.report.findings.examine", fail)
    assert ending.write() is None
    (line,) = ending.said
    assert str(error) in line
    assert "`phoenix-ray report " in line


@pytest.mark.cluster
def test_a_run_writes_it_on_request_with_the_time_of_each_node(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    words = [f"source.path={frame_folders}", f"output.path={tmp_path}", "model.name=synthetic", "--num-workers", "1"]
    done = run_command("run", *words, "run.report=skeletons")
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/*/report.html")
    assert f"Report: {file}" in done.stderr
    summary = json.loads((file.parent / "summary.json").read_text(encoding="utf-8"))
    (node,) = summary["nodes"]
    assert summary["nodes"][node] == pytest.approx(summary["timings"])
    page = Page(file.read_text(encoding="utf-8"))
    assert summary["digest"] in page.text
    assert "Workers' time by node" in page.text
    assert run_command("check", str(tmp_path)).returncode == 0
