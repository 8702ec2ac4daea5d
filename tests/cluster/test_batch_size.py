from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from phoenix_ray.cluster import batch_size, job, preview
from phoenix_ray.cluster.batch_size import measure_batch_size, typical_video
from phoenix_ray.cluster.session import RaySession
from phoenix_ray.config import ClusterSettings, DecodeSettings, ModelSettings, Settings, SourceSettings
from phoenix_ray.errors import ModelError
from phoenix_ray.models.base import BatchChoice, BatchProbe, TypicalVideo
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.catalog import open_source

SETTINGS = Settings(
    model=ModelSettings(engine="torch", device="cuda"), cluster=ClusterSettings(workers_per_gpu=2, start_seconds=60.0)
)
RESOURCES = {"CPU": 1.0, "GPU": 1.0}


@pytest.fixture(scope="module")
def source(frame_folders: Path) -> Source:
    return open_source(SourceSettings(path=str(frame_folders)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One GPU by name: what is reserved can be seen without one."""
    ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def measured(probe: BatchProbe, source: Source, settings: Settings = SETTINGS) -> tuple[int, list[str]]:
    said: list[str] = []
    return measure_batch_size(settings, probe, source, RESOURCES, said.append), said


@pytest.mark.usefixtures("cluster")
class TestOnACluster:
    def test_a_worker_s_share_is_reserved_and_the_result_is_told(self, source: Source) -> None:
        def probe(video: TypicalVideo, workers: int) -> BatchChoice:
            share = ray.get_runtime_context().get_assigned_resources()
            return BatchChoice(96, f"{video.width}x{video.height}, {video.frames} frames, {workers} workers, {share}")

        size, said = measured(probe, source)
        assert size == 96
        (line,) = said
        assert line.startswith("Batch size 96, as measured: 21x26, 21 frames, 2 workers, ")
        assert "'GPU': 0.5" in line
        assert "'CPU': 1.0" in line

    def test_a_device_that_is_not_there_stops_the_run_with_the_node_s_words(self, source: Source) -> None:
        def probe(video: TypicalVideo, workers: int) -> BatchChoice:
            raise ModelError("no CUDA device here")

        with pytest.raises(ModelError, match="no CUDA device here"):
            measured(probe, source)

    def test_a_measurement_that_fails_leaves_the_size_that_holds_without(self, source: Source) -> None:
        def raises(video: TypicalVideo, workers: int) -> BatchChoice:
            raise RuntimeError("CUDA error: misaligned address\nmore")

        def dies(video: TypicalVideo, workers: int) -> BatchChoice:
            os._exit(1)

        size, said = measured(raises, source)
        assert (size, said) == (128, ["Batch size 128: it could not be measured (CUDA error: misaligned address)."])
        assert measured(dies, source)[0] == 128

    def test_a_node_that_never_comes_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
        monkeypatch.setattr(batch_size, "PROBE_PATIENCE_SECONDS", 0.0)
        busy = SETTINGS.model_copy(update={"cluster": ClusterSettings(cpus_per_worker=1, start_seconds=0.01)})

        def sleeps(video: TypicalVideo, workers: int) -> BatchChoice:
            raise AssertionError("nobody waits for this")

        size, said = measured(sleeps, source, busy)
        assert (size, said) == (
            128,
            ["Batch size 128: it could not be measured (no node had done so after 0.01 s)."],
        )


class ClusterOfGpus(RaySession):
    """A cluster that is told of and never started."""

    def resources(self) -> dict[str, float]:
        return RESOURCES


def on_gpus(frame_folders: Path, output: Path) -> Settings:
    tree = {"source": {"path": str(frame_folders)}, "output": {"path": str(output)}, "model": {"engine": "torch"}}
    return Settings.model_validate(tree)


def test_a_run_measures_a_new_dataset_once_and_keeps_to_it(
    monkeypatch: pytest.MonkeyPatch, frame_folders: Path, source: Source, tmp_path: Path
) -> None:
    settings = on_gpus(frame_folders, tmp_path / "output")
    sizes = iter([96])
    monkeypatch.setattr(job, "measure_batch_size", lambda *_: next(sizes))
    for _ in range(2):
        with job.open_job(settings, source, ClusterOfGpus(settings.cluster, print)) as opened:
            assert opened.settings.model.batch_size == 96
            assert opened.identity.model["batch_size"] == "96"


def test_a_plan_measures_nothing_and_says_so_of_a_new_dataset(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frame_folders: Path,
    source: Source,
    tmp_path: Path,
) -> None:
    settings = on_gpus(frame_folders, tmp_path / "output")
    monkeypatch.setattr(preview, "RaySession", ClusterOfGpus)
    preview.preview(settings)
    assert "Batch size: 128 for this plan, which measures nothing" in capsys.readouterr().out
    monkeypatch.setattr(job, "measure_batch_size", lambda *_: 96)
    with job.open_job(settings, source, ClusterOfGpus(settings.cluster, print)):
        pass
    preview.preview(settings)
    assert "Batch size" not in capsys.readouterr().out


def video(location: Path | str, frames: int) -> Video:
    return Video("train", "clip", "frame_folder", str(location), frames, "signature")


def test_the_typical_video_is_as_long_as_the_median_and_no_longer_than_a_shard(frame_folders: Path) -> None:
    folder = frame_folders / "train" / "alpha"
    videos = [video(folder, frames) for frames in (3, 40, 700)]
    assert typical_video(videos, 512, DecodeSettings()) == TypicalVideo(height=26, width=21, frames=40)
    assert typical_video(videos, 16, DecodeSettings()).frames == 16


def test_videos_that_cannot_be_read_are_passed_over(frame_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")
    unreadable = [video(tmp_path / "nowhere", 9), video(tmp_path, 1)]
    sound = video(frame_folders / "train" / "alpha", 21)
    assert typical_video([*unreadable, sound], 512, DecodeSettings()).height == 26
    assert typical_video(unreadable, 512, DecodeSettings()) == TypicalVideo(260, 210, frames=5)
    assert typical_video([], 512, DecodeSettings()) == TypicalVideo(260, 210, frames=512)
