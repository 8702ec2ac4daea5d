from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partialmethod
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import FrameRecord
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, MissingExtraError, OutputError
from phoenix_ray.exports.export import atomic_output, export_videos
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.registry import FORMATS, IN_PLACE
from phoenix_ray.exports.selection import video_file
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import commit_rows
from tests.exports.made_up import VIDEOS, assert_same_points, write_dataset

NEEDS = {"pose": "pose_format", "mska": "torch"}
OWN_OUTPUT = [one.name for one in FORMATS if one.name != IN_PLACE]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def skip_without_package(name: str) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")


def add_partition(
    storage: LocalStorage, video_id: str, frame_count: int, first: int = 0, fps_varies: bool = False
) -> None:
    """Commit frames `first` to `first + 2` of a video in `dev`."""
    made_up = VIDEOS[0]
    video = Video(made_up.split, video_id, "video_file", "/data", frame_count, "1", 25.0, fps_varies=fps_varies)
    records = [FrameRecord(first + row, f"frame-{row}", row**2 / 25, 64, 48, "ok") for row in range(len(made_up))]
    batch = LandmarkBatch(made_up.points, made_up.scores)
    identity, settings = read_identity(storage), OutputSettings()
    commit_rows(storage, Shard(video, first, first + 3), records, batch, identity, settings)


