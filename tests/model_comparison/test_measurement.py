from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from phoenix_ray.model_comparison.candidates import ModelChoice, parse_candidates
from phoenix_ray.model_comparison.measurement import ModelResult, run_candidate
from phoenix_ray.model_comparison.process_memory import mark_memory, peak_since_mark
from phoenix_ray.model_comparison.sample import SampledRun
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.synthetic import SyntheticModel
from tests.model_comparison.made_up import frames_of, listed, made_up_models
from tests.sources.made_up import picture


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with made_up_models():
        yield


def candidate(word: str) -> ModelChoice:
    (parsed,) = parse_candidates([word], ModelSettings())
    return parsed


def runs_of(*lengths: int, damaged: tuple[int, ...] = ()) -> list[SampledRun]:
    runs, number = [], 0
    for place, length in enumerate(lengths):
        images = [None if number + row in damaged else picture(number + row) for row in range(length)]
        number += length
        runs.append(SampledRun(listed({f"v{place}": length})[0], frames_of(images)))
    return runs


def measure(word: str, runs: list[SampledRun]) -> ModelResult:
    return run_candidate(candidate(word), runs, lambda line: None)


def test_landmarks_are_the_models_in_the_order_of_the_runs() -> None:
    runs = runs_of(3, 7, 1)
    result = measure("synthetic,batch_size=4", runs)
    assert [len(run) for run in result.runs] == [3, 7, 1]
    assert [run.video_id for run in result.runs] == ["v0", "v1", "v2"]
    for run, landmarks in zip(runs, result.runs, strict=True):
        expected = SyntheticModel(1).estimate([frame.image for frame in run.frames if frame.image is not None])
        for part, values in expected.points.items():
            assert np.array_equal(landmarks.points[part], values, equal_nan=True)
        assert landmarks.frame_index.tolist() == list(range(len(run.frames)))
        assert (landmarks.sizes == (48, 64)).all()


def test_batches_cross_runs_and_the_median_is_of_full_ones() -> None:
    speed = measure("synthetic,batch_size=4", runs_of(3, 3, 4)).speed
    assert (speed.batch_size, speed.batches, speed.threads) == (4, 2, 1)
    assert speed.frames_per_second is not None
    assert speed.frames_per_second > 0
    assert measure("synthetic,batch_size=64", runs_of(5)).speed.batches == 1


def test_frames_that_cannot_be_read_have_no_landmarks() -> None:
    result = measure("synthetic", runs_of(4, damaged=(1,)))
    (run,) = result.runs
    assert result.statuses["unreadable"] == 1
    assert run.sizes[1].tolist() == [0, 0]
    assert np.isnan(run.points["pose"][1]).all()


def test_a_tracking_model_follows_each_run_from_its_first_frame() -> None:
    together = measure("synthetic,mode=tracking", runs_of(5, 5))
    alone = measure("synthetic,mode=tracking", runs_of(5))
    for part, values in alone.runs[0].points.items():
        assert np.array_equal(together.runs[0].points[part], values, equal_nan=True)
    assert (together.speed.batch_size, together.speed.batches) == (1, 9)


def test_a_model_that_fails_on_every_frame_raises_what_it_raised() -> None:
    with pytest.raises(RuntimeError, match="out of luck"):
        measure("failing", runs_of(3))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can set the mark")
def test_growth_of_memory_is_what_was_taken_at_most() -> None:
    before = mark_memory()
    if before is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    taken = np.ones(64 << 20, np.uint8)
    del taken
    peak = peak_since_mark()
    assert peak is not None
    assert 50 << 20 < peak - before < 200 << 20
    again = mark_memory()
    assert again is not None
    assert peak_since_mark() == pytest.approx(again, rel=0.1)
