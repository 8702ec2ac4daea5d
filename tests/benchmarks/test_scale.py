from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import scale, scale_dataset
from benchmarks.results import judge, read_bars
from benchmarks.scale import Growth, quantities, sizes_up_to
from benchmarks.scale_measure import Cost, measure, rerun, resume, settings_for, stage
from benchmarks.suites import Request
from phoenix_ray.config import Settings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.sources.synthetic import make_video


def test_a_staged_dataset_is_one_that_a_run_has_nothing_to_do_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_dataset, "VIDEOS_PER_FILE", 20)
    settings = settings_for(50, tmp_path / "dataset")
    stage(settings)
    found = resume(settings)
    assert (found["data_files"], found["partitions"]) == (3, 0)
    dataset = Dataset.open(settings.output.path)
    assert len(dataset) == 50
    video = make_video(33, 1)
    assert dataset.read_video(video.split, video.video_id).column("video_id").to_pylist() == [video.video_id]
    assert set(rerun(settings)) == {"seconds", "cpu_seconds", "peak_mb"}


def test_a_resume_with_missing_rows_is_not_measured(tmp_path: Path) -> None:
    stage(settings_for(3, tmp_path))
    with pytest.raises(RuntimeError, match="1 shards are missing"):
        resume(settings_for(4, tmp_path))


def test_a_measurement_that_fails_in_its_process_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(PhoenixRayError, match="resume failed"):
        measure(resume, settings_for(4, tmp_path))


def ask(output: Path, announced: list[str], videos: int = 200) -> Request:
    return Request(None, 1, 1, 1, False, videos, output, output, announced.append)


@pytest.mark.slow
def test_some_hundred_videos_are_planned_resumed_and_driven_through_ray(tmp_path: Path) -> None:
    found = scale.run(ask(tmp_path, []))
    sizes, command, runs = found.tables
    assert [row[0] for row in sizes.rows] == ["200"]
    assert command.rows[0][0] == "the command when all of 200 videos are committed"
    assert [row[0] for row in runs.rows] == ["null work", "one frame each, committed"]
    for table in found.tables:
        assert {len(row) for row in table.rows} == {len(table.head)}
    assert all(spread.low > 0 for spread in found.quantities.values())
    (staged,) = tmp_path.iterdir()
    assert len(Dataset.open(str(staged))) == 200


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace measurements by ones that do nothing; returns which were made, and of how many videos."""
    made: list[tuple[str, int]] = []
    found = dict.fromkeys(("shards_per_second", "seconds", "cpu_seconds", "peak_mb", "data_files"), 1.0)

    def measure(action: Callable[..., object], settings: Settings) -> Cost:
        made.append((action.__name__, settings.source.max_videos_per_split or 0))
        if action.__name__ == "stage":
            Path(settings.output.path).mkdir()
        return Cost(1.0, 1.0, 1.0, found | dict.fromkeys(scale.RESUME_STEPS, 1.0))

    monkeypatch.setattr(scale, "measure", measure)
    return made


def test_datasets_are_written_once_and_found_by_the_next_run(
    tmp_path: Path, without_processes: list[tuple[str, int]]
) -> None:
    announced: list[str] = []
    scale.run(ask(tmp_path, announced, 20_000))
    written = [videos for name, videos in without_processes if name == "stage"]
    assert written == [1_000, 8_257, 20_000]
    assert sum("writing a dataset" in line for line in announced) == 3
    scale.run(ask(tmp_path, announced, 20_000))
    assert [videos for name, videos in without_processes if name == "stage"] == written
    assert sum("exists already: delete it" in line for line in announced) == 3


def test_the_command_is_typed_again_for_as_many_videos_as_phoenix_has(
    tmp_path: Path, without_processes: list[tuple[str, int]]
) -> None:
    scale.run(ask(tmp_path, [], 20_000))
    of_runs = [one for one in without_processes if one[0] in ("rerun", "drive_nothing", "drive")]
    assert of_runs == [("rerun", 8_257), ("drive_nothing", 10_000), ("drive", 10_000)]


def test_the_last_size_is_the_one_that_was_asked_for() -> None:
    assert sizes_up_to(300) == [300]
    assert sizes_up_to(1_000) == [1_000]
    assert sizes_up_to(1_000_000) == [1_000, 8_257, 100_000, 1_000_000]


def grown(videos: int = 1_000_000, seconds: float = 1.0, peak_mb: float = 100.0, rate: float = 600.0) -> Growth:
    cost = {videos: [Cost(seconds, 0.5, peak_mb)]}
    command = [Cost(1.0, 0.5, 100.0, {"seconds": seconds})]
    run = [Cost(10.0, 5.0, 200.0, {"shards_per_second": rate})]
    return Growth(cost, cost, min(videos, 8_257), command, min(videos, 10_000), run, run)


@pytest.mark.parametrize(
    ("growth", "missed"),
    [
        (grown(), []),
        (grown(seconds=4.0), ["seconds of the command when 8,257 videos are committed"]),
        (
            grown(seconds=61.0),
            [
                "seconds to plan 1,000,000 videos",
                "seconds to resume 1,000,000 videos",
                "seconds of the command when 8,257 videos are committed",
            ],
        ),
        (grown(peak_mb=1001.0), ["driver's memory for 1,000,000 videos, MB"]),
        (grown(rate=499.0), ["shards/s of null work, 10,000 shards"]),
    ],
)
def test_the_bars_judge_a_million_videos(growth: Growth, missed: list[str]) -> None:
    verdicts = judge(quantities(growth), read_bars("scale"))
    assert [verdict.bar.quantity for verdict in verdicts if verdict.met is False] == missed
    assert all(verdict.measured for verdict in verdicts)


def test_a_smaller_dataset_is_held_against_no_bar() -> None:
    verdicts = judge(quantities(grown(300, seconds=1000.0)), read_bars("scale"))
    assert {verdict.met for verdict in verdicts} == {None}
