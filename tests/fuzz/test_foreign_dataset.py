"""A dataset from elsewhere does no harm: nothing outside of it is touched, nothing hangs, nothing takes all memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import phoenix_ray
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.failures import FailureRecord, record_failure
from phoenix_ray.dataset.memory_limits import DecodedSizeError, refuse_bomb, refuse_bomb_of_all
from phoenix_ray.dataset.sealing import PARQUET_SEAL_BLANK, PARQUET_SEAL_KEY, parse_mapping, seal_json, seal_parquet
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError, PhoenixRayError
from tests.dataset.made_up import commit, make_video
from tests.dataset.test_crashes import compact_all, work
from tests.fuzz.bombs import fat, nobody, write_bomb
from tests.fuzz.foreign import (
    FILES,
    FOLDERS,
    IN_PLACE_OF_FILES,
    IN_PLACE_OF_FOLDERS,
    STATUS,
    age,
    bounded_memory,
    invoke,
    newest_manifest,
    photograph,
    plant,
    use,
)

FLIPS_VARIABLE = "PHOENIX_RAY_FLIPS"
FLIPS = int(os.environ.get(FLIPS_VARIABLE, "40"))

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here loses power, so flushing to the device only takes time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "dataset"
    storage = LocalStorage(str(folder))
    work(storage, [make_video("a", frames=9, gloss="X"), make_video("b", frames=5), make_video("d", "dev", frames=5)])
    commit(storage, make_video("c", frames=8), 0, 4)
    record_failure(storage, FailureRecord("dev", "d", 0, 4, "model", "no", "node", 1, "", "run", 1.5))
    storage.write(STATUS, b"{}")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the dataset, beside another one that links lead to, which stays as it is and is not looked at."""
    shutil.copytree(original, tmp_path / "dataset")
    shutil.copytree(original, tmp_path / "outside")
    age(tmp_path / "outside")
    before = photograph(tmp_path / "outside")
    yield tmp_path / "dataset"
    assert photograph(tmp_path / "outside") == before


def outside(folder: Path) -> Path:
    return folder.parent / "outside"


@pytest.mark.parametrize("put", IN_PLACE_OF_FILES, ids=lambda put: put.__name__)
@pytest.mark.parametrize("place", FILES)
def test_whatever_lies_in_the_place_of_a_file(folder: Path, place: str, put: Callable[[Path, Path], None]) -> None:
    plant(folder, outside(folder), FILES[place](folder), put)
    with bounded_memory():
        use(folder, folder.parent)


@pytest.mark.parametrize("put", IN_PLACE_OF_FOLDERS, ids=lambda put: put.__name__)
@pytest.mark.parametrize("name", FOLDERS)
def test_whatever_lies_in_the_place_of_a_folder(folder: Path, name: str, put: Callable[[Path, Path], None]) -> None:
    plant(folder, outside(folder), name, put)
    with bounded_memory():
        use(folder, folder.parent)


def test_a_manifest_that_condemns_files_behind_a_link_deletes_none(folder: Path) -> None:
    (folder / "data" / "link").symlink_to(outside(folder) / "data")
    tree = json.loads((folder / newest_manifest(folder)).read_bytes())
    tree.pop("seal")
    tree["condemned"] = [
        str(Path("data/link", *path.relative_to(outside(folder) / "data").parts))
        for path in (outside(folder) / "data").rglob("*.parquet")
    ]
    (folder / newest_manifest(folder)).write_bytes(seal_json(tree))
    use(folder, folder.parent)


def test_the_folder_of_a_dataset_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    storage = LocalStorage(str(folder.parent / "link"))
    compact_all(storage)
    commit(storage, make_video("c", frames=8), 4, 8)
    compact_all(storage)
    assert "data_files" in invoke(["check", storage.root, "--workers", "1", "--json"])
    assert len(phoenix_ray.open(storage.root)) == 4


