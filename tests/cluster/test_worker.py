from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.cluster.plan import Shard
from phoenix_ray.cluster.worker import ShardWorker, estimate_shard
from phoenix_ray.config import ModelSettings, OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel
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


class Failing:
    """The synthetic model, which raises on some calls."""

    def __init__(self, settings: Settings, poison: set[int]) -> None:
        self._model = registry.create(settings.model)
        self._poison = poison
        self.layout = self._model.layout
        self.batch_size = 4
        self.seen: list[int] = []

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        self.seen.append(len(images))
        if any(int(image[0, 0, 0]) in self._poison for image in images):
            raise RuntimeError("no convergence")
        return self._model.estimate(images)

    def close(self) -> None:
        self._model.close()


def shade(video: Video, index: int) -> int:
    picture = cv2.imread(f"{video.location}/images{index + 1:04}.png")
    assert picture is not None
    return int(picture[0, 0, 0])


def same_rows(model: PoseModel, settings: Settings, whole: LandmarkBatch, shard: Shard) -> bool:
    rows = estimate_shard(model, settings, shard).rows
    return all(
        np.array_equal(rows.points[part], points[shard.first : shard.last], equal_nan=True)
        for part, points in whole.points.items()
    )


def test_a_shard_gives_the_rows_of_the_whole_video_bit_for_bit(video: Video, settings: Settings) -> None:
    model = registry.create(settings.model)
    whole = estimate_shard(model, settings, Shard(video, 0, FRAMES)).rows
    for first, last in [(0, 8), (8, 12), (12, FRAMES), (4, FRAMES)]:
        assert same_rows(model, settings, whole, Shard(video, first, last))


def test_batches_are_cut_at_multiples_of_the_batch_size_from_the_first_frame(video: Video, settings: Settings) -> None:
    model = Failing(settings, poison=set())
    estimate_shard(model, settings, Shard(video, 6, 15))
    assert model.seen == [2, 4, 3]


def test_a_frame_on_which_the_model_fails_costs_that_frame_alone(video: Video, settings: Settings) -> None:
    model = Failing(settings, poison={shade(video, 5)})
    estimate = estimate_shard(model, settings, Shard(video, 0, FRAMES))
    records, rows = estimate.records, estimate.rows
    failed = [record.index for record in records if record.status == "failed"]
    assert 5 in failed
    assert all(shade(video, index) == shade(video, 5) for index in failed)
    assert records[5].error == "RuntimeError: no convergence"
    assert np.isnan(rows.points["pose"][5]).all()
    assert sum(record.status == "ok" for record in records) > FRAMES / 2


def test_a_model_that_fails_on_every_frame_fails_the_shard(video: Video, settings: Settings) -> None:
    model = Failing(settings, poison=set(range(256)))
    with pytest.raises(RuntimeError, match="no convergence"):
        estimate_shard(model, settings, Shard(video, 0, FRAMES))


def test_an_unreadable_frame_is_a_flagged_row(video: Video, settings: Settings) -> None:
    Path(video.location, "images0003.png").write_bytes(b"")
    records = estimate_shard(registry.create(settings.model), settings, Shard(video, 0, FRAMES)).records
    assert [record.index for record in records] == list(range(FRAMES))
    assert records[2].status == "unreadable"
    assert records[2].error


def test_what_a_model_wants_recorded_is_handed_on(video: Video, settings: Settings) -> None:
    class Telling(Failing):
        def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
            return replace(super().estimate(images), events=(f"{len(images)} frames",))

    estimate = estimate_shard(Telling(settings, poison=set()), settings, Shard(video, 0, 6))
    assert estimate.events == ("4 frames", "2 frames")


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
