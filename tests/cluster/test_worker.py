from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import ClusterSettings, OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.partitions import write_partition
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import DeviceLostError, ModelError
from phoenix_ray.estimation import estimate_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import PoseModel
from phoenix_ray.sources.base import Video

FRAMES = 20


@pytest.fixture
def video(tmp_path: Path) -> Video:
    folder = tmp_path / "video"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(FRAMES):
        picture = np.full((26, 21, 3), random.integers(60, 200), np.uint8)
        cv2.imwrite(str(folder / f"images{index + 1:04}.png"), picture)
    return Video("train", "video", "frame_folder", str(folder), FRAMES, "signature", 25.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        model=ModelSettings(name="synthetic", batch_size=4), output=OutputSettings(path=str(tmp_path / "output"))
    )


def worker(settings: Settings) -> ShardWorker:
    one = ShardWorker(settings, DatasetIdentity(layout="holistic-468"))
    one.ready()
    return one


def test_a_worker_commits_a_shard_and_answers_with_a_receipt(video: Video, settings: Settings) -> None:
    receipt = worker(settings).process(Shard(video, 0, FRAMES))
    assert receipt.trouble is None
    assert receipt.partition is not None
    assert receipt.partition.rows == FRAMES
    assert Path(settings.output.path, receipt.partition.name).is_file()
    assert receipt.timings.inference > 0


def test_a_partition_says_what_computed_it(video: Video, settings: Settings) -> None:
    receipt = worker(settings).process(Shard(video, 0, FRAMES))
    assert receipt.partition is not None
    assert receipt.partition.tally.kernels == {registry.kernels(settings.model): FRAMES}


@pytest.mark.parametrize(("field", "value"), [("architecture", "aarch64-imagined"), ("litert", "1.4.0")])
def test_a_worker_that_would_find_other_landmarks_does_not_start(settings: Settings, field: str, value: str) -> None:
    litert = settings.model_copy(update={"model": ModelSettings(engine="litert")})
    recorded = {**registry.facts(litert.model).identity, field: value}
    with pytest.raises(ModelError, match=f"would compute other landmarks than the dataset has .{field}: {value} →"):
        ShardWorker(litert, DatasetIdentity("holistic-468", recorded)).ready()


def test_a_worker_that_cannot_see_the_source_blames_the_infrastructure_and_commits_nothing(
    video: Video, settings: Settings
) -> None:
    one = worker(settings)
    Path(video.location).rename(Path(video.location).with_name("elsewhere"))
    receipt = one.process(Shard(video, 0, FRAMES))
    assert receipt.partition is None
    assert receipt.trouble is not None
    assert receipt.trouble.failure_class == "infrastructure"
    assert video.location in receipt.trouble.message


def test_a_worker_that_cannot_write_blames_the_infrastructure(video: Video, settings: Settings) -> None:
    one = worker(settings)
    Path(settings.output.path).parent.mkdir(parents=True, exist_ok=True)
    Path(settings.output.path).write_text("a file where the folder should be")
    receipt = one.process(Shard(video, 0, FRAMES))
    assert receipt.partition is None
    assert receipt.trouble is not None
    assert receipt.trouble.failure_class == "infrastructure"
    assert settings.output.path in receipt.trouble.message


def test_a_worker_that_lost_its_gpu_asks_to_be_replaced_and_tries_no_frame_alone(
    video: Video, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(settings)
    calls = []

    def refuse(images: list[Any]) -> Any:
        calls.append(len(images))
        raise DeviceLostError("This process cannot use its GPU any more.")

    monkeypatch.setattr(one._model, "estimate", refuse)
    receipt = one.process(Shard(video, 0, FRAMES))
    assert receipt.partition is None
    assert receipt.trouble is not None
    assert receipt.trouble.device_lost
    assert receipt.trouble.fatal, "a frame may be to blame, and is searched for"
    assert receipt.trouble.message == "This process cannot use its GPU any more."
    assert calls == [4]


@pytest.mark.parametrize(
    ("workers", "given", "share"), [(1, 1.0, 1.0), (1, 0.8, 0.8), (2, 1.0, 0.5), (2, 0.4, 0.4), (4, 0.5, 0.25)]
)
def test_workers_on_a_gpu_cannot_take_more_memory_together_than_it_has(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int, given: float, share: float
) -> None:
    created: list[ModelSettings] = []
    create = registry.create

    def note(model: ModelSettings) -> PoseModel:
        created.append(model)
        return create(model)

    monkeypatch.setattr(registry, "create", note)
    model = settings.model.model_copy(update={"memory_fraction": given})
    worker(settings.model_copy(update={"model": model, "cluster": ClusterSettings(workers_per_gpu=workers)}))
    assert created[0].memory_fraction == share


def test_a_condemned_frame_is_committed_as_failed_without_being_read(video: Video, settings: Settings) -> None:
    one = worker(settings)
    for picture in Path(video.location).iterdir():
        picture.write_bytes(b"whoever decodes this dies")
    receipt = one.flag(Shard(video, 5, 6), "The worker process died.")
    assert receipt.trouble is None
    assert receipt.partition is not None
    row = pq.read_table(Path(settings.output.path, receipt.partition.name), partitioning=None).to_pylist()[0]
    assert (row["frame_index"], row["frame_name"], row["timestamp"]) == (5, "images0006.png", 0.2)
    assert (row["status"], row["error"]) == ("failed", "The worker process died.")
    assert row["pose_x"] is None


def test_a_range_that_cuts_through_a_batch_says_so(video: Video, settings: Settings) -> None:
    one = worker(settings)
    assert one.process(Shard(video, 0, 8)).events == ()
    assert one.process(Shard(video, 16, FRAMES)).events == ()
    assert one.process(Shard(video, 8, 10)).events == ("computed apart from other frames of their batch",)


def test_rows_are_written_while_the_next_shard_is_computed(
    video: Video, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(settings)
    second_is_computed = threading.Event()

    def estimate_and_tell(*arguments: Any) -> Any:
        if arguments[2] == 12:
            second_is_computed.set()
        return estimate_frames(*arguments)

    def write_later(*arguments: Any) -> Any:
        if arguments[3].first == 0:
            assert second_is_computed.wait(30), "nobody computed while the first shard was written"
        return write_partition(*arguments)

    monkeypatch.setattr("phoenix_ray.cluster.worker.estimate_frames", estimate_and_tell)
    monkeypatch.setattr("phoenix_ray.cluster.worker.write_partition", write_later)
    with ThreadPoolExecutor(2) as calls:
        receipts = list(calls.map(one.process, [Shard(video, 0, 12), Shard(video, 12, FRAMES)]))
    assert [receipt.trouble for receipt in receipts] == [None, None]


def test_only_one_shard_at_a_time_is_computed(
    video: Video, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(settings)
    alone = threading.Lock()

    def estimate_alone(*arguments: Any) -> Any:
        assert alone.acquire(blocking=False), "two shards were computed at once"
        try:
            return estimate_frames(*arguments)
        finally:
            alone.release()

    monkeypatch.setattr("phoenix_ray.cluster.worker.estimate_frames", estimate_alone)
    shards = [Shard(video, first, first + 4) for first in range(0, FRAMES, 4)]
    with ThreadPoolExecutor(len(shards)) as calls:
        receipts = list(calls.map(one.process, shards))
    assert [receipt.trouble for receipt in receipts] == [None] * len(shards)