def test_a_repair_moves_links_and_pipes_out_and_then_mends_the_rest(folder: Path) -> None:
    (folder / "data" / "split=zz").symlink_to(outside(folder))
    os.mkfifo(folder / "manifests" / "pipe")
    first = invoke(["check", str(folder), "--workers", "1", "--repair"])
    assert "data/split=zz: a symbolic link" in first
    assert "manifests/pipe: a pipe" in first
    (moved,) = (folder / "quarantine").glob("*/data/split=zz")
    assert moved.is_symlink()
    assert not [finding for finding in check_dataset(LocalStorage(str(folder))).findings if finding.kind != "missing"]


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("name", ["dataset.json", "manifest"])
def test_a_repair_leaves_a_dataset_of_a_newer_version_alone(folder: Path, name: str, sealed: bool) -> None:
    path = folder / (newest_manifest(folder) if name == "manifest" else paths.IDENTITY)
    tree = json.loads(path.read_bytes())
    tree.pop("seal")
    tree["schema_version"] = 9
    path.write_bytes(seal_json(tree) if sealed else json.dumps(tree).encode())
    before = photograph(folder)
    assert "newer phoenix_ray" in invoke(["check", str(folder), "--workers", "1", "--repair"])
    assert photograph(folder).keys() == before.keys()


def test_rows_of_another_video_are_refused(folder: Path) -> None:
    swap_rows(folder, "first_row", ("a", "b"))
    dataset = phoenix_ray.open(str(folder))
    with pytest.raises(OutputError, match=r"videos\.parquet has a wrong place for the rows of train/[ab] .*--repair"):
        dataset.load("train", "a")
    invoke(["check", str(folder), "--workers", "1", "--repair"])
    assert phoenix_ray.open(str(folder)).load("train", "a").frame_names[0] == "images0000.png"


def swap_rows(folder: Path, column: str, ids: tuple[str, str]) -> None:
    """Exchange what `videos.parquet` says of two videos, and seal it again."""
    table = pq.read_table(folder / paths.VIDEOS)
    names = table["video_id"].to_pylist()
    values = table[column].to_pylist()
    one, other = map(names.index, ids)
    values[one], values[other] = values[other], values[one]
    index = table.column_names.index(column)
    table = table.set_column(index, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    write_sealed(folder / paths.VIDEOS, table)


def write_sealed(path: Path, table: pa.Table, **options: object) -> None:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    path.write_bytes(seal_parquet(sink.getvalue()))


def long_texts(rows: int, text: str, table: pa.Table, column: str) -> pa.Table:
    """Return `rows` times the first row of a table, with one long text in all of them, which is stored once."""
    table = table.take(pa.array(np.zeros(rows, np.int32)))
    repeated = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([text]))
    return table.set_column(table.column_names.index(column), column, repeated)


def footer(path: Path) -> dict[bytes, bytes]:
    kept: dict[bytes, bytes] = pq.ParquetFile(path).metadata.metadata
    return {b"phoenix_ray": kept[b"phoenix_ray"]}


@pytest.mark.parametrize("column", ["frame_name", "error", "status"])
def test_a_text_that_a_dictionary_repeats_takes_no_memory(folder: Path, column: str) -> None:
    path = min(folder.glob("data/train-*.parquet"))
    table = pq.read_table(path, partitioning=None)
    said = footer(path)
    bomb = long_texts(9 + 5, "x" * 30_000_000, table, column)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, bomb.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(bomb)
        writer.add_key_value_metadata(said)
    publish_again(folder, path, sink.getvalue().to_pybytes())
    del bomb, sink
    with bounded_memory():
        said_by = use(folder, folder.parent)
    assert "refused" in said_by["stats"]


def publish_again(folder: Path, path: Path, content: bytes) -> None:
    """Replace a data file, and have the manifest say so."""
    path.write_bytes(content)
    tree = json.loads((folder / newest_manifest(folder)).read_bytes())
    tree.pop("seal")
    for file in tree["files"]:
        file["bytes"] = (folder / file["name"]).stat().st_size
    (folder / newest_manifest(folder)).write_bytes(seal_json(tree))


def test_a_table_of_videos_that_repeats_a_text_is_made_again(folder: Path) -> None:
    table = pq.read_table(folder / paths.VIDEOS)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        rows = table.take(pa.array(np.zeros(2_000_000, np.int32)))
        writer.write_table(rows.set_column(0, table.schema.field(0), rows.column(0)))
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    del rows
    (folder / paths.VIDEOS).write_bytes(seal_parquet(sink.getvalue()))
    del sink
    with bounded_memory():
        assert len(phoenix_ray.open(str(folder))) == 4


def constant_floats(rows: int, values: int, **options: object) -> pa.BufferReader:
    lists = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * values, np.zeros(rows * values, np.float32))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": lists}), sink, compression="zstd", **options)
    return pa.BufferReader(sink.getvalue())


