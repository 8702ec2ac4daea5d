from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings, SourceSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.disk_paths import DiskFile, DiskPath
from phoenix_ray.sources.registry import open_source
from phoenix_ray.verify.recompute import RecomputedCollection, recorded_settings
from phoenix_ray.verify.verification import VideoFilter, against_recomputation
from tests.verify.conftest import FRAMES, Compute


def identity_of(settings: ModelSettings, **fields: object) -> DatasetIdentity:
    layout, model = registry.facts(settings).layout.name, registry.facts(settings).identity
    return DatasetIdentity(layout, model, source_root="/data", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        ModelSettings(engine="litert"),
        ModelSettings(engine="litert", face_points=478, heatmap_kernel=7, min_detection_confidence=0.3),
        ModelSettings(engine="torch", device="cpu", batch_size=4),
        ModelSettings(engine="torch", device="cuda", precision="tf32", batch_size=64),
        ModelSettings(engine="torch", device="cuda", kernels="torch", batch_size=64),
        ModelSettings(name="synthetic"),
        ModelSettings(name="synthetic", mode="tracking"),
    ],
)
def test_the_recorded_settings_give_the_recorded_identity(model: ModelSettings) -> None:
    identity = identity_of(model, limit_frames=7, signature="names")
    settings = recorded_settings(identity, "", ())
    assert identity.differences(identity_of(settings.model, limit_frames=7, signature="names")) == []
    assert (settings.source.path, settings.source.limit_frames, settings.source.signature) == ("/data", 7, "names")


def test_another_engine_computes_in_its_own_way() -> None:
    identity = identity_of(ModelSettings(engine="torch", device="cuda", precision="tf32", face_points=478))
    model = recorded_settings(identity, "", ("model.engine=litert",)).model
    assert model == ModelSettings(engine="litert", face_points=478, batch_size=128)
    assert registry.facts(model).identity["engine"] == "litert"
    elsewhere = recorded_settings(identity, "", ("model.device=cpu",)).model
    assert "kernels" not in registry.facts(elsewhere).identity


def test_the_recorded_engine_named_again_computes_as_recorded() -> None:
    recorded = ModelSettings(engine="torch", device="cuda", precision="fp16", kernels="torch", batch_size=64)
    model = recorded_settings(identity_of(recorded), "", ("model.engine=torch",)).model
    assert (model.device, model.precision, model.kernels) == ("cuda", "fp16", "torch")


def test_a_source_elsewhere_and_other_settings_go_first() -> None:
    settings = recorded_settings(identity_of(ModelSettings()), "/mnt", ("source.kind=videos", "decode.threads=7"))
    assert (settings.source.path, settings.source.kind, settings.decode.threads) == ("/mnt", "videos", 7)


def test_a_word_that_is_no_setting_is_reported() -> None:
    with pytest.raises(ConfigError, match="Unknown setting"):
        recorded_settings(identity_of(ModelSettings()), "", ("decode.thread=7",))


def test_a_computed_video_is_that_of_the_dataset_in_every_field(compute: Compute, source: Path) -> None:
    settings = Settings(source=SourceSettings(path=str(source)), model=ModelSettings(name="synthetic", batch_size=4))
    dataset = Dataset.open(compute())
    fresh = RecomputedCollection(settings, dataset)
    assert list(fresh.keys()) == [("dev", "delta"), ("train", "alpha"), ("train", "beta")]
    for key in (("dev", "delta"), ("train", "alpha")):
        one, other = fresh.load(*key), dataset.load(*key)
        assert (one.layout, one.frame_names, one.status) == (other.layout, other.frame_names, other.status)
        assert (one.fps, dict(one.annotation)) == (other.fps, dict(other.annotation))
        for field in ("frame_index", "sizes", "timestamps"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        for part, points in one.points.items():
            np.testing.assert_array_equal(points, other.points[part])
    fresh.close()


def first_video(source: Path) -> Video:
    return next(video for video in open_source(SourceSettings(path=str(source))).videos() if isinstance(video, Video))


def ready_worker(source: Path, output: str, mode: Literal["static", "tracking"]) -> ShardWorker:
    settings = Settings(
        source=SourceSettings(path=str(source)),
        model=ModelSettings(name="synthetic", batch_size=4, mode=mode),
        output=OutputSettings(path=output),
    )
    worker = ShardWorker(settings, claim_dataset(open_storage(output), make_identity(settings, str(source))))
    worker.ready()
    return worker


def test_frames_that_failed_are_neither_decoded_nor_estimated_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, video = str(tmp_path / "dataset"), first_video(source)
    worker = ready_worker(source, output, "static")
    worker.process(Shard(video, 0, 5))
    worker.flag(Shard(video, 5, 7), "it kills its worker")
    worker.process(Shard(video, 7, 9))

    def read_with_care(path: DiskPath) -> DiskFile:
        assert path.name not in ("0005.png", "0006.png")
        return DiskFile(path.location)

    monkeypatch.setattr(DiskPath, "open", read_with_care)
    verification = against_recomputation(output, VideoFilter(videos=("delta",)), None, "", ())
    (found,) = verification.compare()
    assert found.differences == ()
    assert found.frames == video.frame_count == 9
    assert found.notes == ("frames that failed on both sides were compared by name and status only",)
    assert verification.reference.load("dev", "delta").status.count("failed") == 2


def test_a_tracked_dataset_is_recomputed_bit_for_bit_with_the_state_from_block_to_block(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_ray.verify.recompute.BLOCK_ROWS", 5)
    dataset = compute(mode="tracking")
    verification = against_recomputation(dataset, VideoFilter(), None, "", ())
    compared = list(verification.compare())
    assert [found.differences for found in compared] == [(), (), ()]
    assert sum(found.frames for found in compared) == FRAMES
    static = against_recomputation(dataset, VideoFilter(), None, "", ("model.mode=static",))
    assert any(found.differences for found in static.compare())


def test_a_frame_that_is_known_to_fail_changes_no_other_when_a_tracked_video_is_recomputed(
    source: Path, tmp_path: Path
) -> None:
    output, video = str(tmp_path / "dataset"), first_video(source)
    worker = ready_worker(source, output, "tracking")
    worker.process(Shard(video, 0, 5))
    worker.flag(Shard(video, 5, 6), "it kills its worker")
    worker.process(Shard(video, 6, 9))
    verification = against_recomputation(output, VideoFilter(videos=("delta",)), None, "", ())
    (found,) = verification.compare()
    assert found.differences == ()


def test_a_source_that_moved_is_asked_for_and_found_at_its_new_place(compute: Compute, source: Path) -> None:
    dataset = str(compute("a"))
    moved = source.rename(source.with_name("moved"))
    try:
        with pytest.raises(SourceError, match=rf"was computed from {source}\..*--source NEWPATH"):
            against_recomputation(dataset, VideoFilter(), None, "", ())
        verification = against_recomputation(dataset, VideoFilter(sample=1), None, str(moved), ())
        assert [found.differences for found in verification.compare()] == [()]
    finally:
        moved.rename(source)
