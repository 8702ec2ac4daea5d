from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import ray

from phoenix_ray.cluster import auto, job
from phoenix_ray.cluster.auto import (
    FRAMES,
    cpu_workers_per_gpu,
    decide_auto,
    run_trial,
    sample_frames,
    typical_length,
)
from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.claim import claim_output, make_identity
from phoenix_ray.cluster.session import RaySession
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.commands.plan import print_plan
from phoenix_ray.config import ClusterSettings, DecodeSettings, Settings, SourceSettings
from phoenix_ray.dataset.identity import claim_dataset, read_identity
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.errors import ConfigError, DeviceLostError, ModelError, OutputError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import Trial, TrialConditions, TrialDecision
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.registry import open_source

SETTINGS = Settings(cluster=ClusterSettings(workers_per_gpu=2, start_seconds=60.0))
RESOURCES = {"CPU": 4.0, "GPU": 1.0}
TORCH = ModelSettings(engine="torch", device="cuda")
LITERT = ModelSettings(engine="litert")

Hold = Callable[[TrialConditions], TrialDecision]


@pytest.fixture(scope="module")
def source(frame_folders: Path) -> Source:
    return open_source(SourceSettings(path=str(frame_folders)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One GPU by name: what is reserved can be seen without one."""
    ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Need neither weights nor torch."""
    monkeypatch.setattr(registry, "ensure_ready", lambda *_: None)


def of_engine(hold: Hold) -> Trial:
    return Trial(TORCH, LITERT, "Engine litert, since torch could not be tried", hold)


def of_batch_size(hold: Hold) -> Trial:
    return Trial(TORCH, TORCH, "Batch size 128, since it could not be measured", hold)


def held(trial: Trial, source: Source, settings: Settings = SETTINGS) -> tuple[ModelSettings, list[str]]:
    """Return what was decided, and what was said after the line that begins a trial."""
    said: list[str] = []
    decided = run_trial(settings, trial, source, Cluster(RESOURCES), said.append)
    assert said.pop(0) == "Trying a GPU, once for this dataset"
    return decided, said


def no_device(conditions: TrialConditions) -> TrialDecision:
    raise ModelError("no CUDA device here")


@pytest.mark.usefixtures("cluster", "prepared")
class TestOnACluster:
    def test_a_worker_s_share_is_reserved_and_the_decision_is_taken_and_reported(self, source: Source) -> None:
        def hold(conditions: TrialConditions) -> TrialDecision:
            share = ray.get_runtime_context().get_assigned_resources()
            shapes = {image.shape for image in conditions.images}
            said = (
                f"{len(conditions.images)} images {shapes}, {conditions.video_frames} frames, {share['GPU']} GPU, "
                f"{share['CPU']} CPU, {conditions.workers_per_gpu} on a GPU, {conditions.cpu_workers_per_gpu} on CPUs"
            )
            return TrialDecision(TORCH.model_copy(update={"batch_size": 96}), said)

        model, said = held(of_engine(hold), source)
        assert model == ModelSettings(engine="torch", device="cuda", batch_size=96)
        assert said == ["48 images {(26, 21, 3)}, 21 frames, 0.5 GPU, 1.0 CPU, 2 on a GPU, 4.0 on CPUs"]

    def test_a_node_without_the_device_leaves_the_engine_that_holds_without(self, source: Source) -> None:
        model, said = held(of_engine(no_device), source)
        assert (model, said) == (LITERT, ["Engine litert, since torch could not be tried: no CUDA device here"])

    def test_a_device_that_was_asked_for_and_is_not_there_stops_the_run_with_the_node_s_words(
        self, source: Source
    ) -> None:
        with pytest.raises(ModelError, match="no CUDA device here"):
            held(of_batch_size(no_device), source)

    @pytest.mark.parametrize("kind", [of_engine, of_batch_size])
    def test_a_trial_that_fails_leaves_what_holds_without(self, source: Source, kind: Callable[[Hold], Trial]) -> None:
        def raises(conditions: TrialConditions) -> TrialDecision:
            raise RuntimeError("CUDA error: misaligned address\nmore")

        def loses(conditions: TrialConditions) -> TrialDecision:
            raise DeviceLostError("This process cannot use its GPU any more.")

        def dies(conditions: TrialConditions) -> TrialDecision:
            os._exit(1)

        failing = kind(raises)
        model, said = held(failing, source)
        assert (model, said) == (failing.fallback, [f"{failing.fallback_notice}: CUDA error: misaligned address"])
        assert held(kind(loses), source)[0] == failing.fallback
        assert held(kind(dies), source)[0] == failing.fallback

    def test_a_trial_that_takes_for_ever_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, source: Source
    ) -> None:
        monkeypatch.setattr(auto, "PATIENCE_SECONDS", 0.0)
        hurried = Settings(cluster=ClusterSettings(start_seconds=0.01))

        def sleeps(conditions: TrialConditions) -> TrialDecision:
            time.sleep(600)
            raise AssertionError("nobody waits for this")

        model, said = held(of_engine(sleeps), source, hurried)
        assert model == LITERT
        assert said == ["Engine litert, since torch could not be tried: no node had done so after 0.01 s"]

    def test_a_source_without_a_readable_frame_is_not_tried(self, tmp_path: Path) -> None:
        (tmp_path / "train" / "clip").mkdir(parents=True)
        (tmp_path / "train" / "clip" / "0.png").write_bytes(b"no picture")
        unreadable = open_source(SourceSettings(path=str(tmp_path)))
        model, said = held(of_engine(no_device), unreadable)
        assert model == LITERT
        assert said == ["Engine litert, since torch could not be tried: no frame of the first 32 videos can be read"]


def test_what_the_driver_lacks_is_reported_before_a_gpu_is_taken(
    monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    def prepare(settings: ModelSettings, announce: Callable[[str], None]) -> None:
        assert settings == TORCH
        raise ConfigError("model.engine=torch needs the extra [torch]")

    monkeypatch.setattr(registry, "ensure_ready", prepare)
    model, said = held(of_engine(no_device), source)
    assert (model, len(said)) == (LITERT, 1)
    assert said[0].endswith("needs the extra [torch]")
    with pytest.raises(ConfigError):
        held(of_batch_size(no_device), source)


class ClusterOfGpus(RaySession):
    """A cluster with made-up resources, which never starts."""

    def cluster(self) -> Cluster:
        return Cluster(RESOURCES)


def on_gpus(frame_folders: Path, output: Path) -> Settings:
    return Settings.model_validate({"source": {"path": str(frame_folders)}, "output": {"path": str(output)}})


def decided(settings: Settings, trial: Trial, *_: object) -> ModelSettings:
    return trial.candidate.model_copy(update={"batch_size": 96})


def begin(settings: Settings, source: Source) -> Settings:
    """Claim the output, decide and record, as a run does; return the settings that it goes on with."""
    with claim_output(settings) as claim:
        settings = decide_auto(settings, claim.storage, source, ClusterOfGpus(settings.cluster, print), print)
        claim_dataset(claim.storage, make_identity(settings, source.root))
    return settings


class HeadAlone(RaySession):
    """An autoscaling cluster without a node yet, which never starts."""

    def cluster(self) -> Cluster:
        return Cluster({}, autoscales=True)


@pytest.mark.parametrize(
    ("num_gpus", "engine", "decided_for", "said"),
    [("auto", "auto", "litert", True), (2, "auto", "torch", False), ("auto", "torch", "torch", False)],
)
def test_gpus_that_may_come_are_counted_on_where_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
    source: Source,
    tmp_path: Path,
    num_gpus: int | Literal["auto"],
    engine: Literal["auto", "torch"],
    decided_for: str,
    said: bool,
) -> None:
    monkeypatch.setattr(auto, "run_trial", decided)
    cluster = ClusterSettings(num_gpus=num_gpus)
    settings = Settings(cluster=cluster, model=ModelSettings(engine=engine))
    lines: list[str] = []
    storage = open_storage(str(tmp_path))
    model = decide_auto(settings, storage, source, HeadAlone(cluster, print), lines.append).model
    assert model.engine == decided_for
    assert model.device == ("cuda" if decided_for == "torch" else "auto")
    assert any("No node has a GPU now" in line for line in lines) == said


def test_a_run_tries_the_gpu_for_a_new_dataset_once_and_keeps_to_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, frame_folders: Path, source: Source, tmp_path: Path
) -> None:
    settings = on_gpus(frame_folders, tmp_path / "output")
    trials: list[Trial] = []

    def run(settings: Settings, trial: Trial, *_: object) -> ModelSettings:
        trials.append(trial)
        return decided(settings, trial)

    monkeypatch.setattr(auto, "run_trial", run)
    expected = ModelSettings(engine="torch", device="cuda", batch_size=96)
    # What a dataset was begun with is named from then on.
    for kernels in ("auto", "triton"):
        assert begin(settings, source).model == expected.model_copy(update={"kernels": kernels})
        recorded = read_identity(open_storage(settings.output.path)).model
        assert (recorded["engine"], recorded["batch_size"]) == ("torch", "96")
    assert len(trials) == 1


