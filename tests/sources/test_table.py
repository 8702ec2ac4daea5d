from __future__ import annotations

import csv
import random
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import GenericError
from pyarrow import parquet

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.registry import open_source
from phoenix_ray.sources.table import SEPARATORS, open_table, read_table
from tests.sources.buckets import ROOT, CountedStore
from tests.sources.made_up import listed, listed_videos, problem, write_frames, write_video


def write_table(folder: Path, text: str, name: str = "videos.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with a video file and a frame folder, for tables that lie in it."""
    write_video(tmp_path / "clips" / "ein clip.mp4", 3)
    write_frames(tmp_path / "frames", 2)
    return tmp_path


def test_paths_are_files_or_folders_relative_to_the_table_or_absolute(media: Path) -> None:
    table = write_table(
        media,
        f"video_id,path,split,signer\nmonday/1,clips/ein clip.mp4,train,Anna\nü 2,./clips/../frames,dev,Bo\n"
        f"3,{media / 'frames'},dev,\n",
    )
    videos = listed_videos(table)
    assert [(video.split, video.video_id, video.frame_count) for video in videos] == [
        ("dev", "3", 2),
        ("dev", "ü 2", 2),
        ("train", "monday/1", 3),
    ]
    assert [video.annotation for video in videos] == [{"signer": ""}, {"signer": "Bo"}, {"signer": "Anna"}]
    assert videos[1].location == str(media / "frames")


def test_a_table_without_splits_is_one_split(media: Path) -> None:
    (video,) = listed_videos(write_table(media, "video_id,path\n007,frames\n"))
    assert (video.split, video.video_id, video.annotation) == ("all", "007", {})


def test_an_empty_split_is_the_default_one(media: Path) -> None:
    (video,) = listed_videos(write_table(media, "video_id,path,split\n1,frames,\n"))
    assert video.split == "all"


def test_the_names_of_the_columns_are_settings(media: Path) -> None:
    table = write_table(media, "id,file,part\n1,frames,test\n")
    (video,) = listed_videos(table, video_id_column="id", path_column="file", split_column="part")
    assert (video.split, video.video_id, video.annotation) == ("test", "1", {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("quoted.csv", 'video_id,path,text\n1,frames,"eins, ""zwei""\nund drei"\n'),
        ("windows.csv", '\ufeffvideo_id,path,text\r\n1,frames,"eins, ""zwei""\nund drei"\r\n\r\n'),
        ("tabs.TSV", 'video_id\tpath\ttext\n1\tframes\t"eins, ""zwei""\nund drei"\n'),
        ("tabs.csv", 'video_id\tpath\ttext\n1\tframes\t"eins, ""zwei""\nund drei"\n'),
        ("excel.csv", '\ufeffvideo_id;path;text\r\n1;frames;"eins, ""zwei""\nund drei"\r\n;;\r\n'),
        ("marked.csv", 'sep=;\r\nvideo_id;path;text\r\n1;frames;"eins, ""zwei""\nund drei"\r\n'),
        ("unusual.csv", 'sep=:\nvideo_id:path:text\n1:frames:"eins, ""zwei""\nund drei"\n'),
        ("bars.csv", ' video_id | path|text\n1|frames|"eins, ""zwei""\nund drei"\n'),
        ("ends.csv", 'video_id;path;text;;\n1;frames;"eins, ""zwei""\nund drei";;\n'),
        ("commas in names.csv", 'path;video_id;text\nframes;1;"eins, ""zwei""\nund drei"\n'),
    ],
)
def test_csv_of_every_origin_is_read(media: Path, name: str, text: str) -> None:
    (video,) = listed_videos(write_table(media, text, name))
    assert video.annotation == {"text": 'eins, "zwei"\nund drei'}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("mark", ["", "sep=;\r\n"])
def test_umlauts_of_every_unicode_are_read(media: Path, encoding: str, mark: str) -> None:
    table = media / "videos.csv"
    table.write_bytes(f"{mark}video_id;path;Gebärde\r\nü;frames;Müller\r\n".encode(encoding))
    (video,) = listed_videos(table)
    assert (video.video_id, video.annotation) == ("ü", {"Gebärde": "Müller"})


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(lambda name: f"x{name}x")


@given(
    columns=st.lists(names, max_size=4, unique=True),
    order=st.randoms(),
    separator=st.sampled_from(list(SEPARATORS)),
    lines=st.sampled_from(["\n", "\r\n"]),
    values=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12),
)
def test_what_a_spreadsheet_writes_is_read_back(
    media_table: Path, columns: list[str], order: random.Random, separator: str, lines: str, values: str
) -> None:
    header = [*columns, "video_id", "path"]
    order.shuffle(header)
    row = {name: f"{values}{number}" for number, name in enumerate(header)}
    with media_table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, delimiter=separator, lineterminator=lines)
        writer.writeheader()
        writer.writerows([row, row])
    assert read_table(DiskPath(media_table)) == [row, row]


@pytest.fixture(scope="module")
def media_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "videos.csv"


def test_parquet_is_read_with_every_value_as_text(media: Path) -> None:
    columns = {
        "video_id": pa.array([7, 8]),
        "path": pa.array(["frames", "clips/ein clip.mp4"]).dictionary_encode(),
        "age": pa.array([31, None]),
    }
    parquet.write_table(pa.table(columns), media / "videos.parquet")
    videos = listed_videos(media / "videos.parquet")
    assert [(video.video_id, video.frame_count, video.annotation) for video in videos] == [
        ("7", 2, {"age": "31"}),
        ("8", 3, {"age": ""}),
    ]


