"""Landmark files as in Kaggle's two sign-language competitions, for the solutions that read them.

The format `kaggle`, "Google - Isolated Sign Language Recognition", has a Parquet file per video:

    train.csv                        path, participant_id, sequence_id, sign; and our video_id and signer
    train/<video ID>.parquet         frame, row_id ("<frame>-<type>-<index>"), type, landmark_index, x, y, z
    sign_to_prediction_index_map.json  the signs, numbered

It has 543 rows a frame; normalised coordinates as float64, null where a part is missing. The competition's loader:
`pd.read_parquet(file, columns=["x", "y", "z"]).values.reshape(-1, 543, 3)`.

The format `fingerspelling`, "Google - American Sign Language Fingerspelling Recognition", has many videos in a file:

    train.csv                        path, file_id, sequence_id, participant_id, phrase; and our video_id and signer
    train_landmarks/<file_id>.parquet  a row a frame: frame, x_face_0, ..., z_right_hand_20, and the index sequence_id
    character_to_prediction_index.json  the characters of all phrases, numbered

It has 1,629 coordinate columns: all x, then y, then z; normalised float32, null where a part is missing.

In both the points come in the order face, left hand, pose, right hand, and irises are left out. Sequences are numbered
through all splits, signers in the order of their first video.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.exports.selection import ExportSelection, ExportVideo, video_file
from phoenix_ray.text import spreadsheet_text

POINTS = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}
# Behind the competition's own columns: by these a row is found in the dataset.
_OUR_COLUMNS = ("video_id", "signer")

_ASL_COLUMNS = ("path", "participant_id", "sequence_id", "sign")
# What `pq.write_table` takes: 1,931 frames, 63 MB.
_ASL_ROWS_PER_GROUP = 1 << 20

SEQUENCES_PER_FILE = 1_000
_FINGERSPELLING_COLUMNS = ("path", "file_id", "sequence_id", "participant_id", "phrase")
_COORDINATES = tuple(
    f"{axis}_{part}_{index}" for axis in IMAGE_AXES for part, points in POINTS.items() for index in range(points)
)
# A row group of whole videos has at least so many frames: 27 MB. One a video would spend more on the statistics of
# 1,630 columns than on the numbers.
_FRAMES_PER_GROUP = 4_096
# Longer videos are cut at so many frames, which no shorter ones reach.
_MOST_FRAMES_PER_GROUP = 2 * _FRAMES_PER_GROUP


def write_kaggle_asl(selection: ExportSelection, output: Path) -> None:
    """Write `<split>.csv` for each split, `<split>/<video ID>.parquet` for each video, and the table of signs.

    A video's sign is its gloss.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_format(selection.layout, "kaggle")
    output.mkdir(parents=True)
    participants, sequence_ids, signs = _number_signers(), count(), set[str]()
    for split, part in selection.by_split():
        with _sequence_table(output / f"{safe_name(split)}.csv", _ASL_COLUMNS) as add_row:
            for video in part.videos_for("kaggle"):
                file = video_file(output, video.split, video.video_id, ".parquet")
                video.read_blocks(partial(_write_long_file, file))
                path, sign = file.relative_to(output).as_posix(), spreadsheet_text(video.annotation.get("gloss", ""))
                signs.add(sign)
                add_row((path, participants[_signer(video)], next(sequence_ids), sign), video)
    _write_index(output / "sign_to_prediction_index_map.json", signs)


def _write_long_file(file: Path, blocks: Iterator[VideoLandmarks]) -> None:
    """Write a video as rows, 543 a frame, in the row groups that `pq.write_table` makes of the whole table."""
    waiting = _to_long_table(next(blocks))
    with pq.ParquetWriter(file, waiting.schema, compression="zstd") as writer:
        for block in blocks:
            waiting = pa.concat_tables([waiting, _to_long_table(block)])
            while waiting.num_rows > _ASL_ROWS_PER_GROUP:
                writer.write_table(waiting.slice(0, _ASL_ROWS_PER_GROUP).combine_chunks())
                waiting = waiting.slice(_ASL_ROWS_PER_GROUP)
        writer.write_table(waiting.combine_chunks())


def _to_long_table(video: VideoLandmarks) -> pa.Table:
    types = np.repeat(list(POINTS), list(POINTS.values()))
    indices = np.concatenate([np.arange(count, dtype=np.int16) for count in POINTS.values()])
    names = [f"{part}-{index}" for part, index in zip(types, indices, strict=True)]
    frames = pa.array(np.repeat(video.frame_index, len(types)))
    values = _coordinates(video)
    columns = {
        "frame": frames,
        "row_id": pc.binary_join_element_wise(frames.cast(pa.string()), pa.array(names * len(video), pa.string()), "-"),
        "type": pa.array(types.tolist() * len(video), pa.string()),
        "landmark_index": pa.array(np.tile(indices, len(video))),
        **{
            axis: pa.array(values[:, :, column].ravel().astype(np.float64), from_pandas=True)
            for column, axis in enumerate(IMAGE_AXES)
        },
    }
    return pa.table(columns)


