from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import LeftOut, Video
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.phoenix import FRAMES_FOLDER, PhoenixSource, annotation_path, open_phoenix
from phoenix_ray.sources.registry import open_source
from tests.sources.made_up import listed, listed_videos, problem

HEADER = "name|video|start|end|speaker|orth|translation"
NAMES = {"train": ["01April-2", "01April-10"], "dev": ["25October-1"], "test": ["11August-1"]}


def row(name: str, signer: str = "Signer01", gloss: str = "REGEN", translation: str = "es regnet") -> str:
    return f"{name}|{name}/1/*.png|-1|-1|{signer}|{gloss}|{translation}"


def frames_folder(dataset: Path, split: str, name: str = "") -> Path:
    return dataset / "features" / "fullFrame-210x260px" / split / name


def write_annotations(dataset: Path, split: str, *rows: str) -> None:
    path = dataset / annotation_path(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A PHOENIX-2014-T tree of 4 videos with 3 frames each; the frames are empty files, for nothing reads them."""
    folder = tmp_path / "release-v3" / "PHOENIX-2014-T"
    for split, names in NAMES.items():
        for name in names:
            frames_folder(folder, split, name).mkdir(parents=True)
            for number in (1, 2, 3):
                (frames_folder(folder, split, name) / f"images{number:04}.png").touch()
        write_annotations(folder, split, *map(row, names))
    return folder


def ids(videos: list[Video]) -> list[tuple[str, str]]:
    return [(video.split, video.video_id) for video in videos]


def test_videos_are_sorted_by_split_and_name_whatever_the_order_of_the_csv(dataset: Path) -> None:
    videos = listed_videos(dataset)
    assert ids(videos) == [
        ("dev", "25October-1"),
        ("test", "11August-1"),
        ("train", "01April-10"),
        ("train", "01April-2"),
    ]
    assert {(video.kind, video.frame_count, video.fps) for video in videos} == {("frame_folder", 3, 25.0)}
    assert videos[3].location == str(frames_folder(dataset, "train", "01April-2"))


def test_signer_gloss_and_translation_are_taken_along(dataset: Path) -> None:
    write_annotations(dataset, "dev", row("25October-1", "Signer08", "ÜBER __ON__ loc-NORD", "über dem norden ."))
    assert listed_videos(dataset)[0].annotation == {
        "signer": "Signer08",
        "gloss": "ÜBER __ON__ loc-NORD",
        "translation": "über dem norden .",
    }


@pytest.mark.parametrize("translation", ['er sagt "ja', '"heute" regen', "komma, semikolon; tab\tund 'haken'"])
def test_nothing_in_the_csv_is_a_quotation(dataset: Path, translation: str) -> None:
    write_annotations(dataset, "train", row("01April-2", translation=translation), row("01April-10"))
    *_, ten, two = listed_videos(dataset)
    assert two.annotation["translation"] == translation
    assert ten.annotation["translation"] == "es regnet"


def test_what_lies_beside_splits_and_videos_is_said(dataset: Path) -> None:
    frames = dataset / FRAMES_FOLDER
    (frames / "val" / "clip").mkdir(parents=True)
    for name in ("readme.txt", "train/.DS_Store", "train/notes.md"):
        (frames / name).touch()
    groups: list[LeftOut] = []
    before = listed_videos(dataset)
    assert list(open_source(SourceSettings(path=str(dataset))).videos(groups.append)) == before
    assert [(group.ending, group.names) for group in groups] == [
        (".txt", ("readme.txt",)),
        (".md", ("train/notes.md",)),
        ("folder", ("val/",)),
    ]


def test_stray_files_are_not_frames(dataset: Path) -> None:
    before = listed_videos(dataset)
    for name in ("createDnnTrainingLabels-profile.py.lprof", "Thumbs.db", "._images0001.png"):
        (frames_folder(dataset, "dev", "25October-1") / name).touch()
    assert listed_videos(dataset) == before


def test_a_further_csv_is_left_alone(dataset: Path) -> None:
    write_annotations(dataset, "train-complex-annotation", row("99Nowhere"))
    assert len(listed_videos(dataset)) == 4


def test_stray_files_beside_the_videos_are_left_alone(dataset: Path) -> None:
    (frames_folder(dataset, "train") / "list.txt").touch()
    (frames_folder(dataset, "train") / ".cache").mkdir()
    (frames_folder(dataset, "train") / "itself").symlink_to("itself")
    assert len(listed_videos(dataset)) == 4


@pytest.mark.parametrize(
    "given", [".", "PHOENIX-2014-T", "PHOENIX-2014-T/features", "PHOENIX-2014-T/features/fullFrame-210x260px"]
)
def test_every_folder_around_gives_the_same_dataset(dataset: Path, given: str) -> None:
    source = open_source(SourceSettings(path=str(dataset.parent / given)))
    assert isinstance(source, PhoenixSource)
    assert source.root == str(dataset)
    assert len(list(source.videos())) == 4


def test_features_alone_are_enough(dataset: Path) -> None:
    shutil.rmtree(dataset / "annotations")
    videos = listed_videos(dataset)
    assert len(videos) == 4
    assert [video.annotation for video in videos] == [{}] * 4
    assert open_source(SourceSettings(path=str(dataset))).description.endswith("(no annotations found)")


def test_the_description_names_the_annotated_splits(dataset: Path) -> None:
    (dataset / annotation_path("dev")).unlink()
    description = open_source(SourceSettings(path=str(dataset))).description
    assert description == f"PHOENIX-2014-T at {dataset} (annotations of train, test found)"


def test_a_row_without_frames_is_a_problem(dataset: Path) -> None:
    write_annotations(dataset, "dev", row("25October-1"), row("26October-1"))
    found = problem(dataset)
    assert (found.split, found.video_id) == ("dev", "26October-1")
    assert found.message == (
        f"PHOENIX-2014-T.dev.corpus.csv names '{frames_folder(dataset, 'dev', '26October-1')}', which does not exist."
    )
    assert len(listed(dataset)) == 5


def test_a_folder_without_a_row_is_a_video_without_annotation(dataset: Path) -> None:
    write_annotations(dataset, "dev")
    assert listed_videos(dataset)[0].annotation == {}


def test_a_folder_without_frames_is_a_problem(dataset: Path) -> None:
    frames_folder(dataset, "test", "empty").mkdir()
    assert problem(dataset).message.endswith("test/empty holds no frames (.png .jpg .jpeg .webp .bmp .tif .tiff).")


def test_an_empty_split_is_an_error(dataset: Path) -> None:
    shutil.rmtree(frames_folder(dataset, "dev", "25October-1"))
    write_annotations(dataset, "dev")
    with pytest.raises(SourceError, match=r"Split 'dev' is empty: .*/dev holds no video folders\. Unpack"):
        listed(dataset)
    assert len(listed(dataset, splits=("train", "test"))) == 3


def test_a_split_that_is_not_there_is_not_missed(dataset: Path) -> None:
    shutil.rmtree(frames_folder(dataset, "dev"))
    (dataset / annotation_path("dev")).unlink()
    assert len(listed_videos(dataset)) == 3


def test_a_tree_without_any_split_is_an_error(dataset: Path) -> None:
    for split in NAMES:
        shutil.rmtree(frames_folder(dataset, split))
        (dataset / annotation_path(split)).unlink()
    with pytest.raises(SourceError, match="holds none of the folders train, dev, test"):
        listed(dataset)


def test_the_error_for_an_unknown_split_names_the_nearest(dataset: Path) -> None:
    with pytest.raises(SourceError, match=r"no video in split 'tran'.* Did you mean 'train'\? .*: dev, test, train\."):
        listed(dataset, splits=("tran",))


def test_only_the_wanted_splits_are_looked_at(dataset: Path) -> None:
    (dataset / annotation_path("train")).write_text("no table")
    assert ids(listed_videos(dataset, splits=("test", "dev"))) == [("dev", "25October-1"), ("test", "11August-1")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name,video,start,end,speaker,orth,translation\n", r"has no column 'name' \(separated by '\|'\)"),
        (b"name|video|speker|orth|translation\n", r"has no column 'speaker' .* Did you mean 'speker'\?"),
        (b"", "has no column 'name'"),
        (f"{HEADER}\nü".encode("latin-1"), "cannot be read: 'utf-8' codec"),
    ],
)
def test_annotations_that_cannot_be_read_are_an_error(dataset: Path, content: bytes, reason: str) -> None:
    (dataset / annotation_path("dev")).write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        listed(dataset)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(dataset: Path) -> None:
    text = f"\ufeff{HEADER}\r\n{row('25October-1')}\r\n"
    (dataset / annotation_path("dev")).write_bytes(text.encode())
    assert listed_videos(dataset)[0].annotation["translation"] == "es regnet"


def test_another_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"is not a PHOENIX-2014-T tree: give the folder that holds features/.*=folders"
    ):
        open_phoenix(DiskPath(tmp_path), SourceSettings())


def test_the_real_sample_is_listed(phoenix_sample: Path) -> None:
    for given in (phoenix_sample, phoenix_sample.parent):
        videos = listed_videos(given)
        assert [video.split for video in videos] == ["dev", "test", "test", "train", "train", "train"]
        assert sum(video.frame_count for video in videos) == 267
        assert all(set(video.annotation) == {"signer", "gloss", "translation"} for video in videos)
