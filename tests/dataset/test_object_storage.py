"""Datasets in an object store: the one that obstore has in memory. tests/clusters/s3 has a real one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Lock
from typing import Any, BinaryIO, Literal

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import MemoryStore

from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.lease import Lease, LeaseHeldError, LeaseLostError
from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.parquet import open_parquet
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.object_stores import Bucket
from tests.dataset.made_up import IDENTITY, commit, make_video
from tests.dataset.test_crashes import FIRST_SOURCE, Killed, work


def make_storage(store: MemoryStore | None = None) -> ObjectStorage:
    return ObjectStorage(Bucket(store or MemoryStore(), "s3://bucket/dataset"))


@pytest.fixture
def storage() -> ObjectStorage:
    return make_storage()


def names(storage: Storage, folder: str = "") -> list[str]:
    return sorted(file.name for file in storage.list(folder))


def test_a_written_file_is_read_listed_moved_and_deleted(storage: ObjectStorage) -> None:
    storage.write("a/b", b"old")
    storage.write("a/b", pa.py_buffer(b"new"))
    storage.write("a/split=x/v%2F~1.json", b"")
    assert storage.read("a/b") == b"new"
    assert {(file.name, file.bytes, file.temporary) for file in storage.list("a")} == {
        ("a/b", 3, False),
        ("a/split=x/v%2F~1.json", 0, False),
    }
    assert names(storage, "a/sp") == names(storage, "nothing") == []
    storage.move("a/b", "quarantine/b")
    storage.delete("a/split=x/v%2F~1.json")
    storage.delete("a/split=x/v%2F~1.json")
    assert names(storage) == ["quarantine/b"]


def test_a_large_file_appears_when_its_block_ends_and_not_if_that_fails(storage: ObjectStorage) -> None:
    with storage.writing("data/a") as stream:
        stream.write(b"x" * (20 << 20))
        assert names(storage) == []
    assert len(storage.read("data/a")) == 20 << 20

    def fail() -> None:
        with storage.writing("data/a") as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(storage.read("data/a")) == 20 << 20


def test_an_absent_file_is_told_apart_from_a_failing_store(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    with pytest.raises(FileNotFoundError):
        storage.open("a")

    def fail(*given: object, **options: object) -> None:
        raise GenericError("503 Slow Down\n\nDebug source:\nGeneric {}")

    for name in ("get", "put", "list", "delete"):
        monkeypatch.setattr(obstore, name, fail)
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: storage.read("a"),
        "write": lambda: storage.write("a", b""),
        "list": lambda: names(storage),
        "delete": lambda: storage.delete("a"),
    }
    for verb, attempt in attempts.items():
        with pytest.raises(OutputError, match=f"Cannot {verb} s3://bucket/dataset/.*503 Slow Down") as caught:
            attempt()
        assert "Debug" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../outside"])
def test_a_name_cannot_leave_the_dataset(storage: ObjectStorage, name: str) -> None:
    attempts: list[Callable[[str], object]] = [storage.read, storage.open, storage.delete]
    for attempt in attempts:
        with pytest.raises(ValueError, match="is not the name of a file"):
            attempt(name)


def test_of_many_that_create_at_once_one_wins() -> None:
    store, start = MemoryStore(), Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        return make_storage(store).create("a", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert make_storage(store).read("a") == str(won.index(True)).encode()


def test_of_many_that_replace_at_once_one_wins() -> None:
    store, start = MemoryStore(), Barrier(8)
    make_storage(store).write("a", b"old")

    def replace(number: int) -> bool:
        start.wait()
        return make_storage(store).replace("a", b"old", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(replace, range(8)))
    assert won.count(True) == 1
    assert make_storage(store).read("a") == str(won.index(True)).encode()
    assert not make_storage(store).replace("nothing", b"", b"new")


def test_a_creation_whose_answer_was_lost_is_known_by_its_content(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the request, and then meets the object that its first request made."""
    put = obstore.put

    def put_twice(*given: Any, **options: Any) -> None:
        put(*given, **options)
        raise AlreadyExistsError("412 Precondition Failed")

    monkeypatch.setattr(obstore, "put", put_twice)
    assert storage.create("a", b"ours")
    assert storage.read("a") == b"ours"
    monkeypatch.undo()
    storage.write("b", b"theirs")
    assert not storage.create("b", b"ours")


