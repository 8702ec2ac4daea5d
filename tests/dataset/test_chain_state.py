from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.dataset.chain_state import MOST_NUMBERS, STATE_VERSION, encode_state, parse_state
from phoenix_ray.dataset.partitions import PartitionInfo, latest_state, read_state, write_partition
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.estimation import Estimate
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_batch, make_records, make_video, new_dataset

VIDEO = make_video("v", frames=30)
SIZE = 5


def commit_with_state(
    storage: LocalStorage, first: int, last: int, size: int = SIZE, video: Video = VIDEO
) -> PartitionInfo:
    state = np.full(size, last, np.float32)
    estimate = Estimate(make_records(first, last), make_batch(video, first, last), 0.0, 0.0, (), state)
    return write_partition(storage, IDENTITY, SETTINGS, Shard(video, first, last), estimate)


def frame_of_state(storage: LocalStorage, frame: int) -> int | None:
    found = latest_state(storage, IDENTITY, VIDEO, frame, SIZE)
    if found is None:
        return None
    assert found.numbers.tolist() == [found.frame] * SIZE
    return found.frame


@given(bits=arrays.arrays(np.uint32, st.integers(0, 400)))
def test_a_state_keeps_every_bit_also_those_of_nans(bits: NDArray[np.uint32]) -> None:
    parsed = parse_state(encode_state(bits.view(np.float32)))
    assert parsed is not None
    assert parsed.tobytes() == bits.tobytes()


@pytest.mark.parametrize(
    "tree",
    [
        None,
        "AAAA",
        [],
        {},
        {"version": STATE_VERSION},
        {"version": STATE_VERSION + 1, "float32": ""},
        {"version": STATE_VERSION, "float32": 7},
        {"version": STATE_VERSION, "float32": "AA"},
        {"version": STATE_VERSION, "float32": "AAAA"},
        {"version": STATE_VERSION, "float32": "é" * 8},
        {"version": STATE_VERSION, "float32": "\n" * 8},
        {"version": STATE_VERSION, "float32": base64.b64encode(bytes(4 * MOST_NUMBERS + 4)).decode()},
    ],
)
def test_what_is_not_a_state_counts_as_missing(tree: object) -> None:
    assert parse_state(tree) is None


def test_the_longest_state_that_is_written_is_read() -> None:
    assert parse_state(encode_state(np.zeros(MOST_NUMBERS, np.float32))) is not None
    with pytest.raises(ValueError, match="more than"):
        encode_state(np.zeros(MOST_NUMBERS + 1, np.float32))


def test_the_nearest_state_before_a_frame_is_found(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    assert frame_of_state(storage, 30) is None
    for first, last in [(0, 10), (0, 15), (10, 20)]:
        commit_with_state(storage, first, last)
    assert [frame_of_state(storage, frame) for frame in (9, 10, 14, 15, 19, 20, 30)] == [None, 10, 10, 15, 15, 20, 20]


def test_a_longer_state_than_most_footers_is_found(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit_with_state(storage, 0, 10, size=20_000)
    found = latest_state(storage, IDENTITY, VIDEO, 10, 20_000)
    assert found is not None
    assert found.numbers.size == 20_000


def test_states_that_cannot_be_trusted_do_not_count(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit_with_state(storage, 0, 5)
    commit(storage, VIDEO, 5, 10)
    commit_with_state(storage, 10, 15, size=SIZE + 1)
    commit_with_state(storage, 15, 20, video=replace(VIDEO, signature="changed"))
    damaged = commit_with_state(storage, 20, 25)
    content = bytearray(storage.read(damaged.name))
    content[len(content) // 3] ^= 1
    storage.write(damaged.name, bytes(content))
    cut_short = commit_with_state(storage, 22, 26)
    storage.write(cut_short.name, storage.read(cut_short.name)[:-9])
    storage.write(f"{cut_short.name.rpartition('/')[0]}/notes.parquet", b"")
    assert frame_of_state(storage, 30) == 5


def test_every_wrong_bit_in_a_footer_makes_its_state_unusable(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    name = commit_with_state(storage, 0, 5).name
    content = storage.read(name)
    start = content.rindex(b'"float32"')
    for position in range(start, start + 60):
        changed = bytearray(content)
        changed[position] ^= 4
        storage.write(name, bytes(changed))
        assert frame_of_state(storage, 5) is None


def test_a_partition_of_a_static_model_has_no_state(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    info = commit(storage, VIDEO, 0, 10)
    assert read_state(storage, info.name) is None
    assert b'"float32"' not in storage.read(info.name)


def test_a_state_with_an_infinity_counts_as_missing() -> None:
    assert parse_state(encode_state(np.array([1, np.inf], np.float32))) is None
