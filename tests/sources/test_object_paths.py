"""Sources in a bucket give what the same files on a disk give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import obstore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError, PermissionDeniedError
from pyarrow import parquet

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources import object_paths
from phoenix_ray.sources.base import Frame, LeftOut, SourceProblem, Video
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.folders import walk
from phoenix_ray.sources.frames import read_frames, read_frames_except, undecoded_frames
from phoenix_ray.sources.listing import Candidate, list_videos
from phoenix_ray.sources.media_tree import MediaTree
from phoenix_ray.sources.object_paths import ObjectPath
from phoenix_ray.sources.ranged import BLOCK_BYTES
from phoenix_ray.sources.registry import open_source
from tests.sources.buckets import ROOT, CountedStore, memory_bucket
from tests.sources.made_up import write_frames, write_video
from tests.sources.test_phoenix import row, write_annotations

SETTINGS = DecodeSettings()


def phoenix_tree(root: Path) -> Path:
    dataset = root / "PHOENIX-2014-T"
    for number, name in enumerate(("01April-10", "01April-2", "01April", "01April.b", "02May ü")):
        write_frames(dataset / "features" / "fullFrame-210x260px" / "train" / name, 2 + number, "{}.png")
    write_frames(dataset / "features" / "fullFrame-210x260px" / "dev" / "x", 11, "{}.png")
    write_annotations(dataset, "train", row("01April"), row("gone"))
    write_annotations(dataset, "dev")
    return dataset


def media_tree(root: Path) -> Path:
    clip = write_video(root / "train" / "monday" / "clip one.mp4", 30)
    shutil.copy(clip, root / "dev.mp4")
    write_frames(root / "frames" / "a", 3, "{}.png")
    write_frames(root / "frames" / "a-b" / "c", 2, "{}.png")
    write_frames(root / "thumbs", 2, "clip one{}.png")
    (root / "notes.txt").touch()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.mp4").touch()
    (root / "bad.mp4").write_bytes(b"no video")
    landmarks = root / "train" / "landmarks"
    (landmarks / "data").mkdir(parents=True)
    (landmarks / "data" / "1.png").touch()
    (landmarks / "dataset.json").write_text('{"fingerprint": "1", "layout": "x"}')
    return root


def table(root: Path) -> Path:
    write_frames(root / "frames", 3, "{}.png")
    write_video(root / "tables" / "clip.mp4", 3)
    path = root / "tables" / "videos.parquet"
    rows = {"video_id": ["1", "2", "3"], "path": ["../frames", "clip.mp4", "gone.mp4"], "signer": ["A", "B", "C"]}
    parquet.write_table(pa.table(rows), path)
    return path


def text_table(root: Path) -> Path:
    path = table(root).with_suffix(".csv")
    path.write_text("video_id;path\nü;../frames\n2;clip.mp4\n", encoding="utf-16")
    return path


def both(path: str, note: Callable[[LeftOut], object]) -> list[Video | SourceProblem]:
    return list(open_source(SourceSettings(path=path)).videos(note))


@pytest.mark.parametrize("make", [phoenix_tree, media_tree, table, text_table])
def test_a_source_in_a_bucket_is_that_on_the_disk(make: Any, tmp_path: Path, bucket: CountedStore) -> None:
    path = make(tmp_path / "data")
    uri = bucket.copy(tmp_path / "data", "some/data") + str(path).removeprefix(str(tmp_path / "data"))
    left_out: list[LeftOut] = []
    left_out_there: list[LeftOut] = []
    here, there = both(str(path), left_out.append), both(f"{uri}/", left_out_there.append)
    assert open_source(SourceSettings(path=f"{uri}//")).root == uri
    for video, other in zip(here, there, strict=True):
        if isinstance(video, SourceProblem):
            assert isinstance(other, SourceProblem)
            message = video.message.replace(str(tmp_path / "data"), f"{ROOT}/some/data")
            assert other == replace(video, message=message)
            continue
        assert isinstance(other, Video)
        location = video.location.replace(str(tmp_path / "data"), f"{ROOT}/some/data")
        assert other == replace(video, location=location)
        check_equal(read(other), read(video))
        assert list(undecoded_frames(other, 0, 2)) == list(undecoded_frames(video, 0, 2))
    assert left_out_there == left_out


def read(video: Video) -> list[Frame]:
    return list(read_frames(video, 0, video.frame_count, SETTINGS))


def check_equal(some: list[Frame], others: list[Frame]) -> None:
    for frame, other in zip(some, others, strict=True):
        assert replace(frame, image=None) == replace(other, image=None)
        np.testing.assert_equal(frame.image, other.image)


def frame_folder(bucket: CountedStore, tmp_path: Path, count: int) -> Video:
    """Return a video of frames in the bucket."""
    folder = write_frames(tmp_path / "clip", count, "{}.png")
    return Video("train", "clip", "frame_folder", bucket.copy(folder, "train/clip"), count, "s", 25.0)


def video_file(bucket: CountedStore, tmp_path: Path, name: str = "clip.mp4", frames: int = 12) -> Video:
    """Return a video file in the bucket."""
    write_video(tmp_path / "files" / name, frames)
    (video,) = listed_videos(bucket.copy(tmp_path / "files", "files"))
    return video


def listed_videos(uri: str, **settings: Any) -> list[Video]:
    found = list(open_source(SourceSettings(path=uri, **settings)).videos())
    assert not [video for video in found if isinstance(video, SourceProblem)]
    return [video for video in found if isinstance(video, Video)]


def test_frames_that_are_missing_or_damaged_are_flagged(bucket: CountedStore, tmp_path: Path) -> None:
    video = frame_folder(bucket, tmp_path, 5)
    frames = read_frames(video, 0, 5, DecodeSettings(ahead=1))
    sound = [next(frames)]
    obstore.delete(bucket.store, "train/clip/2.png")
    bucket.put("train/clip/3.png", b"")
    bucket.put("train/clip/4.png", b"no picture")
    found = [*sound, *frames]
    assert [frame.image is None for frame in found] == [False, True, True, True, False]
    reasons = [f"No such object: '{ROOT}/train/clip/2.png'", "the file is empty (0 bytes)", "of 10 bytes is not a PNG"]
    for frame, reason in zip(found[1:4], reasons, strict=True):
        assert reason in (frame.error or "")


def test_a_folder_that_is_gone_says_nothing_about_its_frames(bucket: CountedStore, tmp_path: Path) -> None:
    video = frame_folder(bucket, tmp_path, 3)
    frames = read_frames(video, 0, 3, DecodeSettings(ahead=1))
    next(frames)
    obstore.delete(bucket.store, [f"train/clip/{number}.png" for number in (1, 2, 3)])
    with pytest.raises(SourceError, match="every node must see the source under the same path"):
        list(frames)
    with pytest.raises(SourceError, match="every node must see the source under the same path"):
        read(video)
    with pytest.raises(SourceError, match="every node must see the source under the same path"):
        read(replace(video, kind="video_file"))


@pytest.mark.parametrize("error", [PermissionDeniedError("403 Forbidden"), GenericError("503 after 60 s")])
@pytest.mark.parametrize("kind", ["frame_folder", "video_file"])
def test_a_store_that_fails_flags_no_frame(
    bucket: CountedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: Exception
) -> None:
    video = frame_folder(bucket, tmp_path, 3) if kind == "frame_folder" else video_file(bucket, tmp_path)
    # Head is asked whether an object is empty.
    for verb in ("get", "head"):
        monkeypatch.setattr(obstore, verb, failing(error))
    with pytest.raises(SourceError, match="the storage failed; nothing says that the file is damaged") as caught:
        read(video)
    assert str(error) in str(caught.value)
    monkeypatch.setattr(obstore, "list_with_delimiter", failing(error))
    with pytest.raises(SourceError, match=str(error)):
        read(video)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_a_video_file_that_is_replaced_while_it_is_read_is_read_again_and_not_mixed(
    bucket: CountedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(object_paths, "BLOCK_BYTES", 4096)
    monkeypatch.setattr("phoenix_ray.sources.ranged.BLOCK_BYTES", 4096)
    video = video_file(bucket, tmp_path, name, 200)
    key, content = f"files/{name}", (tmp_path / "files" / name).read_bytes()
    assert len(content) > 30 * 4096
    get = obstore.get

    def replacing(store: Any, path: str, **options: Any) -> Any:
        if options["options"]["range"][0] > len(content) // 2:
            bucket.put(key, content)
        return get(store, path, **options)

    monkeypatch.setattr(obstore, "get", replacing)
    with pytest.raises(SourceError, match="it was replaced while it was read"):
        read(video)
    monkeypatch.setattr(obstore, "get", get)
    assert [frame.error for frame in read(video)] == [None] * 200


def test_a_frame_takes_one_request_and_a_folder_one_listing(bucket: CountedStore, tmp_path: Path) -> None:
    video = frame_folder(bucket, tmp_path, 5)
    bucket.requests.clear()
    read(video)
    assert sorted(bucket.requests) == [
        *(("get", f"train/clip/{number}.png") for number in range(1, 6)),
        ("list_with_delimiter", "train/clip"),
    ]
    bucket.requests.clear()
    assert len(list(read_frames_except(video, {0, 1, 2, 4}, SETTINGS))) == 5
    assert [key for verb, key in bucket.requests if verb == "get"] == ["train/clip/4.png"]


def test_a_video_file_is_transferred_once(
    bucket: CountedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = video_file(bucket, tmp_path, frames=100)
    bucket.requests.clear()
    read(video)
    size = (tmp_path / "files" / "clip.mp4").stat().st_size
    assert bucket.count("get") == len(bucket.requests) <= 1 + size // BLOCK_BYTES


def test_a_video_file_is_planned_with_few_requests(bucket: CountedStore, tmp_path: Path) -> None:
    write_video(tmp_path / "files" / "clip.mp4", 100)
    source = open_source(SourceSettings(path=bucket.copy(tmp_path / "files", "files")))
    bucket.requests.clear()
    assert len(list(source.videos())) == 1
    assert [verb for verb, key in bucket.requests if key == "files/clip.mp4"] == ["head", "get"]


def test_folders_beside_each_other_are_listed_together(bucket: CountedStore) -> None:
    for number in range(500):
        for frame in range(3):
            bucket.put(f"tree/train/{number:03}/{frame}.png")
    bucket.requests.clear()
    videos = listed_videos(f"{ROOT}/tree", kind="folders")
    assert [(video.split, video.video_id, video.frame_count) for video in videos] == [
        ("train", f"{number:03}", 3) for number in range(500)
    ]
    # Each listing of 64 folders begins a page.
    assert bucket.count("list") <= 20
    assert bucket.pages <= 20
    assert len(bucket.requests) <= 30


def test_what_a_bucket_holds_is_found_out_without_listing_all_of_it(bucket: CountedStore) -> None:
    for number in range(30_000):
        bucket.put(f"tree/train/{number // 100:03}/{number % 100}.png")
    bucket.put("tree/dev/1/1.png")
    assert isinstance(open_source(SourceSettings(path=f"{ROOT}/tree")), MediaTree)
    # The first page of a folder that exists, and those that are listed ahead.
    assert bucket.pages <= 25


def test_what_lies_between_two_folders_is_jumped_over(bucket: CountedStore) -> None:
    for number in range(5000):
        bucket.put(f"tree/m/{number:04}.png")
    for name in ("a", "z"):
        bucket.put(f"tree/{name}/1.png")
    bucket.pages = 0
    found = ObjectPath(f"{ROOT}/tree").frames_of(["z", "a", "gone"], sizes=True)
    assert found == {"a": {"1.png": 0}, "z": {"1.png": 0}}
    assert bucket.pages <= 4


NAMES = st.text(st.sampled_from("ab-./ü%"), min_size=1, max_size=3).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


@given(keys=st.sets(NAMES, max_size=12), wanted=st.sets(st.sampled_from(["a", "b", "a-", "a.", "aa", "ü", "-"])))
def test_folders_listed_together_are_those_listed_one_by_one(keys: set[str], wanted: set[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, memory_bucket(monkeypatch) as bucket:
        monkeypatch.setattr(object_paths, "PAGE_KEYS", 2)
        for key in keys:
            bucket.put(f"t/{key}.png", b"12")
        root = ObjectPath(f"{ROOT}/t")
        together = root.frames_of(sorted(wanted), sizes=True)
        for name in wanted:
            try:
                alone = (root / name).frames(sizes=True)
            except FileNotFoundError:
                alone = None
            assert together.get(name) == alone


@given(keys=st.sets(NAMES, max_size=12), ahead=st.integers(0, 8))
def test_a_walk_through_a_bucket_is_one_through_folders(keys: set[str], ahead: int) -> None:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        memory_bucket(monkeypatch) as bucket,
        TemporaryDirectory() as root,
    ):
        monkeypatch.setattr(object_paths, "FOLDERS_TOGETHER", 2)
        monkeypatch.setattr(object_paths, "KEYS_AHEAD", ahead)
        for key in keys:
            bucket.put(f"t/{key}.x")
            path = Path(root, f"{key}.x")
            with suppress(FileExistsError, NotADirectoryError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        bucket.put("t/y.x")
        Path(root, "y.x").touch()
        here = [(folder.relative, folder.files) for folder in walk(DiskPath(root))]
        there = [(folder.relative, folder.files) for folder in walk(ObjectPath(f"{ROOT}/t"))]
        assert there == here


def test_a_listing_that_breaks_off_goes_on_where_it_was(bucket: CountedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_paths, "PAGE_KEYS", 2)
    monkeypatch.setattr("phoenix_ray.sources.files.PAUSES", (0, 0))
    for number in range(7):
        bucket.put(f"tree/a/{number}.png")
    list_all, broken = obstore.list, iter([1, 0, 2])

    def breaking_off(*words: Any, **options: Any) -> Any:
        pages = list_all(*words, **options)
        for _ in range(next(broken, 9)):
            if (page := next(pages, None)) is None:
                return
            yield page
        raise GenericError("Error getting list response body: HTTP error")

    monkeypatch.setattr(obstore, "list", breaking_off)
    assert list(ObjectPath(f"{ROOT}/tree").frames_of(["a"], sizes=False)["a"]) == [f"{n}.png" for n in range(7)]


def test_empty_objects_that_mark_folders_are_not_files(bucket: CountedStore) -> None:
    for key in ("tree", "tree/train", "tree/train/a", "tree/train/a/1.png"):
        bucket.put(key)
    assert [(str(folder.relative), folder.files) for folder in walk(ObjectPath(f"{ROOT}/tree"))] == [
        (".", ()),
        ("train", ()),
        ("train/a", ("1.png",)),
    ]


def test_keys_in_no_order_are_refused_and_not_lost(bucket: CountedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        bucket.put(f"tree/{name}/1.png", b"content")
    list_all = obstore.list
    monkeypatch.setattr(obstore, "list", lambda *words, **options: (page[::-1] for page in list_all(*words, **options)))
    with pytest.raises(SourceError, match="Its keys are not listed in order"):
        list(
            list_videos([Candidate("all", name, f"{ROOT}/tree/{name}", "the test") for name in "ab"], SourceSettings())
        )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "pheonix/train",
            f"There is no {ROOT}/pheonix/train (source.path); {ROOT} has no 'pheonix'. Did you mean 'phoenix'?",
        ),
        (
            "phoenix/trian",
            f"There is no {ROOT}/phoenix/trian (source.path); {ROOT}/phoenix has no 'trian'. Did you mean 'train'?",
        ),
        ("texts", f"{ROOT}/texts holds no PHOENIX-2014-T tree, no video file and no frames. There are: 1 .txt."),
        ("texts/a.txt", f"{ROOT}/texts/a.txt is neither a video file of a format that is read"),
        ("texts//b", f"'{ROOT}/texts//b' has an empty part"),
    ],
)
def test_an_error_names_the_uri_and_the_way_out(bucket: CountedStore, path: str, message: str) -> None:
    for key in ("phoenix/train/1.png", "texts/a.txt"):
        bucket.put(key)
    with pytest.raises((SourceError, ConfigError)) as caught:
        open_source(SourceSettings(path=f"{ROOT}/{path}"))
    assert str(caught.value).startswith(message)


def test_a_store_that_fails_ends_the_listing(bucket: CountedStore, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("a", "b"):
        bucket.put(f"tree/{name}/1.png")
    source = open_source(SourceSettings(path=f"{ROOT}/tree", kind="folders"))
    listing = source.videos()
    monkeypatch.setattr(obstore, "list", failing(PermissionDeniedError("403 Forbidden")))
    with pytest.raises(SourceError, match=r"cannot be (read|listed): 403 Forbidden.*AWS_ACCESS_KEY_ID"):
        list(listing)


def test_an_empty_object_that_marks_a_folder_is_ignored_in_whatever_order_it_comes(bucket: CountedStore) -> None:
    """The client takes away the slash of `a/`, so that the marker comes after `a-1/…`."""
    for key in ("tree/a", "tree/a-1/1.png", "tree/a/1.png", "tree/a/2.png"):
        bucket.put(key, b"content" if key.endswith(".png") else b"")
    videos = listed_videos(f"{ROOT}/tree", kind="folders")
    assert [(video.video_id, video.frame_count) for video in videos] == [("a", 2), ("a-1", 1)]


@pytest.mark.parametrize("key", ["clip/f2.png", "clip"])
def test_an_object_with_the_key_of_a_folder_is_not_left_out_silently(bucket: CountedStore, key: str) -> None:
    bucket.put("tree/clip/f1.png", b"content")
    bucket.put(f"tree/{key}", b"content")
    bucket.put(f"tree/{key}/x", b"content")
    with pytest.raises(SourceError, match="An object and a folder have the same key"):
        list(open_source(SourceSettings(path=f"{ROOT}/tree", kind="folders")).videos())
