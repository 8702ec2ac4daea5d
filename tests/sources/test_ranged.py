from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.sources import ranged
from phoenix_ray.sources.ranged import RangedFile
from tests.sources.made_up import no_thread_left

BLOCK = 10


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(ranged, "KEPT_BYTES", 40 * BLOCK)


class Storage:
    """A file of `size` bytes, and the ranges that are read of it."""

    def __init__(self, size: int) -> None:
        self.content = bytes(number % 251 for number in range(size))
        self.ranges: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.content)
        self.ranges.append((start, end))
        return self.content[start:end]

    def open(self, read: Callable[[int, int], bytes] | None = None) -> RangedFile:
        return RangedFile("s3://b/clip", len(self.content), self.content[:BLOCK], read or self.read)


@given(size=st.integers(0, 800), reads=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 200)), max_size=30))
def test_what_is_read_is_what_the_file_holds(size: int, reads: list[tuple[int, int]]) -> None:
    storage = Storage(size)
    with no_thread_left(), storage.open() as file:
        for position, most in reads:
            content = file.read_at(position, most)
            assert content == storage.content[position : position + len(content)]
            assert len(content) <= most
            assert content or not most or position >= size


@given(size=st.integers(0, 800), seeks=st.lists(st.tuples(st.integers(0, 900), st.integers(-1, 300)), max_size=10))
def test_a_stream_is_that_of_a_file(size: int, seeks: list[tuple[int, int]]) -> None:
    storage = Storage(size)
    expected = io.BytesIO(storage.content)
    with storage.open() as file, file.stream() as stream:
        for position, count in seeks:
            assert (stream.seek(position), stream.read(count)) == (expected.seek(position), expected.read(count))
        assert (stream.seek(0, io.SEEK_END), stream.tell()) == (size, size)


def test_a_small_file_takes_no_further_request() -> None:
    storage = Storage(BLOCK)
    with storage.open() as file:
        assert file.stream().read() == storage.content
    assert storage.ranges == []


def test_ranges_grow_and_each_byte_is_read_once() -> None:
    storage = Storage(100 * BLOCK)
    with storage.open() as file:
        assert file.stream().read() == storage.content
    assert sorted(storage.ranges) == storage.ranges
    lengths = [(end - start) // BLOCK for start, end in storage.ranges]
    assert lengths[:3] == [4, 16, 16]
    assert sum(lengths) == 99


def test_a_second_pass_reads_nothing_that_is_still_kept() -> None:
    storage = Storage(30 * BLOCK)
    with storage.open() as file:
        for _ in range(2):
            position = 0
            while content := file.read_at(position, 7):
                position += len(content)
    assert sum(end - start for start, end in storage.ranges) == 29 * BLOCK


def test_what_is_kept_is_bounded() -> None:
    storage = Storage(500 * BLOCK)
    with storage.open() as file:
        for number in range(500):
            assert file.read_at(number * BLOCK, 1)
            assert len(file._blocks) <= 40


def test_the_next_range_is_on_its_way_while_one_is_used() -> None:
    storage = Storage(60 * BLOCK)
    asked = threading.Event()

    def read(start: int, end: int) -> bytes:
        if start == 5 * BLOCK:
            asked.set()
        return storage.read(start, end)

    with storage.open(read) as file:
        assert file.read_at(BLOCK, 1)
        assert asked.wait(10)
        assert file.read_at(5 * BLOCK, 1) == storage.content[5 * BLOCK : 5 * BLOCK + 1]
    assert storage.ranges.count((5 * BLOCK, 21 * BLOCK)) == 1


def test_a_range_that_failed_ahead_is_read_again() -> None:
    storage = Storage(60 * BLOCK)
    fails = iter([True])

    def read(start: int, end: int) -> bytes:
        if start == 5 * BLOCK and next(fails, False):
            raise OSError("it failed")
        return storage.read(start, end)

    with storage.open(read) as file:
        assert file.read_at(BLOCK, 1)
        with pytest.raises(OSError, match="it failed"):
            file.read_at(5 * BLOCK, 1)
        assert file.read_at(5 * BLOCK, 1)


def test_fewer_bytes_than_asked_for_are_an_error_of_the_storage() -> None:
    storage = Storage(60 * BLOCK)
    file = storage.open(lambda start, end: storage.read(start, end)[:-1])
    with pytest.raises(OSError, match="the storage gave 39 of 40 bytes"):
        file.read_at(BLOCK, 1)
