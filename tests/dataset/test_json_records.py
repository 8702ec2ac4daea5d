from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import TypeAdapter

from phoenix_ray.dataset.failures import FailureRecord
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.json_records import MOST_FRAMES, parse_mapping, validate
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.tally import RecordedTally, Tally

FAILURE = TypeAdapter(FailureRecord)
HOLDER = TypeAdapter(LeaseHolder)
TALLY = TypeAdapter(RecordedTally)
RECORD = asdict(FailureRecord("dev", "d", 0, 4, "model", "no", "node", 1, "", "run", 1.5))


def test_a_record_comes_back_and_unknown_fields_are_ignored() -> None:
    assert asdict(validate(FAILURE, {**RECORD, "later": [1]})) == RECORD


@pytest.mark.parametrize("value", [True, "0", 0.0, -1, MOST_FRAMES + 1, 10**400, None, [0], math.nan])
def test_only_whole_numbers_in_range_are_frame_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^first: "):
        validate(FAILURE, {**RECORD, "first": value})


@pytest.mark.parametrize("value", [True, "1", math.nan, math.inf, 10**400, None])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^heartbeat: "):
        validate(HOLDER, {"run_id": "run", "host": "host", "pid": 1, "since": 1, "heartbeat": value})


@pytest.mark.parametrize("value", [1, None, ["a"], {}])
def test_only_text_is_text(value: object) -> None:
    with pytest.raises(ValueError, match=r"^node: "):
        validate(FAILURE, {**RECORD, "node": value})


@pytest.mark.parametrize("name", ["rows", "digest", "statuses", "detected"])
def test_a_field_with_a_default_must_be_in_json_all_the_same(name: str) -> None:
    tree: dict[str, Any] = json.loads(json.dumps(Tally().to_json()))
    assert validate(TALLY, tree) == Tally()
    del tree[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        validate(TALLY, tree)


def test_a_reason_is_one_short_line_of_ascii() -> None:
    annotation = {"\x1b[2J" * 100: 1}
    with pytest.raises(ValueError, match="model") as caught:
        validate(TypeAdapter(DatasetIdentity), {"layout": "x", "model": annotation})
    assert str(caught.value).isascii()
    assert len(str(caught.value)) <= 200


def test_a_text_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ValueError, match="more than 4,000,000 values"):
        parse_mapping(b'{"a": [' + b"[]," * 4_000_000 + b"0]}")


def test_halves_of_characters_are_refused() -> None:
    assert parse_mapping(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}
    with pytest.raises(ValueError, match=r"surrogate|hex escape"):
        parse_mapping(rb'{"a": "\ud800"}')


@pytest.mark.parametrize("value", ["x", True, -1, 1.0, None])
def test_counts_stop_at_the_first_wrong_value(value: object) -> None:
    with pytest.raises(ValueError, match="statuses: it is not a mapping of counts"):
        validate(TALLY, {**Tally().to_json(), "statuses": {"ok": 1, "failed": value}})
