from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.config import ModelSettings, Settings, SourceSettings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError
from phoenix_ray.models import registry
from phoenix_ray.verify.recompute import RecomputedCollection, recorded_settings
from tests.verify.conftest import Compute


def identity_of(settings: ModelSettings, **fields: object) -> DatasetIdentity:
    layout, model = registry.layout(settings).name, registry.identity(settings).fields
    return DatasetIdentity(layout, model, source_root="/data", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        ModelSettings(engine="litert"),
        ModelSettings(engine="litert", face_points=478, heatmap_kernel=7, min_detection_confidence=0.3),
        ModelSettings(engine="torch", device="cpu", batch_size=4),
        ModelSettings(engine="torch", device="cuda", precision="tf32", batch_size=64),
        ModelSettings(name="synthetic"),
    ],
)
def test_the_recorded_settings_give_the_recorded_identity(model: ModelSettings) -> None:
    identity = identity_of(model, limit_frames=7, signature="names")
    settings = recorded_settings(identity, "", ())
    assert identity.differences(identity_of(settings.model, limit_frames=7, signature="names")) == []
    assert (settings.source.path, settings.source.limit_frames, settings.source.signature) == ("/data", 7, "names")


def test_a_source_elsewhere_and_other_settings_go_first() -> None:
    settings = recorded_settings(identity_of(ModelSettings()), "/mnt", ("source.kind=videos", "decode.threads=7"))
    assert (settings.source.path, settings.source.kind, settings.decode.threads) == ("/mnt", "videos", 7)


def test_a_word_that_is_no_setting_is_told() -> None:
    with pytest.raises(ConfigError, match="Unknown setting"):
        recorded_settings(identity_of(ModelSettings()), "", ("decode.thread=7",))


def test_a_computed_video_is_that_of_the_dataset_in_every_field(compute: Compute, source: Path) -> None:
    settings = Settings(source=SourceSettings(path=str(source)), model=ModelSettings(name="synthetic", batch_size=4))
    fresh, dataset = RecomputedCollection(settings), Dataset.open(compute())
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
