from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import LeftOut, SourceProblem
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.listing import describe_left_out
from phoenix_ray.sources.media_tree import NEITHER, open_folders
from phoenix_ray.sources.registry import open_source
from tests.dataset.made_up import commit, make_video, new_dataset
from tests.sources.made_up import listed, listed_videos, problem, write_audio, write_video
from tests.sources.test_folders import forbid_listing


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three frames."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 3)


def test_each_file_is_a_video_named_by_its_place(tmp_path: Path, clip: Path) -> None:
    for name in ("train/montag/clip eins.mp4", "dev/clip.v2.MP4", "手話.mov", "._clip.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    videos = listed_videos(tmp_path)
    assert [(video.split, video.video_id) for video in videos] == [
        ("all", "手話"),
        ("dev", "clip.v2"),
        ("train", "montag/clip eins"),
    ]
    assert {(video.kind, video.frame_count, video.fps) for video in videos} == {("video_file", 3, 25.0)}
    assert videos[1].location == str(tmp_path / "dev" / "clip.v2.MP4")


def test_one_file_is_a_source_too(clip: Path) -> None:
    source = open_source(SourceSettings(path=str(clip)))
    (video,) = listed_videos(clip)
    assert (video.split, video.video_id, video.location) == ("all", "clip", str(clip))
    assert source.description == f"the video file {clip}"


@pytest.mark.parametrize("damage", ["empty", "cut", "no video"])
def test_a_file_without_frames_is_a_problem_beside_the_others(tmp_path: Path, clip: Path, damage: str) -> None:
    shutil.copy(clip, tmp_path / "good.mp4")
    data = clip.read_bytes()
    content = {"empty": b"", "cut": data[: len(data) // 2], "no video": b"text"}[damage]
    (tmp_path / "bad.mp4").write_bytes(content)
    found = problem(tmp_path)
    assert found.video_id == "bad"
    assert found.message.startswith(f"{tmp_path / 'bad.mp4'} cannot be read: it cannot be opened as a video")
    assert len(listed(tmp_path)) == 2


def test_sound_alone_is_a_problem(tmp_path: Path) -> None:
    write_audio(tmp_path / "sound.mkv")
    assert problem(tmp_path).message.endswith("cannot be read: it has no video stream")


def test_of_two_files_of_one_name_the_first_is_used_and_the_second_is_a_problem(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    shutil.copy(clip, tmp_path / "a.mov")
    video, found = listed(tmp_path)
    assert not isinstance(video, SourceProblem)
    assert video.location == str(tmp_path / "a.mov")
    assert isinstance(found, SourceProblem)
    assert f"names a second video of this split and ID, {tmp_path / 'a.mp4'}" in found.message


def test_names_that_are_not_utf8_are_problems_that_can_be_stored(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "\udcfe"
    folder.mkdir()
    for name in ("good.mp4", "\udcff.mp4", "\udcff.mov"):
        shutil.copy(clip, folder / name)
    (folder / "bad.mp4").write_bytes(b"")
    good, *problems = sorted(listed(folder), key=lambda video: isinstance(video, SourceProblem))
    assert good.video_id == "good"
    assert len(problems) == 3
    for found in problems:
        assert isinstance(found, SourceProblem)
        (found.split + found.video_id + found.message).encode("utf-8")


def test_a_folder_that_cannot_be_listed_is_a_problem(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    (tmp_path / "day.1").mkdir()
    forbid_listing(tmp_path / "day.1", monkeypatch)
    found = problem(tmp_path)
    assert found.video_id == "day.1"
    assert "Permission denied" in found.message


def test_a_limit_of_frames_holds_for_each(tmp_path: Path, clip: Path) -> None:
    assert listed_videos(clip, limit_frames=2)[0].frame_count == 2


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no video files\. It and the folders in it hold no files"):
        listed(tmp_path, kind="videos")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_each_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    touch(
        tmp_path / "b" / "1.jpg", tmp_path / "b" / "2.jpg", tmp_path / "a" / "deep" / "1.WEBP", tmp_path / "c" / "x.txt"
    )
    videos = listed_videos(tmp_path)
    assert [(video.split, video.video_id, video.frame_count) for video in videos] == [
        ("all", "a/deep", 1),
        ("all", "b", 2),
    ]
    assert {(video.kind, video.fps) for video in videos} == {("frame_folder", None)}


def test_a_first_folder_named_as_a_split_is_the_split(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "a" / "1.png", tmp_path / "other" / "a" / "1.png")
    assert [(video.split, video.video_id) for video in listed_videos(tmp_path)] == [
        ("all", "other/a"),
        ("train", "a"),
        ("val", "a"),
    ]


def test_pictures_right_in_the_root_are_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "my clip" / "1.png")
    (video,) = listed_videos(tmp_path / "my clip")
    assert (video.split, video.video_id) == ("all", "my clip")


def test_ids_may_hold_any_text(tmp_path: Path) -> None:
    names = ["ein Video ü", "手話/日", "a=b&c", "new\nline", "100%", "-rf *"]
    touch(*(tmp_path / "frames" / name / "1.png" for name in names))
    assert {video.video_id for video in listed_videos(tmp_path)} == {f"frames/{name}" for name in names}


def test_a_name_that_is_not_utf8_is_a_problem_that_can_be_stored(tmp_path: Path) -> None:
    touch(tmp_path / "good" / "1.png", tmp_path / "\udcff" / "1.png")
    found = problem(tmp_path)
    assert (found.video_id, found.message) == ("\\udcff", "The name is not valid UTF-8. Rename it.")
    assert len(listed(tmp_path)) == 2


def test_links_that_loop_do_not_repeat_a_video(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to("..")
    (tmp_path / "itself").symlink_to("itself")
    assert [video.video_id for video in listed_videos(tmp_path)] == ["a"]


def test_a_folder_that_cannot_be_listed_is_a_problem_beside_frame_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "lost+found" / "1.png")
    forbid_listing(tmp_path / "lost+found", monkeypatch)
    video, found = listed(tmp_path)
    assert video.video_id == "a"
    assert isinstance(found, SourceProblem)
    assert found.video_id == "lost+found"
    assert "Permission denied" in found.message


def test_a_tree_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no frames \(\.png \.jpg"):
        listed(tmp_path, kind="folders")


def test_a_file_is_not_a_tree(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(SourceError, match="is not a folder, so it cannot hold frame folders"):
        open_folders(DiskPath(tmp_path / "file"), SourceSettings())


@pytest.mark.parametrize(
    ("kind", "what"),
    [("auto", "video files and frame folders"), ("folders", "frame folders"), ("videos", "video files")],
)
def test_the_source_says_what_it_is(tmp_path: Path, kind: str, what: str) -> None:
    touch(tmp_path / "a" / "1.png")
    source = open_source(SourceSettings.model_validate({"path": str(tmp_path), "kind": kind}))
    assert (source.root, source.description) == (str(tmp_path), f"{what} in {tmp_path}")


def left_out(path: Path, **settings: object) -> dict[str, dict[str, int]]:
    """Return reason → ending → count of what the source at `path` leaves out."""
    groups: list[LeftOut] = []
    list(open_source(SourceSettings.model_validate({"path": str(path), **settings})).videos(groups.append))
    counts: dict[str, dict[str, int]] = {}
    for group in groups:
        counts.setdefault(group.reason, {})[group.ending] = group.count
    return counts


def lay_out(folder: Path, clip: Path, *names: str) -> Path:
    """Write a tree: videos are copies of `clip`, other files are empty."""
    for name in names:
        touch(folder / name)
        if name.endswith(".mp4"):
            shutil.copy(clip, folder / name)
    return folder


def ids(path: Path, **settings: object) -> list[str]:
    return [f"{video.split}/{video.video_id}" for video in listed_videos(path, **settings)]


def test_files_of_other_formats_are_left_out_by_name_and_ending(tmp_path: Path, clip: Path) -> None:
    lay_out(tmp_path, clip, "a.mp4", "b.XYZ", "deep/c.xyz", "notes", "signer.eaf", ".hidden.txt", "._a.mp4")
    groups: list[LeftOut] = []
    assert len(list(open_source(SourceSettings(path=str(tmp_path))).videos(groups.append))) == 1
    assert groups == [
        LeftOut(NEITHER, ".xyz", 2, ("b.XYZ", "deep/c.xyz")),
        LeftOut(NEITHER, ".eaf", 1, ("signer.eaf",)),
        LeftOut(NEITHER, "", 1, ("notes",)),
    ]
    assert describe_left_out(groups) == [
        "Left out: 2 .xyz, 1 .eaf, 1 without an ending (b.XYZ, deep/c.xyz, signer.eaf, …): "
        "neither video files nor pictures of a format that is read."
    ]


def test_frame_folders_beside_video_files_are_read_too(tmp_path: Path, clip: Path) -> None:
    frames = [f"frames/monday/image{number}.png" for number in range(1, 12)]
    lay_out(tmp_path, clip, "train/a.mp4", "train/b/1.jpg", "train/b/02.jpg", *frames)
    assert ids(tmp_path) == ["all/frames/monday", "train/a", "train/b"]
    assert left_out(tmp_path) == {}


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        (["poster.png"], "pictures in the same folder as video files"),
        (["poster1.png", "poster2.png"], "pictures in the same folder as video files"),
        (["thumbs/clip1.png", "thumbs/clip2.png"], "pictures named like a video file"),
        (["thumbs/cut0.png", "thumbs/clip2.png"], "pictures named like a video file"),
        (["frames/clip1/0001.png", "frames/clip1/0002.png"], "pictures named like a video file"),
        (["clip1/0001.png", "clip1/0002.png"], "pictures named like a video file"),
        (["signers/anna.png", "signers/bo.png"], "pictures without numbers that put them in order"),
        (["signers/anna1.png", "signers/bo2.png"], "pictures without numbers that put them in order"),
        (["cover/1.png"], "pictures without numbers that put them in order"),
    ],
)
def test_pictures_that_may_be_no_video_are_left_out_beside_video_files(
    tmp_path: Path, clip: Path, pictures: list[str], reason: str
) -> None:
    lay_out(tmp_path, clip, "clip1.mp4", "clip2.mp4", *pictures)
    assert ids(tmp_path) == ["all/clip1", "all/clip2"]
    ((told, counts),) = left_out(tmp_path).items()
    assert told.startswith(reason)
    assert "source.kind=folders" in told
    assert counts == {".png": len(pictures)}
    # What it says to do helps.
    assert sum(video.frame_count for video in listed_videos(tmp_path, kind="folders")) == len(pictures)


def test_one_picture_is_named_and_several_are_by_their_folder(tmp_path: Path, clip: Path) -> None:
    lay_out(tmp_path, clip, "a.mp4", "poster.png", "thumbs/anna.png", "thumbs/bo.png")
    groups: list[LeftOut] = []
    list(open_source(SourceSettings(path=str(tmp_path))).videos(groups.append))
    assert [group.names for group in groups] == [("poster.png",), ("thumbs/",)]


def test_a_named_kind_says_what_it_passes_over(tmp_path: Path, clip: Path) -> None:
    lay_out(tmp_path, clip, "a.mp4", "b/1.png", "b/2.png")
    assert (ids(tmp_path, kind="videos"), ids(tmp_path, kind="folders")) == (["all/a"], ["all/b"])
    assert left_out(tmp_path, kind="videos") == {"pictures, and source.kind is videos": {".png": 2}}
    assert left_out(tmp_path, kind="folders") == {"video files, and source.kind is folders": {".mp4": 1}}


def test_an_error_says_what_is_there_instead(tmp_path: Path, clip: Path) -> None:
    lay_out(tmp_path, clip, "a.mp4", "c.txt", "d.txt")
    with pytest.raises(SourceError) as error:
        listed(tmp_path, kind="folders")
    assert f"{tmp_path} holds no frames (.png" in str(error.value)
    assert "There are: 2 .txt, 1 .mp4. Left out are video files, and source.kind is folders." in str(error.value)


def test_a_dataset_in_the_tree_is_passed_over(tmp_path: Path, clip: Path) -> None:
    lay_out(tmp_path, clip, "a.mp4")
    storage = new_dataset(tmp_path / "landmarks")
    commit(storage, make_video(), 0, 10)
    touch(tmp_path / "landmarks" / "look" / "1.png")
    touch(tmp_path / "begun" / "notes.txt")
    (tmp_path / "begun" / "lease.json").write_text('{"run_id": "1"}')
    lay_out(tmp_path, clip, "other/b.mp4")
    (tmp_path / "other" / "dataset.json").write_text('{"name": "somebody else\'s"}')
    assert ids(tmp_path) == ["all/a", "all/other/b"]
    assert left_out(tmp_path) == {"datasets of phoenix_ray": {"folder": 2}, NEITHER: {".json": 1}}
    with pytest.raises(SourceError, match="is a dataset of phoenix_ray: it holds landmarks"):
        open_source(SourceSettings(path=str(tmp_path / "landmarks")))