@pytest.mark.parametrize("options", [{"use_dictionary": True}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
def test_constant_landmarks_are_refused_before_they_are_decoded(options: dict[str, object]) -> None:
    source = constant_floats(100, 60_000, **options)
    assert source.size() < 1_000_000
    with pytest.raises(DecodedSizeError, match="decodes to"):
        refuse_bomb(source, pq.ParquetFile(source).metadata, 0, None)
    refuse_bomb(source, pq.ParquetFile(source).metadata, 0, ["y"])


def test_an_encoding_whose_size_nobody_can_foresee_is_refused() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"x": ["a" * 100] * 10}), sink, use_dictionary=False, column_encoding={"x": "DELTA_BYTE_ARRAY"}
    )
    source = pa.BufferReader(sink.getvalue())
    with pytest.raises(DecodedSizeError, match="encoding"):
        refuse_bomb_of_all(source, pq.ParquetFile(source).metadata, None)


def peak_of(words: list[str]) -> tuple[str, int]:
    """Return what a command says in a process of its own, and the most bytes that process held."""
    code = "import sys; from tests.fuzz.foreign import invoke, peak_memory; print(invoke(sys.argv[1:]), peak_memory())"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    said, _, peak = done.stdout.strip().rpartition(" ")
    return said, int(peak)


@pytest.mark.slow
def test_a_bomb_of_a_million_frames_is_measured_below_a_gigabyte(tmp_path: Path) -> None:
    # As arrays its landmarks take 7 GB.
    file = write_bomb(tmp_path / "bomb", nobody(1_000_000), 1_000_000)
    assert file.stat().st_size < 6_000_000
    said, peak = peak_of(["stats", str(tmp_path / "bomb")])
    assert "1,000,000" in said
    assert peak < 1 << 30
    # A pickle holds whole arrays.
    said, peak = peak_of(["export", str(tmp_path / "bomb"), str(tmp_path / "a.pkl"), "--format", "pickle"])
    assert "train/bomb takes" in said
    assert "PHOENIX_RAY_MOST_VIDEO_MB=" in said
    assert peak < 1 << 30


@pytest.mark.slow
def test_row_groups_of_one_row_that_take_much_memory_are_not_held_together(tmp_path: Path) -> None:
    file = write_bomb(tmp_path, fat(12, 100_000_000), 12)
    assert file.stat().st_size < 1_000_000
    said, peak = peak_of(["stats", str(tmp_path)])
    assert "12" in said
    assert peak < 1 << 30
    with pytest.raises(OutputError, match="train/bomb takes"):
        phoenix_ray.open(str(tmp_path)).load("train", "bomb")


def test_a_json_of_millions_of_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="values"):
        parse_mapping(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}")


# 1,000 took 340 s of two busy cores.
@pytest.mark.timeout(120 + 2 * FLIPS)
def test_single_flipped_bits_are_found_and_change_no_number(original: Path, tmp_path: Path) -> None:
    """`PHOENIX_RAY_FLIPS=1000` tries that many."""
    folder = tmp_path / "dataset"
    shutil.copytree(original, folder)
    storage = LocalStorage(str(folder))
    compact_all(storage)
    expected = read_all(folder)
    numbers = random.Random(0)
    checked = [path for path in sorted(folder.rglob("*")) if path.is_file() and "runs" not in path.parts]
    missed, wrong = [], []
    for _ in range(FLIPS):
        path = numbers.choice(checked)
        content = bytearray(path.read_bytes())
        place = numbers.randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        original_content = path.read_bytes()
        path.write_bytes(content)
        where = f"{path.relative_to(folder)} bit {place}"
        try:
            if not [one for one in check_dataset(storage).findings if one.kind != "missing"]:
                missed.append(where)
        except OutputError:
            pass
        try:
            if any(expected.get(key) != rows for key, rows in read_all(folder).items()):
                wrong.append(where)
        except PhoenixRayError:
            pass
        # All of them are to be seen at once.
        except Exception as error:
            wrong.append(f"{where}: {error!r}")
        path.write_bytes(original_content)
    assert (missed, wrong) == ([], [])


def read_all(folder: Path) -> dict[tuple[str, str], bytes]:
    """Return the landmarks of each video, as bytes."""
    dataset = phoenix_ray.open(str(folder))
    found = {}
    for split, video_id in [*dataset.keys()]:
        video = dataset.load(split, video_id)
        numbers = [*video.points.values(), *video.scores.values()]
        found[split, video_id] = b"".join(array.tobytes() for array in numbers) + video.timestamps.tobytes()
    return found
