from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import PartitionInfo, discard, list_partitions
from phoenix_ray.dataset.sealing import intact_footer
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX
from tests.dataset.made_up import (
    IDENTITY,
    commit,
    commit_rows,
    make_batch,
    make_records,
    make_video,
    new_dataset,
)

VIDEO = make_video("day 1/clip ü", frames=10, gloss="HEUTE", signer="Signer01")


def test_a_listing_says_what_the_receipt_said(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    receipt = commit(storage, VIDEO, 2, 10)
    (listed,) = list_partitions(storage, IDENTITY)
    assert isinstance(listed, PartitionInfo)
    assert replace(listed, modified=0.0) == receipt
    assert (tmp_path / receipt.name).stat().st_size == receipt.bytes
    assert receipt.annotation == {"gloss": "HEUTE", "signer": "Signer01"}
    assert receipt.rows == 8
    assert receipt.tally.detected == {"body": 8, "hand": 5}
    assert receipt.tally.statuses == {"ok": 8}
    assert pickle.loads(pickle.dumps(receipt)) == receipt


def test_a_shard_done_twice_is_there_once_with_equal_bytes(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    first = commit(storage, VIDEO, 0, 10)
    content = storage.read(first.name)
    assert commit(storage, VIDEO, 0, 10) == first
    assert storage.read(first.name) == content
    assert len(list(list_partitions(storage, IDENTITY))) == 1


def test_the_first_error_and_the_states_of_frames_are_on_the_receipt(tmp_path: Path) -> None:
    records = make_records(0, 4)
    records[2] = replace(records[2], status="unreadable", width=None, height=None, error="images0002.png: truncated")
    records[3] = replace(records[3], status="failed", error="later")
    receipt = commit_rows(new_dataset(tmp_path), Shard(VIDEO, 0, 4), records, make_batch(VIDEO, 0, 4))
    assert receipt.error == "images0002.png: truncated"
    assert receipt.tally.statuses == {"ok": 2, "unreadable": 1, "failed": 1}


@pytest.mark.parametrize("rows", [(0, 3), (1, 5), (4, 4)])
def test_rows_of_other_frames_are_not_committed(tmp_path: Path, rows: tuple[int, int]) -> None:
    storage = new_dataset(tmp_path)
    with pytest.raises(ValueError, match="one row for each of these frames"):
        commit_rows(storage, Shard(VIDEO, 0, 4), make_records(*rows), make_batch(VIDEO, *rows))
    assert list(list_partitions(storage, IDENTITY)) == []


def damage_of(tmp_path: Path, change: object = None, identity: DatasetIdentity = IDENTITY) -> DamagedFile:
    storage = new_dataset(tmp_path)
    receipt = commit(storage, VIDEO, 0, 10)
    if callable(change):
        storage.write(receipt.name, change(storage.read(receipt.name)))
    (listed,) = list_partitions(storage, identity)
    assert isinstance(listed, DamagedFile)
    discard(storage, IDENTITY, listed)
    assert (list(list_partitions(storage, identity)) == []) == (not listed.foreign)
    return listed


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"PAR1",
        lambda content: content[:-9],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-8] + b"\xff\xff\xff\x7f" + content[-4:],
        lambda content: content[:-300] + bytes(200) + content[-100:],
    ],
)
def test_a_damaged_file_is_reported_and_can_be_discarded(tmp_path: Path, change: object) -> None:
    assert not damage_of(tmp_path, change).foreign


def test_a_file_of_a_dataset_with_other_settings_is_reported_and_kept(tmp_path: Path) -> None:
    damage = damage_of(tmp_path, identity=replace(IDENTITY, limit_frames=3))
    assert damage.foreign
    assert "other settings" in damage.reason


