from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from phoenix_ray.errors import ModelError
from phoenix_ray.models.heads.outputs import Outputs, read_outputs
from phoenix_ray.models.onnx.manifest import HeadDecoder

LOGITS = st_numpy.arrays(np.float32, (3, 4), elements=st.floats(-60, 60, width=32))


def read(outputs: Outputs, **decoder: object) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return read_outputs(outputs, HeadDecoder.model_validate(decoder))


@given(LOGITS)
def test_logits_are_as_the_network_gave_them_and_the_quality_is_the_largest_softmax(logits: np.ndarray) -> None:
    rows = read({"output": logits}, classes=list("abcd"), logits={})
    assert np.array_equal(rows[:, :4], logits)
    for row, found in zip(logits.astype(np.float64), rows[:, 4], strict=True):
        powers = [math.exp(logit - row.max()) for logit in row]
        assert found == pytest.approx(max(powers) / sum(powers), rel=1e-6)


@given(LOGITS, st_numpy.arrays(np.float32, (3, 2, 5, 5), elements=st.floats(-1, 2, width=32)))
def test_with_maps_the_quality_is_the_root_of_confidence_times_their_mean_peak(
    logits: np.ndarray, maps: np.ndarray
) -> None:
    outputs = {"expression": logits, "heatmap": maps}
    without = read(outputs, classes=list("abcd"), logits={"output": "expression"})
    rows = read(outputs, classes=list("abcd"), logits={"output": "expression"}, heatmap="heatmap")
    for item in range(3):
        peaks = [min(max(float(of_point.max()), 0), 1) for of_point in maps[item]]
        expected = math.sqrt(without[item, 4] * sum(peaks) / len(peaks))
        assert rows[item, 4] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_probabilities_count_as_they_are() -> None:
    rows = read({"p": np.array([[0.25, 0.75]], np.float32)}, classes=["a", "b"], logits={}, probabilities=True)
    assert rows.tolist() == [[0.25, 0.75, 0.75]]


def test_values_are_found_at_their_places_and_clamped_where_the_manifest_says_so() -> None:
    output = np.array([[1, 2, -3, 3], [4, 5, 0.5, 6]], np.float32)
    rows = read(
        {"output": output},
        classes=["a", "b"],
        logits={},
        values={"valence": {"first": 2, "clamp": [-1, 1]}, "arousal": {"first": 3}},
    )
    assert rows[:, :4].tolist() == [[1, 2, -1, 3], [4, 5, 0.5, 6]]


def test_values_may_have_an_output_each_with_or_without_a_second_axis() -> None:
    outputs = {"valence": np.array([0.5, -0.5], np.float32), "arousal": np.array([[0.1], [0.2]], np.float32)}
    rows = read(outputs, values={"valence": {"output": "valence"}, "arousal": {"output": "arousal"}})
    assert np.array_equal(rows[:, :2], np.array([[0.5, 0.1], [-0.5, 0.2]], np.float32))
    assert np.isnan(rows[:, 2]).all(), "there is nothing to judge a quality by"


@pytest.mark.parametrize(
    ("outputs", "decoder", "message"),
    [
        (
            ["output"],
            {"classes": ["a", "b"], "logits": {"output": "x"}},
            "decoder.logits.output: there is no output 'x'",
        ),
        (["one", "two"], {"classes": ["a"], "logits": {}}, "there are several outputs: name one"),
        (["output"], {"classes": ["a"] * 1 + ["b", "c", "d"], "logits": {}}, "the output has 3 numbers, but 4"),
        (["output"], {"values": {"valence": {"first": 3}}}, "decoder.values.valence: the output has 3 numbers"),
        (["output"], {"values": {"valence": {}}, "heatmap": "maps"}, "decoder.heatmap: there is no output 'maps'"),
    ],
)
def test_outputs_that_do_not_fit_are_refused_with_the_field(
    outputs: list[str], decoder: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        read({name: np.zeros((1, 3), np.float32) for name in outputs}, **decoder)
