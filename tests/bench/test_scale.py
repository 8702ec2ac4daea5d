from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.bench import scale_dataset
from phoenix_ray.bench.machine import Machine
from phoenix_ray.bench.scale import ScaleReport
from phoenix_ray.bench.scale_measure import Cost, resume, settings_for, stage
from phoenix_ray.dataset.reader import Dataset
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


def test_a_resume_that_is_not_whole_is_no_measurement(tmp_path: Path) -> None:
    stage(settings_for(3, tmp_path))
    with pytest.raises(RuntimeError, match="1 shards are missing"):
        resume(settings_for(4, tmp_path))


def report(seconds: float = 1.0, peak_mb: float = 100.0, rate: float = 600.0) -> ScaleReport:
    steps = {"sweep": 0.1, "committed": 0.1, "plan": 0.1, "totals": 0.1, "data_files": 3.0}
    run = Cost(10.0, 5.0, 200.0, {"shards_per_second": rate})
    cost = Cost(seconds, 0.5, peak_mb, steps)
    return ScaleReport(Machine("a CPU", 2, "Linux", 0.1), {1_000: cost}, {1_000: cost}, 100, run, run)


def test_what_keeps_the_bars_misses_none() -> None:
    assert report().missed == []
    assert "1,000 | 1.0 s | 0.5 s | 100 MB" in report().to_markdown()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (report(seconds=61.0), ["plan of 1,000: 61.0, at most 60", "resume of 1,000: 61.0, at most 60"]),
        (report(peak_mb=1001.0), ["memory at 1,000: 1,001.0, at most 1000"] * 2),
        (report(rate=499.0), ["null work: 499 shards/s, at least 500"]),
    ],
)
def test_a_missed_bar_is_named(found: ScaleReport, said: list[str]) -> None:
    assert found.missed == said
    assert all(f"missed: {sentence}" in found.to_markdown() for sentence in said)
