"""The driver dies at every point of its work; the same command afterwards ends with the dataset of an undisturbed run.

`MortalStorage` counts the verbs that change something and dies during or right after the one it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.manifest import GENERATIONS_KEPT, read_manifest
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX, LocalStorage, Storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.sources.base import Video
from tests.dataset.earlier_form import give_earlier_form
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video

VideoKey = tuple[str, str]
Videos = dict[VideoKey, tuple[bool, pa.Table]]
Moment = Literal["during", "after"]
MOMENTS: tuple[Moment, ...] = ("during", "after")
SHARD_FRAMES = 6
# A few made-up videos fill a data file, so that a compaction writes several.
TARGET_BYTES = 25_000


class Killed(BaseException):
    """What `kill -9` is to a process: nothing of the package may catch it."""


class MortalStorage(LocalStorage):
    """A storage whose process dies at the verb number `fatal` of those that change something."""

    def __init__(self, root: str, fatal: int, moment: Moment) -> None:
        super().__init__(root)
        self._fatal = fatal
        self._moment = moment
        self.verbs = 0

    def create(self, name: str, content: bytes) -> bool:
        with self._dying(name):
            return super().create(name, content)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with self._dying(name), super().writing(name) as stream:
            yield stream

    def delete(self, name: str) -> None:
        with self._dying(None):
            super().delete(name)

    @contextmanager
    def _dying(self, name: str | None) -> Iterator[None]:
        self.verbs += 1
        fatal = self.verbs == self._fatal
        if fatal and self._moment == "during":
            if name is not None:
                self._leave_half_a_file(name)
            raise Killed
        yield
        if fatal:
            raise Killed

    def _leave_half_a_file(self, name: str) -> None:
        folder = (Path(self.root) / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{TEMPORARY_PREFIX}0123456789abcdef").write_bytes(b"PAR1 half a file")


def work(storage: Storage, source: list[Video]) -> None:
    """What a driver does, with a compaction half-way and one at the end."""
    claim_dataset(storage, IDENTITY)
    committed = committed_in(sweep(storage, IDENTITY, temporary_seconds=0).survey)
    for number, video in enumerate(source):
        if number == len(source) // 2:
            compact_all(storage)
        for name in committed.stale_partitions(video):
            storage.delete(name)
        for first, last in committed.missing_ranges(video):
            for start in range(first, last, SHARD_FRAMES):
                commit(storage, video, start, min(last, start + SHARD_FRAMES))
    compact_all(storage)


def compact_all(storage: Storage) -> None:
    survey = take_survey(storage, IDENTITY)
    tasks = plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), TARGET_BYTES)
    publish(storage, IDENTITY, [compact_videos(storage, task, SETTINGS) for task in tasks])


def rows_of(folder: Path) -> set[tuple[str, str, int]]:
    """Return (split, video, frame) of every row below `data`, as plain Parquet shows them; none comes twice."""
    table = pq.read_table(folder / "data", columns=["split", "video_id", "frame_index"])
    rows = [(row["split"], row["video_id"], row["frame_index"]) for row in table.to_pylist()]
    assert len(rows) == len(set(rows))
    return set(rows)


def assert_finished(folder: Path, source: list[Video], digest: int) -> None:
    storage = LocalStorage(str(folder))
    expected = {(video.split, video.video_id, frame) for video in source for frame in range(video.frame_count)}
    assert rows_of(folder) == expected
    dataset = Dataset.open(str(folder))
    assert dataset.digest() == digest == read_manifest(storage, IDENTITY).tally.digest
    table = pq.read_table(folder / paths.VIDEOS, columns=["split", "video_id", "frames", "source_signature"])
    assert sorted(map(tuple, (row.values() for row in table.to_pylist()))) == sorted(
        (video.split, video.video_id, video.frame_count, video.signature) for video in source
    )
    orphans = {file.name for file in storage.list("")}
    manifest = read_manifest(storage, IDENTITY)
    generations = range(max(1, manifest.generation - GENERATIONS_KEPT + 1), manifest.generation + 1)
    orphans -= {paths.IDENTITY, paths.VIDEOS, *map(paths.manifest_path, generations)}
    assert orphans == manifest.names
    assert not any(map(paths.is_earlier_data_file_name, orphans))
    assert not (folder / paths.PARTITIONS).exists()


def assert_readable(folder: Path, before: Videos, final: Videos) -> None:
    """After a crash: no frame twice, no versions mixed, and nothing lost of what was whole before."""
    if not (folder / paths.IDENTITY).exists():
        return
    dataset = Dataset.open(str(folder))
    seen: dict[VideoKey, pa.Table] = {}
    for rows in dataset.scan():
        frames = rows.column("frame_index").to_pylist()
        assert frames == sorted(set(frames))
        key = (rows.column("split")[0].as_py(), rows.column("video_id")[0].as_py())
        assert key not in seen
        seen[key] = rows
    assert dataset.videos().num_rows == len(seen)
    for key, (compacted, rows) in before.items():
        changed = not rows.equals(final[key][1])
        if compacted or not changed:
            assert seen[key].equals(rows) or seen[key].equals(final[key][1])


def whole_videos(folder: Path) -> Videos:
    """Return (compacted, rows) of each video that has all its frames."""
    if not (folder / paths.IDENTITY).exists():
        return {}
    dataset = Dataset.open(str(folder))
    whole = [video for video in dataset.videos().to_pylist() if video["frames_ok"] == video["frames"]]
    return {
        (video["split"], video["video_id"]): (
            video["file"] is not None,
            dataset.read_video(video["split"], video["video_id"]),
        )
        for video in whole
    }


FIRST_SOURCE = [
    make_video("a", frames=9, gloss="ONE"),
    make_video("b/../b", frames=5),
    make_video("c", split="dev", frames=1),
    make_video("d", frames=11),
    make_video("e", frames=6),
]
# The source as it is later: one video changed (and is shorter), one is new, the rest as before.
LATER_SOURCE = [
    FIRST_SOURCE[0],
    make_video("b/../b", frames=7, signature="2"),
    FIRST_SOURCE[2],
    make_video("d", frames=7, signature="2"),
    FIRST_SOURCE[4],
    make_video("f", frames=3),
]


def nothing(folder: Path) -> None:
    """A first run."""


def an_earlier_run(folder: Path) -> None:
    """A finished dataset of the source as it was before."""
    work(LocalStorage(str(folder)), FIRST_SOURCE)


def an_earlier_version(folder: Path) -> None:
    """A finished dataset of the source as it was before, in the form of an earlier version."""
    an_earlier_run(folder)
    give_earlier_form(LocalStorage(str(folder)), IDENTITY)


def an_uncompacted_earlier_run(folder: Path) -> None:
    """Partitions of the source as it was before, one of them missing, with another shard size."""
    storage = LocalStorage(str(folder))
    claim_dataset(storage, IDENTITY)
    for video in FIRST_SOURCE[:4]:
        for first in range(0, video.frame_count, 3):
            commit(storage, video, first, min(video.frame_count, first + 3))
    storage.delete(paths.partition_path("train", "a", 3, 6))


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, so flushing to the device only takes time here."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("before", "source"),
    [
        (nothing, FIRST_SOURCE),
        (an_earlier_run, LATER_SOURCE),
        (an_uncompacted_earlier_run, LATER_SOURCE),
        (an_earlier_version, FIRST_SOURCE),
        (an_earlier_version, LATER_SOURCE),
    ],
)
def test_a_crash_at_any_point_loses_no_row_and_doubles_none(
    tmp_path: Path, before: Callable[[Path], None], source: list[Video], moment: Moment
) -> None:
    clean = tmp_path / "clean"
    work(LocalStorage(str(clean)), source)
    digest = Dataset.open(str(clean)).digest()
    assert_finished(clean, source, digest)
    final = whole_videos(clean)

    fatal = 0
    survived = False
    while not survived:
        fatal += 1
        folder = tmp_path / str(fatal)
        before(folder)
        whole = whole_videos(folder)
        try:
            work(MortalStorage(str(folder), fatal, moment), source)
            survived = True
        except Killed:
            assert_readable(folder, whole, final)
            work(LocalStorage(str(folder)), source)
        assert_finished(folder, source, digest)
    assert fatal > 10


def test_the_work_of_a_finished_run_is_nothing(tmp_path: Path) -> None:
    work(LocalStorage(str(tmp_path)), FIRST_SOURCE)
    again = MortalStorage(str(tmp_path), fatal=-1, moment="during")
    committed = committed_in(take_survey(again, IDENTITY))
    assert [committed.missing_ranges(video) for video in FIRST_SOURCE] == [[]] * len(FIRST_SOURCE)
    survey = take_survey(again, IDENTITY)
    assert plan_compaction(survey, lambda name: read_entries(again, IDENTITY, name), TARGET_BYTES) == []
    assert sweep(again, IDENTITY).removed == ()
    assert again.verbs == 0
