from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.imports import FileCollection
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import ModelFacts
from phoenix_ray.models.holistic.parity import PARITY_OF_OTHER_ORDER
from phoenix_ray.verify.comparison import compare_collections
from phoenix_ray.verify.report import Criterion, gather
from phoenix_ray.verify.tolerance import BITS
from phoenix_ray.verify.verification import Verification, VideoFilter, agreed_videos, expected_nearness
from tests.exports.made_up import VIDEOS
from tests.verify.conftest import Compute
from tests.verify.made_up import InMemory
from tests.zoo import SIZE, ZOO, layout_id, zoo_video

KEYS = [("train", "a"), ("train", "b/2"), ("dev", "a"), ("test", "c")]


def test_all_videos_are_chosen_sorted_and_once_where_nothing_is_said() -> None:
    assert VideoFilter().choose([*KEYS, *KEYS]) == sorted(KEYS)


def test_an_id_means_the_video_in_every_split_and_split_and_id_the_one() -> None:
    assert VideoFilter(videos=("a",)).choose(KEYS) == [("dev", "a"), ("train", "a")]
    assert VideoFilter(videos=("train/a", "train/b/2")).choose(KEYS) == [("train", "a"), ("train", "b/2")]
    assert VideoFilter(splits=("train",), videos=("a",)).choose(KEYS) == [("train", "a")]


@given(sample=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_sample_is_drawn_by_its_seed_whatever_the_order(sample: int, seed: int) -> None:
    keys = [("all", str(number)) for number in range(30)]
    selection = VideoFilter(sample=sample, seed=seed)
    drawn = selection.choose(keys)
    assert drawn == selection.choose(reversed(keys))
    assert len(set(drawn)) == min(sample, 30)


def test_another_seed_draws_other_videos() -> None:
    keys = [("all", str(number)) for number in range(30)]
    assert len({tuple(VideoFilter(sample=5, seed=seed).choose(keys)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (VideoFilter(splits=("trian",)), "split 'trian'. Did you mean 'train'"),
        (VideoFilter(videos=("train/b",)), "video 'train/b'. Did you mean"),
        (VideoFilter(splits=("test",), videos=("b/2",)), "no video to compare"),
    ],
)
def test_what_is_not_there_is_reported(selection: VideoFilter, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        selection.choose(KEYS)


def test_holistics_parts_are_judged_by_their_own_bars() -> None:
    other = ModelSettings(engine="litert", architecture="aarch64")
    identity = DatasetIdentity("holistic-468", registry.facts(ModelSettings(engine="litert")).identity)
    assert expected_nearness(identity, ModelSettings(engine="litert")) == Criterion(BITS)
    assert expected_nearness(identity, other).bars == PARITY_OF_OTHER_ORDER


def other_version(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Criterion:
    """Return how a dataset of a network is judged where another version of its runtime computes it again."""
    facts = ModelFacts(layout, {"engine": "onnx", "onnxruntime": "1.32"}, 1, False)
    monkeypatch.setattr("phoenix_ray.models.registry.facts", lambda _: facts)
    return expected_nearness(DatasetIdentity(layout.name, {**facts.identity, "onnxruntime": "1.23"}), ModelSettings())


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_each_part_of_any_layout_is_judged_when_another_version_computes(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    criterion = other_version(layout, monkeypatch)
    video = zoo_video(layout)
    for part in layout.parts:
        for pixels, equal in ((0.01, True), (5.0, False)):
            moved = video.points[part.name] + np.array([pixels / SIZE[0], 0, 0], np.float32)
            candidate = replace(video, points={**video.points, part.name: moved})
            sides = InMemory(video), InMemory(candidate)
            compared = compare_collections(*sides, [("train", "a")], criterion.tolerance, agreed={}, statuses=True)
            report = gather(("A", "B"), criterion, compared)
            assert report.equal is equal, (part.name, report.failures())
            assert equal or f"{part.name}: mean 5.0" in report.failures()[0]


EVERYTHING = {("dev", "delta"): 9, ("train", "alpha"): 21, ("train", "beta"): 14}


def test_datasets_that_were_sharded_differently_agree_by_their_digests(compute: Compute) -> None:
    assert agreed_videos(compute("one", 8), compute("other", 100)) == EVERYTHING


def test_a_file_whose_bytes_changed_vouches_for_nothing(compute: Compute) -> None:
    one, other = compute("one"), compute("other")
    (file,) = Path(other).glob("data/train-*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert agreed_videos(one, other) == {("dev", "delta"): 9}


def test_partitions_are_not_vouched_for(compute: Compute) -> None:
    assert agreed_videos(compute("one"), compute("other", compacted=False)) == {}


@pytest.mark.parametrize(
    ("model", "suffix", "warned"),
    [
        ({"mode": "tracking", "smooth_landmarks": "true"}, ".pose", True),
        ({"mode": "tracking", "smooth_landmarks": "false"}, ".pose", False),
        ({}, ".pose", False),
        ({"mode": "tracking", "smooth_landmarks": "true"}, ".npz", False),
    ],
)
def test_the_trap_in_pose_files_made_in_bulk_is_explained(
    tmp_path: Path, model: dict[str, str], suffix: str, warned: bool
) -> None:
    claim_dataset(LocalStorage(str(tmp_path)), DatasetIdentity("holistic-468", model, source_root="/data"))
    files = FileCollection({("", "a"): Path(f"a{suffix}")}, lambda *_: VIDEOS[0])
    sides = (Dataset.open(str(tmp_path)), files)
    verification = Verification(("ours", "theirs"), *sides, (), Criterion(BITS), statuses=False, source="")
    assert [("blank frame" in remark, "docs/modes.md" in remark) for remark in verification.remarks()] == (
        [(True, True)] if warned else []
    )