def test_of_two_drivers_that_start_at_once_the_second_is_refused_before_it_tries_anything(
    monkeypatch: pytest.MonkeyPatch, frame_folders: Path, tmp_path: Path
) -> None:
    settings = on_gpus(frame_folders, tmp_path / "output")
    now = time.time()
    # The first is another process, and may be at its trial: the lease is all that it has written.
    first = LeaseHolder("first", socket.gethostname(), os.getppid(), since=now, heartbeat=now)
    open_storage(settings.output.path).write("lease.json", json.dumps(asdict(first)).encode())

    def run(*_: object) -> ModelSettings:
        raise AssertionError("the second tries a GPU")

    monkeypatch.setattr(job, "RaySession", ClusterOfGpus)
    monkeypatch.setattr(auto, "run_trial", run)
    with pytest.raises(OutputError, match="is being written by the run first"):
        job.run_job(settings)


def test_a_plan_tries_nothing_and_says_so_of_a_new_dataset(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frame_folders: Path,
    source: Source,
    tmp_path: Path,
) -> None:
    settings = on_gpus(frame_folders, tmp_path / "output")
    monkeypatch.setattr("phoenix_ray.cluster.session.RaySession", ClusterOfGpus)
    print_plan(settings)
    said = capsys.readouterr().out
    assert "Planned with engine litert and batch size 16: a plan tries nothing." in said
    assert "`run` first tries torch on a worker's GPU" in said
    monkeypatch.setattr(auto, "run_trial", decided)
    begin(settings, source)
    print_plan(settings)
    assert "a plan tries nothing" not in capsys.readouterr().out