def test_a_file_under_the_name_of_another_is_not_trusted(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    receipt = commit(storage, VIDEO, 0, 4)
    content = storage.read(receipt.name)
    storage.delete(receipt.name)
    storage.write(receipt.name.replace("00000004", "00000005"), content)
    (listed,) = list_partitions(storage, IDENTITY)
    assert isinstance(listed, DamagedFile)
    assert "name" in listed.reason


def test_somebody_elses_files_and_unfinished_writes_are_passed_over(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    folder = tmp_path / Path(commit(storage, VIDEO, 0, 10).name).parent
    (folder / f"{TEMPORARY_PREFIX}1.parquet").write_bytes(b"PAR1 half")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / ".nfs0001").write_bytes(b"")
    pd.DataFrame({"a": [1]}).to_parquet(folder / "notes.parquet")
    found = [type(listed) for listed in list_partitions(storage, IDENTITY)]
    assert sorted(kind.__name__ for kind in found) == ["DamagedFile", "PartitionInfo"]


def test_floats_are_byte_stream_split_and_pages_are_checked(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    file = tmp_path / commit(storage, VIDEO, 0, 10).name
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [8, 2]
    group = metadata.row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["body_x.list.element"].encodings
    assert not columns["body_x.list.element"].has_dictionary_page
    assert columns["frame_name"].has_dictionary_page
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert [metadata.schema.column(key.column_index).name for key in group.sorting_columns] == [
        "split",
        "video_id",
        "frame_index",
    ]
    content = bytearray(file.read_bytes())
    column = columns["body_x.list.element"]
    content[column.data_page_offset + column.total_compressed_size - 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(file, page_checksum_verification=True).read()


def test_plain_readers_open_a_partition(tmp_path: Path) -> None:
    file = tmp_path / commit(new_dataset(tmp_path), VIDEO, 0, 10).name
    expected = make_batch(VIDEO, 0, 10).points["body"][7, :, 1].tolist()
    frame = pd.read_parquet(file)
    assert frame["body_y"][7].tolist() == expected
    assert frame["hand_x"].isna().sum() == 4
    assert frame["split"].tolist() == ["train"] * 10
    assert pl.read_parquet(file, hive_partitioning=False)["body_y"].to_list()[7] == expected
    rows = duckdb.sql(f"select body_y, hand_x is null from '{file}' where frame_index = 7").fetchall()
    assert [(list(body), missing) for body, missing in rows] == [(expected, False)]


@pytest.mark.parametrize("frames", [3, 300])
def test_a_flipped_bit_in_a_footer_is_never_believed(tmp_path: Path, frames: int) -> None:
    storage = new_dataset(tmp_path)
    receipt = commit(storage, make_video(frames=frames), 0, frames)
    content = storage.read(receipt.name)
    length = int.from_bytes(content[-8:-4], "little")
    assert intact_footer(content) == content[-8 - length : -8]
    # The digits of the whole file's seal are of no account for the footer's.
    digits = content.rindex(b"\x01sha256\x01") + len(b"\x01sha256\x01")
    for position in {*range(len(content) - 8 - length, len(content) - 8, 7)} - {*range(digits, digits + 64)}:
        flipped = bytearray(content)
        flipped[position] ^= 1
        # A footer without a seal is what a flipped bit of the mark leaves.
        with suppress(ValueError):
            assert intact_footer(bytes(flipped)) is None


def test_arrow_never_sees_a_footer_whose_seal_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of them end the process."""
    storage = new_dataset(tmp_path)
    receipts = [
        commit(storage, make_video(name, translation=text), 0, 10) for name, text in (("a", ""), ("b", "x" * 99_999))
    ]
    for receipt in receipts:
        content = bytearray(storage.read(receipt.name))
        content[content.rindex(b"25.0")] ^= 1
        storage.write(receipt.name, bytes(content))
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", None)
    found = list(list_partitions(storage, IDENTITY))
    assert all(isinstance(damage, DamagedFile) and "seal" in damage.reason for damage in found)
    assert len(found) == 2


def test_a_partition_without_a_seal_or_with_a_long_footer_is_read_all_the_same(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    long = commit(storage, make_video("long", translation="regen " * 10_000), 0, 10)
    unsealed = commit(storage, make_video("unsealed"), 0, 10)
    content = storage.read(unsealed.name)
    storage.write(
        unsealed.name, content.replace(b"footer sha256", b"footer sha000").replace(b"\x01sha256", b"\x01sha000")
    )
    listed = {info.name: info for info in list_partitions(storage, IDENTITY) if isinstance(info, PartitionInfo)}
    assert {name: replace(info, modified=0.0) for name, info in listed.items()} == {
        long.name: long,
        unsealed.name: unsealed,
    }
