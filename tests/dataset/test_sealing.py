from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from phoenix_ray.dataset.failures import FailureRecord
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.sealing import (
    MOST_FRAMES,
    PARQUET_SEAL_BLANK,
    PARQUET_SEAL_KEY,
    json_seal,
    parquet_seal,
    parse_mapping,
    parse_sealed_json,
    seal_json,
    seal_parquet,
    validate,
)
from phoenix_ray.dataset.tally import RecordedTally, Tally

TREES = st.dictionaries(st.text().filter(lambda key: key != "seal"), st.text() | st.integers() | st.none(), max_size=5)


def sealed_parquet(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": [text]})
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    return seal_parquet(sink.getvalue())


@given(TREES)
def test_a_sealed_mapping_is_read_back(tree: dict[str, object]) -> None:
    content = seal_json(tree)
    assert json_seal(content) == "intact"
    assert parse_sealed_json(content) == tree


@given(st.text(), st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_breaks_the_seal_of_a_text(text: str, place: int, bit: int) -> None:
    content = bytearray(seal_json({"text": text, "more": '"seal": "sha256:'}))
    content[place % len(content)] ^= 1 << bit
    assert json_seal(bytes(content)) != "intact"


@given(st.text(), st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_breaks_the_seal_of_a_parquet_file(text: str, place: int, bit: int) -> None:
    content = bytearray(sealed_parquet(text + PARQUET_SEAL_BLANK.decode()))
    assert parquet_seal(bytes(content)) == "intact"
    content[place % len(content)] ^= 1 << bit
    assert parquet_seal(bytes(content)) != "intact"


def test_a_sealed_parquet_file_is_plain_parquet() -> None:
    assert pq.read_table(pa.BufferReader(sealed_parquet("a"))).to_pylist() == [{"text": "a"}]


def test_what_was_never_sealed_has_no_seal() -> None:
    assert json_seal(b'{"a": 1}') == parquet_seal(b"PAR1") == "none"
    assert parse_sealed_json(b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("content", [b"[]", b"{", b"[" * 100_000, seal_json({"a": 1}).replace(b"1", b"2", 1)])
def test_what_is_no_mapping_or_was_changed_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"mapping|EOF|recursion|seal"):
        parse_sealed_json(content)


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