def test_cpu_workers_are_counted_for_each_gpu_that_would_be_used() -> None:
    on_gpus, on_cpus = WorkerPlan(4, cpus=1, gpus=0.5, memory_mb=0), WorkerPlan(64, cpus=1, gpus=0, memory_mb=0)
    assert cpu_workers_per_gpu(on_gpus, on_cpus, {"CPU": 64, "GPU": 8}) == 32
    assert cpu_workers_per_gpu(on_gpus, on_cpus, {"CPU": 16, "GPU": 1}) == 16


def video(location: Path | str, frames: int) -> Video:
    return Video("train", "clip", "frame_folder", str(location), frames, "signature")


def test_the_typical_length_is_the_median_and_no_longer_than_a_shard() -> None:
    videos = [video("anywhere", frames) for frames in (3, 40, 700)]
    assert typical_length(videos, 512) == 40
    assert typical_length(videos, 16) == 16


def test_frames_are_from_the_middle_of_each_video_or_of_its_first_shard(frame_folders: Path) -> None:
    clip = video(frame_folders / "train" / "beta/take 2", 40)
    frames = sample_frames([clip] * 12, 512, DecodeSettings())
    assert len(frames) == FRAMES
    middle = sample_frames([video(clip.location, 40)] * 12, 22, DecodeSettings())
    whole = sample_frames([clip], 512, DecodeSettings())
    assert len(whole) == 40
    np.testing.assert_array_equal(frames[:4], whole[18:22])
    np.testing.assert_array_equal(middle[:4], whole[9:13])


def test_videos_that_cannot_be_read_are_made_up_for_by_later_ones(frame_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")
    unreadable = [video(tmp_path / "nowhere", 9), video(tmp_path, 1)] * 6
    sound = video(frame_folders / "train" / "alpha", 21)
    assert len(sample_frames([*unreadable, *[sound] * 20], 512, DecodeSettings())) == FRAMES
    assert sample_frames(unreadable, 512, DecodeSettings()) == []
    assert sample_frames([], 512, DecodeSettings()) == []