def write_kaggle_fingerspelling(
    selection: ExportSelection, output: Path, sequences_per_file: int = SEQUENCES_PER_FILE
) -> None:
    """Write `<split>.csv` and `<split>_landmarks/<file_id>.parquet` for each split, and the table of characters.

    A video's phrase is its translation. Files are numbered through all splits.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_format(selection.layout, "fingerspelling")
    output.mkdir(parents=True)
    file_ids, sequence_ids = count(), count()
    participants, characters = _number_signers(), set[str]()
    for split, part in selection.by_split():
        name = safe_name(split)
        (output / f"{name}_landmarks").mkdir()
        with _sequence_table(output / f"{name}.csv", _FINGERSPELLING_COLUMNS) as add_row:
            videos = part.videos_for("fingerspelling")
            while file_videos := _next_some(videos, sequences_per_file):
                file_id = next(file_ids)
                path = f"{name}_landmarks/{file_id}.parquet"
                with _WideFile(output / path) as file:
                    for video in file_videos:
                        sequence_id = next(sequence_ids)
                        file.add(sequence_id, video)
                        phrase = spreadsheet_text(video.annotation.get("translation", ""))
                        characters.update(phrase)
                        add_row((path, file_id, sequence_id, participants[_signer(video)], phrase), video)
    _write_index(output / "character_to_prediction_index.json", characters)


def _next_some(videos: Iterator[ExportVideo], most: int) -> Iterator[ExportVideo] | None:
    """Return an iterator over the next videos, at most so many; None when there is none."""
    first = next(videos, None)
    return None if first is None else chain([first], islice(videos, most - 1))


class _WideRows(NamedTuple):
    """Frames of the format `fingerspelling`: their sequence IDs, their numbers, and points (frames, 543, 3)."""

    sequences: NDArray[np.int64]
    frames: NDArray[np.int32]
    points: NDArray[np.float32]

    def slice(self, first: int, last: int | None) -> _WideRows:
        return _WideRows(self.sequences[first:last], self.frames[first:last], self.points[first:last])


class _WideFile:
    """A Parquet file of sequences, whose rows wait until they fill a row group."""

    def __init__(self, path: Path) -> None:
        # A dictionary of coordinates would be as long as they are.
        self._writer = pq.ParquetWriter(path, _wide_schema(), compression="zstd", use_dictionary=False)
        self._waiting: list[_WideRows] = []
        self._frames_waiting = 0
        # Frames of the current video.
        self._frames_added = 0

    def __enter__(self) -> _WideFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._frames_waiting:
            self._write_group(self._frames_waiting)
        self._writer.close()

    def add(self, sequence_id: int, video: ExportVideo) -> None:
        """Add a sequence."""
        self._frames_added = 0
        video.read_blocks(partial(self._add_blocks, sequence_id))
        if self._frames_waiting >= _FRAMES_PER_GROUP:
            self._write_group(self._frames_waiting)

    def _add_blocks(self, sequence_id: int, blocks: Iterator[VideoLandmarks]) -> None:
        for block in blocks:
            # Some may have come before a change of the dataset, in which rows move but stay the same.
            new = block.frame_index >= self._frames_added
            frames = block.frame_index[new]
            self._waiting.append(_WideRows(np.full(len(frames), sequence_id), frames, _coordinates(block)[new]))
            self._frames_added += len(frames)
            self._frames_waiting += len(frames)
            while self._frames_waiting >= _MOST_FRAMES_PER_GROUP:
                self._write_group(_MOST_FRAMES_PER_GROUP)

    def _write_group(self, frames: int) -> None:
        """Write the first frames that wait."""
        sequences, numbers, points = zip(*self._waiting, strict=True)
        rows = _WideRows(np.concatenate(sequences), np.concatenate(numbers), np.concatenate(points))
        self._waiting = [rows.slice(frames, None)]
        self._frames_waiting -= frames
        self._writer.write_table(_to_wide_table(rows.slice(0, frames)), row_group_size=frames)


def _to_wide_table(rows: _WideRows) -> pa.Table:
    # (axes, points, frames): each column in one piece.
    columns = np.ascontiguousarray(rows.points.transpose(2, 1, 0)).reshape(len(_COORDINATES), len(rows.points))
    coordinates = (pa.array(column, from_pandas=True) for column in columns)
    return pa.table([pa.array(rows.frames), *coordinates, pa.array(rows.sequences)], schema=_wide_schema())


@cache
def _wide_schema() -> pa.Schema:
    """Return the columns, with the note by which pandas makes `sequence_id` the index, as in the competition."""
    fields = [("frame", "int32"), *((name, "float32") for name in _COORDINATES), ("sequence_id", "int64")]
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind, "metadata": None}
        for name, kind in fields
    ]
    note = {"index_columns": ["sequence_id"], "column_indexes": [], "columns": described, "pandas_version": "1.5.3"}
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in fields])
    return schema.with_metadata({"pandas": json.dumps(note)})


def _coordinates(video: VideoLandmarks) -> NDArray[np.float32]:
    """Return x, y, z of the competitions' points, float32 (frames, 543, 3), NaN where a part is missing."""
    return np.concatenate([video.points[part][:, :points, :3] for part, points in POINTS.items()], axis=1)


@contextmanager
def _sequence_table(file: Path, columns: Iterable[str]) -> Iterator[Callable[[Iterable[object], ExportVideo], object]]:
    """Give a function that writes a video's row: the values of these columns of the competition, and our own."""
    # The ID of a video may hold bytes that are not text.
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow((*columns, *_OUR_COLUMNS))

        def add(values: Iterable[object], video: ExportVideo) -> None:
            table.writerow((*values, *map(spreadsheet_text, (video.video_id, _signer(video)))))

        yield add


def _number_signers() -> defaultdict[str, int]:
    """Return a mapping that gives each signer a number in the order in which they are looked up."""
    return defaultdict(count().__next__)


def _write_index(file: Path, values: Iterable[str]) -> None:
    """Write a JSON object that numbers values, sorted, from 0."""
    index = {value: number for number, value in enumerate(sorted(set(values)))}
    file.write_text(json.dumps(index), encoding="utf-8")


def _signer(video: ExportVideo) -> str:
    return video.annotation.get("signer", "")
