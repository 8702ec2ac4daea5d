"""Heads among training inputs: smoothed when they are read, resampled with the points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phoenix_ray
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import ConfigError
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.prepare import Mirror
from phoenix_ray.prepare.pipeline import PrepareSettings, build_pipeline, parts_needed
from phoenix_ray.prepare.preparation import prepare_dataset
from tests.dataset.with_heads import WITH_HEADS, dataset_with_heads, video_with_heads

VIDEO = video_with_heads()


def settings(**sections: object) -> PrepareSettings:
    tree = {"points": {"select": ["body"]}, "normalise": {"reference": "none"}, "heads": {"select": ["emotion"]}}
    return PrepareSettings.model_validate(tree | sections)


def test_columns_of_a_head_are_taken_smoothed_or_as_they_are() -> None:
    smoothed = build_pipeline(settings(), WITH_HEADS)(VIDEO).heads
    raw = build_pipeline(settings(heads={"select": ["emotion"], "smooth": False}), WITH_HEADS)(VIDEO).heads
    assert list(smoothed) == list(raw) == [*WITH_HEADS.head("emotion").columns()]
    for name, values in VIDEO.head_columns(smooth=True).items():
        if name in smoothed:
            assert same_bits(smoothed[name], values).all()
    assert same_bits(raw["emotion_valence"], VIDEO.heads["emotion"][:, 3]).all()


def test_no_head_is_taken_unless_it_is_asked_for() -> None:
    assert build_pipeline(settings(heads={}), WITH_HEADS)(VIDEO).heads == {}


def test_a_head_that_the_dataset_lacks_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(ConfigError, match=r"no head 'emotions'\. Did you mean 'emotion'\? Its heads: emotion, age"):
        build_pipeline(settings(heads={"select": ["emotions"]}), WITH_HEADS)


def test_the_part_of_a_head_is_read_though_none_of_its_points_is_taken() -> None:
    assert parts_needed(settings(heads={"select": ["age"]}), WITH_HEADS) == ("body", "hand")


def test_new_frame_rates_take_means_where_both_frames_have_the_number_and_else_the_nearer() -> None:
    half = build_pipeline(settings(heads={"select": ["age"], "smooth": False}, time={"length": 19}), WITH_HEADS)
    found = half(VIDEO).heads["age_years"]
    years = VIDEO.heads["age"][:, 0]
    assert same_bits(found[::2], years).all(), "a moment on an old frame takes it unchanged"
    for moment in range(1, 19, 2):
        before, behind = years[moment // 2], years[moment // 2 + 1]
        expected = behind if np.isnan(before + behind) else (before + behind) / 2
        assert np.allclose(found[moment], expected, equal_nan=True)


def test_prepared_files_have_the_columns_and_the_report_names_the_classes(tmp_path: Path) -> None:
    dataset_with_heads(str(tmp_path / "dataset"))
    dataset = phoenix_ray.open(tmp_path / "dataset")
    output = LocalStorage(str(tmp_path / "prepared"))
    report = prepare_dataset(dataset, output, settings())
    assert list(report["heads"]["emotion"]) == ["glad", "sad", "calm"]
    with np.load(tmp_path / "prepared" / "train" / "video.npz") as archive:
        assert archive["emotion_logits"].shape == (10, 3)
        assert archive["emotion_quality"][2] == 0, "frame 2 has no emotion"
        expected = np.nan_to_num(VIDEO.head_columns(smooth=True)["emotion_valence"])
        assert same_bits(archive["emotion_valence"], expected).all()


def test_mirroring_leaves_heads_as_they_are() -> None:
    prepared = build_pipeline(settings(), WITH_HEADS)(VIDEO)
    whole = replace(prepared, counterparts={point: point for point in prepared.chosen})
    assert same_bits(Mirror()(whole).heads["emotion_valence"], prepared.heads["emotion_valence"]).all()