def test_a_refusal_that_breaks_off_is_asked_for_again(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store's "404" and "412" have a body too, and the client does not repeat them."""
    storage.write("there", b"theirs")
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    for verb in ("get", "put", "delete"):
        real = getattr(obstore, verb)

        def break_off_once(*given: Any, real: Any = real, **options: Any) -> Any:
            if not pauses:
                raise GenericError("HTTP error: request or response body error")
            return real(*given, **options)

        monkeypatch.setattr(obstore, verb, break_off_once)
    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    pauses.clear()
    assert not storage.create("there", b"ours")
    pauses.clear()
    storage.delete("nothing")
    assert pauses


def test_a_listing_that_breaks_off_goes_on_after_the_last_name(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [f"a/{number}" for number in range(9)]
    for name in expected:
        storage.write(name, b"content")
    whole = obstore.list
    pauses: list[float] = []

    def break_off(store: MemoryStore, prefix: str | None, offset: str | None) -> Iterator[Any]:
        for block in list(whole(store, prefix, offset=offset)):
            yield sorted(block, key=lambda found: found["path"])[:2]
            if len(pauses) < 4:
                raise GenericError("Error getting list response body: HTTP error")

    monkeypatch.setattr(obstore, "list", break_off)
    monkeypatch.setattr("time.sleep", pauses.append)
    assert [file.name for file in storage.list("a")] == expected[:8] + expected[8:]
    assert len(pauses) == 4


def test_the_listing_of_a_folder_alone_is_repeated_where_it_breaks_off(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "a/b/2", "c"):
        storage.write(name, b"content")
    whole = obstore.list
    pauses: list[float] = []

    def break_off(store: MemoryStore, prefix: str | None, offset: str | None) -> Iterator[Any]:
        if len(pauses) % 2 == 0:
            pauses.append(0.0)
            raise GenericError("Error getting list response body: HTTP error")
        pauses.append(0.0)
        return iter(whole(store, prefix, offset=offset))

    monkeypatch.setattr(obstore, "list", break_off)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert list(storage.top_level()) == ["a", "c"]
    assert pauses


def test_a_store_that_ignores_conditions_is_refused(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *given, mode="overwrite", **options: put(*given, **options))
    with pytest.raises(OutputError, match="ignores the condition"):
        storage.create("lease.json", b"ours")


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 3_000_000])
def test_a_file_opened_for_arrow_gives_the_bytes_of_any_range(storage: ObjectStorage, size: int) -> None:
    content = bytes(number * 7 % 251 for number in range(size))
    storage.write("a", content)
    with storage.open("a") as file:
        assert file.size() == size
        for start, count in ((0, 10), (size // 2, 100), (size - 5, 50), (0, size), (size, 1), (size // 3, size // 3)):
            if 0 <= start <= size:
                assert file.read_at(count, start) == content[start : start + count]
        file.seek(0)
        assert file.read() == content


def test_a_file_that_is_replaced_while_it_is_read_counts_as_gone(storage: ObjectStorage) -> None:
    with storage.writing("a.parquet") as stream:
        pq.write_table(pa.table({"number": range(400_000)}), stream, compression="none", use_dictionary=False)

    def read_replaced() -> None:
        with open_parquet(storage, "a.parquet") as parquet:
            storage.write("a.parquet", b"other content" * 100_000)
            parquet.read()

    with pytest.raises(FileNotFoundError):
        read_replaced()


def test_no_credential_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    from phoenix_ray.dataset.locations import open_storage

    pickled = pickle.dumps(open_storage("s3://bucket/a b/%41"))
    assert b"very-secret" not in pickled
    assert pickle.loads(pickled).root == "s3://bucket/a b/%41"


def test_one_of_two_drivers_takes_over_a_dead_ones_lease(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the old lease before either writes: the slower one is refused, and does not believe that it has it."""
    store = MemoryStore()
    Lease.acquire(make_storage(store), "dead", clock=lambda: 0.0)
    monkeypatch.setattr("phoenix_ray.dataset.lease.is_alive", lambda holder, now: holder.run_id != "dead")
    replace = ObjectStorage.replace
    faster: list[str] = []

    def replace_slowly(self: ObjectStorage, name: str, old: bytes, new: bytes) -> bool:
        if not faster:
            faster.append("fast")
            Lease.acquire(make_storage(store), "fast")
        return replace(self, name, old, new)

    monkeypatch.setattr(ObjectStorage, "replace", replace_slowly)
    with pytest.raises(LeaseHeldError, match="run fast"):
        Lease.acquire(make_storage(store), "slow")


def test_a_driver_notices_that_another_has_taken_its_lease(storage: ObjectStorage) -> None:
    lease = Lease.acquire(storage, "first")
    lease.renew()
    Lease.acquire(storage, "second", force=True)
    with pytest.raises(LeaseLostError, match="second"):
        lease.renew()


class MortalObjectStorage(ObjectStorage):
    """A storage whose process dies before or after the request number `fatal` of those that change something."""

    def __init__(self, store: MemoryStore, fatal: int, moment: Literal["before", "after"]) -> None:
        super().__init__(Bucket(store, "s3://bucket/dataset"))
        self._fatal, self._moment, self._lock, self.verbs = fatal, moment, Lock(), 0

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        self._die(lambda: super(MortalObjectStorage, self).write(name, content))

    def create(self, name: str, content: bytes) -> bool:
        return bool(self._die(lambda: super(MortalObjectStorage, self).create(name, content)))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with super().writing(name) as stream:
            yield stream
            self._die(lambda: None)

    def delete(self, name: str) -> None:
        self._die(lambda: super(MortalObjectStorage, self).delete(name))

    def _die(self, action: Callable[[], object]) -> object:
        # Partitions are deleted in several threads.
        with self._lock:
            self.verbs += 1
            fatal = self.verbs == self._fatal
        if fatal and self._moment == "before":
            raise Killed
        result = action()
        if fatal:
            raise Killed
        return result


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_driver_that_dies_at_any_request_loses_and_repeats_nothing(moment: Literal["before", "after"]) -> None:
    clean = make_storage()
    work(clean, FIRST_SOURCE)
    whole = rows_of(clean)
    assert len(whole) == sum(video.frame_count for video in FIRST_SOURCE)
    fatal = 0
    while True:
        fatal += 1
        store = MemoryStore()
        dying = MortalObjectStorage(store, fatal, moment)
        try:
            work(dying, FIRST_SOURCE)
        except Killed:
            again = make_storage(store)
            work(again, FIRST_SOURCE)
            assert rows_of(again) == whole
            assert Dataset(again, IDENTITY).digest() == Dataset(clean, IDENTITY).digest()
            continue
        assert dying.verbs < fatal
        assert fatal > 20
        return


def rows_of(storage: ObjectStorage) -> set[tuple[str, str, int]]:
    """Return (split, video, frame) of every row below `data`; none comes twice."""
    rows: list[tuple[str, str, int]] = []
    for file in storage.list("data"):
        table = pq.read_table(pa.BufferReader(storage.read(file.name)), columns=["split", "video_id", "frame_index"])
        rows += [(row["split"], row["video_id"], row["frame_index"]) for row in table.to_pylist()]
    assert len(rows) == len(set(rows))
    return set(rows)


def test_a_dataset_in_a_bucket_is_that_of_a_folder(storage: ObjectStorage, tmp_path: Any) -> None:
    near = LocalStorage(str(tmp_path))
    for place in (storage, near):
        work(place, FIRST_SOURCE)
        commit(place, make_video("open", frames=9), 0, 5)
    remote, local = Dataset(storage, IDENTITY), Dataset(near, IDENTITY)
    assert remote.digest() == local.digest()
    random = ["file", "first_row"]
    assert remote.videos().drop_columns(random).equals(local.videos().drop_columns(random))
    assert len(remote) == len(local)
    for key in list(local.keys()):
        assert remote.read_video(*key).equals(local.read_video(*key))


def test_check_finds_and_repairs_damage_in_a_bucket(storage: ObjectStorage) -> None:
    work(storage, FIRST_SOURCE)
    assert not [finding for finding in check_dataset(storage).findings if finding.kind != "missing"]
    name = names(storage, "data")[0]
    content = bytearray(storage.read(name))
    content[len(content) // 2] ^= 1
    storage.write(name, bytes(content))
    storage.write("data/foreign.txt", b"")
    assert {finding.kind for finding in check_dataset(storage).findings} >= {"damaged"}
    with alone_on(storage):
        repair(storage, check_dataset(storage))
    assert names(storage, "quarantine")
    work(storage, FIRST_SOURCE)
    assert len(rows_of(storage)) == sum(video.frame_count for video in FIRST_SOURCE)