def contents(output: Path) -> dict[str, bytes]:
    files = [output] if output.is_file() else sorted(file for file in output.rglob("*") if file.is_file())
    return {str(file.relative_to(output)): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", OWN_OUTPUT)
def test_two_exports_are_equal_byte_for_byte(dataset: str, tmp_path: Path, name: str) -> None:
    skip_without_package(name)
    first = export_videos(dataset, tmp_path / "one", name)
    export_videos(dataset, tmp_path / "two", name)
    files = contents(tmp_path / "one")
    assert files == contents(tmp_path / "two")
    assert (first.videos, first.frames, first.bytes) == (3, 10, sum(map(len, files.values())))


@pytest.mark.parametrize("name", OWN_OUTPUT)
def test_the_files_do_not_depend_on_the_blocks_in_which_a_video_is_read(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    skip_without_package(name)
    export_videos(dataset, tmp_path / "whole", name)
    monkeypatch.setattr(Dataset, "load_blocks", partialmethod(Dataset.load_blocks, block_rows=2))
    export_videos(dataset, tmp_path / "blocks", name)
    assert contents(tmp_path / "blocks") == contents(tmp_path / "whole")


class ChangeError(Exception):
    """Stands for a dataset that changes while a video is read."""


@pytest.mark.parametrize("name", OWN_OUTPUT)
def test_a_video_is_begun_again_when_the_dataset_changes_underfoot(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    skip_without_package(name)
    export_videos(dataset, tmp_path / "quiet", name)
    load_blocks = Dataset.load_blocks

    def interrupt(blocks: Iterator[VideoLandmarks]) -> Iterator[VideoLandmarks]:
        yield from islice(blocks, 2)
        raise ChangeError

    def load_changing_blocks(self: Dataset, split: str, video_id: str, use: Callable[..., Any]) -> Any:
        with suppress(ChangeError):
            load_blocks(self, split, video_id, lambda blocks: use(interrupt(blocks)), 2)
        return load_blocks(self, split, video_id, use, 2)

    monkeypatch.setattr(Dataset, "load_blocks", load_changing_blocks)
    export_videos(dataset, tmp_path / "changed", name)
    assert contents(tmp_path / "changed") == contents(tmp_path / "quiet")


@pytest.mark.parametrize("name", OWN_OUTPUT)
def test_a_video_with_a_gap_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    skip_without_package(name)
    monkeypatch.setattr(Dataset, "load_blocks", partialmethod(Dataset.load_blocks, block_rows=2))
    # As if the frames vanished after the first look.
    monkeypatch.setattr(Dataset, "unfinished", lambda self: [])
    storage = LocalStorage(write_dataset(tmp_path / "dataset"))
    for first in (0, 4):
        add_partition(storage, "gap", frame_count=7, first=first)
    with pytest.raises(OutputError, match="dev/gap has frames missing before frame 6: finish the run first"):
        export_videos(storage.root, tmp_path / "out", name)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_a_video_whose_run_is_not_over_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    storage = LocalStorage(write_dataset(tmp_path / "dataset"))
    add_partition(storage, "begun", frame_count=7)
    with pytest.raises(OutputError, match="dev/begun lacks frames that are not computed yet: finish the run first"):
        export_videos(storage.root, tmp_path / "out", "csv")
    others = [video_id for _, video_id in Dataset.open(storage.root).keys() if video_id != "begun"]  # noqa: SIM118
    assert export_videos(storage.root, tmp_path / "out", "csv", videos=others).videos == len(others)


@pytest.mark.parametrize("name", ["npz", "pickle"])
def test_what_was_exported_opens_with_equal_numbers(dataset: str, tmp_path: Path, name: str) -> None:
    export_videos(dataset, tmp_path / "out", name)
    collection = open_collection(str(tmp_path / "out"))
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        assert_same_points(video, again, ("pose", "left_hand", "right_hand", "face"))


def test_what_was_imported_is_exported_again(dataset: str, tmp_path: Path) -> None:
    export_videos(dataset, tmp_path / "a.pkl", "pickle")
    export_videos(str(tmp_path / "a.pkl"), tmp_path / "b.pkl", "pickle")
    assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()
    with pytest.raises(ConfigError, match="size of frame 1 is not known"):
        export_videos(str(tmp_path / "a.pkl"), tmp_path / "coco", "coco")
    assert not (tmp_path / "coco").exists()


def test_only_the_chosen_videos_are_written(dataset: str, tmp_path: Path) -> None:
    done = export_videos(dataset, tmp_path / "out", "csv", splits=["train"], videos=["b/ü.1"])
    assert (done.videos, done.frames) == (1, 1)
    assert list(contents(tmp_path / "out")) == ["train/b%2F%C3%BC.1.csv"]


def test_an_output_that_exists_is_refused(dataset: str, tmp_path: Path) -> None:
    export_videos(dataset, tmp_path / "out", "npz")
    with pytest.raises(OutputError, match="exists"):
        export_videos(dataset, tmp_path / "out", "npz")
    export_videos(dataset, tmp_path / "out", "npz", splits=["dev"], overwrite=True)
    assert list(contents(tmp_path / "out")) == ["dev/a.npz"]


def test_an_unknown_format_is_reported(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no format 'cocoo'.*Did you mean 'coco'"):
        export_videos(dataset, tmp_path / "out", "cocoo")
    with pytest.raises(ConfigError, match="written into the dataset"):
        export_videos(dataset, tmp_path / "out", IN_PLACE)


@pytest.mark.parametrize(("name", "module"), sorted(NEEDS.items()))
def test_a_missing_package_is_reported_with_its_extra(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError, match="pip install 'phoenix-ray"):
        export_videos(dataset, tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "uneven"), [("openpose", 1), ("npz", 0), ("csv", 0)])
def test_a_rate_that_varies_is_counted_where_the_format_cannot_say_it(tmp_path: Path, name: str, uneven: int) -> None:
    storage = LocalStorage(write_dataset(tmp_path / "dataset"))
    add_partition(storage, "uneven", frame_count=3, fps_varies=True)
    assert export_videos(storage.root, tmp_path / "all", name).uneven_videos == uneven
    assert export_videos(storage.root, tmp_path / "one", name, videos=[VIDEOS[0].video_id]).uneven_videos == 0


@pytest.mark.parametrize("name", OWN_OUTPUT)
def test_an_earlier_export_is_replaced(dataset: str, tmp_path: Path, name: str) -> None:
    skip_without_package(name)
    export_videos(dataset, tmp_path / "out", name)
    files = contents(tmp_path / "out")
    export_videos(dataset, tmp_path / "out", name, overwrite=True)
    assert contents(tmp_path / "out") == files


@pytest.mark.parametrize("where", [".", "partitions", "new", ".."])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_is_never_written_over_or_into_a_dataset(
    dataset: str, tmp_path: Path, where: str, overwrite: bool
) -> None:
    folder = Path(write_dataset(tmp_path / "all" / "dataset"))
    files = contents(folder)
    with pytest.raises(OutputError):
        export_videos(dataset, folder / where, "csv", overwrite=overwrite)
    assert contents(folder) == files


@pytest.mark.parametrize("where", [".", "partitions", "partitions/split=train", ".."])
def test_an_export_never_replaces_a_dataset_that_lost_its_identity(dataset: str, tmp_path: Path, where: str) -> None:
    folder = Path(write_dataset(tmp_path / "all" / "dataset"))
    (folder / "dataset.json").unlink()
    files = contents(folder)
    with pytest.raises(OutputError, match="holds files that no export wrote"):
        export_videos(dataset, folder / where, "csv", overwrite=True)
    assert contents(folder) == files


@pytest.mark.parametrize("where", ["poses", "."])
def test_an_export_never_replaces_what_is_exported(dataset: str, tmp_path: Path, where: str) -> None:
    export_videos(dataset, tmp_path / "poses", "npz")
    files = contents(tmp_path)
    with pytest.raises(OutputError, match="is what is exported, or holds it"):
        export_videos(str(tmp_path / "poses"), tmp_path / where, "csv", overwrite=True)
    assert contents(tmp_path) == files


@pytest.mark.parametrize("file", ["train/clip.mp4", "thesis.docx", ".git/HEAD", "frames/1.png"])
def test_an_export_never_deletes_files_that_no_export_wrote(dataset: str, tmp_path: Path, file: str) -> None:
    output = tmp_path / "out"
    export_videos(dataset, output, "csv")
    (output / file).parent.mkdir(parents=True, exist_ok=True)
    (output / file).write_text("precious")
    with pytest.raises(OutputError, match=f"holds files that no export wrote .{file}"):
        export_videos(dataset, output, "csv", overwrite=True)
    assert (output / file).read_text() == "precious"


@pytest.mark.parametrize("name", ["csv", "pickle"])
def test_an_export_replaces_a_file_only_if_it_is_a_pickle(dataset: str, tmp_path: Path, name: str) -> None:
    export_videos(dataset, tmp_path / "old.pkl", "pickle")
    export_videos(dataset, tmp_path / "old.pkl", name, overwrite=True)
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"precious")
    with pytest.raises(OutputError, match="is not a file that an export wrote"):
        export_videos(dataset, video, name, overwrite=True)
    assert video.read_bytes() == b"precious"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "new" / "a.pkl", overwrite=False) as temporary:
        temporary.write_text("content")
        assert not (tmp_path / "new" / "a.pkl").exists()
    assert (tmp_path / "new" / "a.pkl").read_text() == "content"
    assert names(tmp_path / "new") == ["a.pkl"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, kind: str) -> None:
    (tmp_path / "out").write_text("before")

    def fail() -> None:
        with atomic_output(tmp_path / "out", overwrite=True) as temporary:
            if kind == "folder":
                (temporary / "train").mkdir(parents=True)
            else:
                temporary.write_text("half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert (tmp_path / "out").read_text() == "before"
    assert names(tmp_path) == ["out"]


def test_what_exists_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(OutputError, match="out exists: give another name, or --overwrite"),
        atomic_output(tmp_path / "out", overwrite=False),
    ):
        pass


@pytest.mark.parametrize("before", ["file", "folder"])
@pytest.mark.parametrize("after", ["file", "folder"])
def test_files_and_folders_replace_each_other(tmp_path: Path, before: str, after: str) -> None:
    output = tmp_path / "out"
    for kind, content in ((before, "old"), (after, "new")):
        with atomic_output(output, overwrite=True) as temporary:
            if kind == "folder":
                temporary.mkdir()
                (temporary / content).write_text(content)
            else:
                temporary.write_text(content)
    assert names(tmp_path) == ["out"]
    assert names(output) == ["new"] if after == "folder" else output.read_text() == "new"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"Cannot write .*file/out"),
        atomic_output(tmp_path / "file" / "out", overwrite=False) as temporary,
    ):
        temporary.write_text("content")


def test_names_of_videos_cannot_leave_the_folder(tmp_path: Path) -> None:
    file = video_file(tmp_path, "../x", "../../etc/passwd", ".npz")
    assert file.resolve().is_relative_to(tmp_path.resolve())
    assert file.parent.is_dir()