def test_a_row_whose_video_is_missing_is_a_problem(media: Path) -> None:
    table = write_table(media, "video_id,path\n1,frames\n2,clips/gone.mp4\n")
    assert problem(table).message == f"videos.csv row 2 names '{media / 'clips' / 'gone.mp4'}', which does not exist."
    assert len(listed(table)) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",frames", "videos.csv row 1 gives no video ID."),
        ("1,", "videos.csv row 1 names '', which does not exist."),
        ("1," + "x" * 300, "File name too long"),
        ("1,foo://bucket/clip.mp4", "foo:// is not a file system that is known here"),
    ],
)
def test_a_row_that_lacks_something_is_a_problem(media: Path, row: str, reason: str) -> None:
    assert reason in problem(write_table(media, f"video_id,path\n{row}\n")).message


def test_a_path_that_can_be_no_path_is_a_problem(media: Path) -> None:
    parquet.write_table(pa.table({"video_id": ["1"], "path": ["a\0b"]}), media / "videos.parquet")
    # Python 3.13 says "embedded null character", earlier ones "embedded null byte".
    assert "embedded null" in problem(media / "videos.parquet").message


def test_a_second_row_of_the_same_name_is_a_problem(media: Path) -> None:
    video, found = listed(write_table(media, "video_id,path\n1,frames\n1,clips/ein clip.mp4\n"))
    assert not isinstance(video, SourceProblem)
    assert video.location == str(media / "frames")
    assert isinstance(found, SourceProblem)
    assert found.message.startswith("videos.csv row 2 names a second video of this split and ID")


def test_the_error_for_a_missing_column_names_the_nearest(media: Path) -> None:
    table = write_table(media, "video-id,path\n1,frames\n")
    with pytest.raises(
        SourceError, match=r"no column 'video_id' \(source.video_id_column\)\. Did you mean 'video-id'\?"
    ):
        listed(table)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("video_id,path\n", "has no rows"),
        ("", "has no rows"),
        ("video_id,path\n1\n", "line 2 has 1 value, the header 2, separated by commas"),
        (
            "video_id;path\n1;2;3\n",
            r"videos\.csv cannot be read as a table: line 2 has 3 values, the header 2, separated by semicolons\. "
            "Expected: a header with video_id and path, then one line for each video, separated by commas, semicolons, "
            "tabs or bars, in UTF-8",
        ),
        ("PK\x03\x04 zipped\n", "has no rows|has no column"),
        ('video_id,path\n1,"frames\n', "cannot be read as a table: unexpected end of data"),
    ],
)
def test_what_cannot_be_read_as_a_table_is_an_error(media: Path, text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        listed(write_table(media, text))


def test_a_table_in_another_encoding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_bytes("video_id,path\nü,x\n".encode("latin-1"))
    with pytest.raises(SourceError, match="cannot be read as a table: 'utf-8' codec"):
        listed(tmp_path / "videos.csv")


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(SourceError, match="cannot be read as a table"):
        listed(tmp_path / "videos.parquet")


def test_a_column_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"video_id": ["1"], "path": ["a"], "box": [[1, 2]]}), tmp_path / "videos.parquet")
    with pytest.raises(SourceError, match="cannot be read as a table: Unsupported cast from list"):
        read_table(DiskPath(tmp_path / "videos.parquet"))


def test_a_folder_is_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is not a table: give a file that ends in \.csv \.tsv \.parquet"):
        open_table(DiskPath(tmp_path), SourceSettings())


def test_the_source_says_what_it_is(media: Path) -> None:
    table = write_table(media, "video_id,path\n1,frames\n")
    source = open_source(SourceSettings(path=str(table)))
    assert (source.root, source.description) == (str(table), f"videos named by the table {table}")


def test_the_mark_of_a_cell_that_would_be_a_formula_is_taken_off(tmp_path: Path) -> None:
    table = tmp_path / "videos.csv"
    table.write_text("video_id,path,offset\n'=1+1,'-a.mp4,-5\n'x,b.mp4,7\n")
    assert read_table(DiskPath(table)) == [
        {"video_id": "=1+1", "path": "-a.mp4", "offset": "-5"},
        {"video_id": "'x", "path": "b.mp4", "offset": "7"},
    ]


def test_a_table_names_uris_and_paths_beside_each_other(media: Path, bucket: CountedStore) -> None:
    uri = bucket.copy(media / "frames", "set/frames with? a mark")
    bucket.copy(media / "clips", "set/clips")
    table = write_table(
        media, f"video_id,path\n1,{uri}/\n2,{ROOT}/set/clips/ein clip.mp4\n3,frames\n4,file://{media}/frames\n"
    )
    videos = listed_videos(table)
    assert [video.location for video in videos] == [
        uri,
        f"{ROOT}/set/clips/ein clip.mp4",
        str(media / "frames"),
        str(media / "frames"),
    ]
    assert len({video.signature for video in videos}) == 2


def test_a_bucket_that_does_not_exist_ends_the_listing_of_a_table(
    media: Path, bucket: CountedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GenericError("404: <Code>NoSuchBucket</Code>")

    monkeypatch.setattr(obstore, "list_with_delimiter", fail)
    with pytest.raises(SourceError, match=f"row 1: {ROOT}/frames cannot be read: there is no such bucket"):
        listed(write_table(media, f"video_id,path\n1,{ROOT}/frames\n"))


def test_a_secret_in_the_uri_of_a_row_is_refused_without_showing_it(media: Path) -> None:
    (problem,) = listed(write_table(media, "video_id,path\n1,s3://AKIA:abc/defGeheim@b/x\n"))
    assert isinstance(problem, SourceProblem)
    assert "row 1: 's3://***@…' holds credentials" in problem.message
    assert "Geheim" not in repr(problem)
