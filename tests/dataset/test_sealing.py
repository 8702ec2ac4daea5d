from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.sealing import (
    PARQUET_SEAL_BLANK,
    PARQUET_SEAL_KEY,
    json_seal,
    parquet_seal,
    parse_sealed_json,
    seal_json,
    seal_parquet,
)

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
