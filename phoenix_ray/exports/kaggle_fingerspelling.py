"""Landmark files as in Kaggle's "Google - American Sign Language Fingerspelling Recognition": wide, many videos a file.

    train.csv                        path, file_id, sequence_id, participant_id, phrase; and our video_id and signer
    train_landmarks/<file_id>.parquet  a row a frame: frame, x_face_0, ..., z_right_hand_20, and the index sequence_id
    character_to_prediction_index.json  the characters of all phrases, numbered

1,629 coordinate columns: all x, then y, then z, each in the order face, left hand, pose, right hand; normalised
float32, null where a part is missing. Every split has a table and a folder of its name. Irises have no place in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks
from phoenix_ray.exports.kaggle_asl import POINTS
from phoenix_ray.exports.kaggle_tables import Participants, sequence_table, write_index
from phoenix_ray.exports.selection import Selection, require_holistic
from phoenix_ray.text import spreadsheet_text

SEQUENCES_PER_FILE = 1_000
# Frames of a row group: 27 MB. One a video would spend more on the statistics of 1,630 columns than on the numbers.
_FRAMES_PER_GROUP = 4_096

_COLUMNS = tuple(
    f"{axis}_{part}_{index}" for axis in IMAGE_AXES for part, points in POINTS.items() for index in range(points)
)
_TABLE_COLUMNS = ("path", "file_id", "sequence_id", "participant_id", "phrase")


def write_kaggle_fingerspelling(
    selection: Selection, output: Path, sequences_per_file: int = SEQUENCES_PER_FILE
) -> None:
    """Write `<split>.csv` and `<split>_landmarks/<file_id>.parquet` for each split, and the table of characters.

    Files and sequences are numbered through all splits, signers in the order of their first video.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_holistic(selection.layout, "fingerspelling")
    output.mkdir(parents=True)
    file_ids, sequence_ids = count(), count()
    participants, characters = Participants(), set[str]()
    for split, part in selection.by_split():
        name = safe_name(split)
        (output / f"{name}_landmarks").mkdir()
        with sequence_table(output / f"{name}.csv", _TABLE_COLUMNS) as table:
            videos = part.holistic_videos("fingerspelling")
            while file_videos := _next_some(videos, sequences_per_file):
                file_id = next(file_ids)
                path = f"{name}_landmarks/{file_id}.parquet"
                with _WideFile(output / path) as file:
                    for video in file_videos:
                        sequence_id = next(sequence_ids)
                        phrase = spreadsheet_text(video.annotation.get("translation", ""))
                        file.add(sequence_id, video)
                        characters.update(phrase)
                        table.add((path, file_id, sequence_id, participants.number(video), phrase), video)
    write_index(output / "character_to_prediction_index.json", characters)


def _next_some(videos: Iterator[VideoLandmarks], most: int) -> Iterator[VideoLandmarks] | None:
    """Return an iterator over the next videos, at most so many; None when there is none."""
    first = next(videos, None)
    return None if first is None else chain([first], islice(videos, most - 1))


class _WideFile:
    """A Parquet file of sequences, which wait until they fill a row group."""

    def __init__(self, path: Path) -> None:
        # A dictionary of coordinates would be as long as they are.
        self._writer = pq.ParquetWriter(path, _schema(), compression="zstd", use_dictionary=False)
        self._waiting: list[tuple[int, VideoLandmarks]] = []

    def __enter__(self) -> _WideFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, sequence_id: int, video: VideoLandmarks) -> None:
        """Add a sequence."""
        self._waiting.append((sequence_id, video))
        if sum(len(waiting) for _, waiting in self._waiting) >= _FRAMES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = to_wide_table(self._waiting)
            self._writer.write_table(table, row_group_size=max(len(table), 1))
            self._waiting = []


def to_wide_table(sequences: Sequence[tuple[int, VideoLandmarks]]) -> pa.Table:
    """Return videos, each with its sequence ID, as a row a frame."""
    values = np.concatenate(
        [
            np.concatenate([video.points[part][:, :points, :3] for part, points in POINTS.items()], axis=1)
            for _, video in sequences
        ]
    )
    # (axes, points, frames): each column in one piece.
    columns = np.ascontiguousarray(values.transpose(2, 1, 0)).reshape(len(_COLUMNS), len(values))
    return pa.table(
        [
            pa.array(np.concatenate([video.frame_index for _, video in sequences])),
            *(pa.array(column, from_pandas=True) for column in columns),
            pa.array(np.concatenate([np.full(len(video), one, np.int64) for one, video in sequences])),
        ],
        schema=_schema(),
    )


@cache
def _schema() -> pa.Schema:
    """Return the columns, with the note by which pandas makes `sequence_id` the index, as in the competition."""
    fields = [("frame", "int32"), *((name, "float32") for name in _COLUMNS), ("sequence_id", "int64")]
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind, "metadata": None}
        for name, kind in fields
    ]
    note = {"index_columns": ["sequence_id"], "column_indexes": [], "columns": described, "pandas_version": "1.5.3"}
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in fields])
    return schema.with_metadata({"pandas": json.dumps(note)})
