"""CSV: a file per video, a row per frame, a column per coordinate, for spreadsheets, R and other programs.

Columns `frame_index`, `frame_name`, `timestamp`, `width`, `height`, `status`, `<part>_score`, then
`<part>_<point>_<axis>`; empty where a part is missing. Numbers are the shortest decimals that give the same float32.
A name that a spreadsheet would take for a formula begins with `'`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.exports.output import video_file
from phoenix_ray.exports.selection import ExportSelection
from phoenix_ray.text import spreadsheet_text


def write_csv_tables(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>.csv` for each video."""
    for video in selection.videos():
        video.read_blocks(partial(_write_rows, video_file(output, video.split, video.video_id, ".csv")))


def _write_rows(file: Path, blocks: Iterator[VideoLandmarks]) -> None:
    table = to_coordinate_table(next(blocks))
    with pa_csv.CSVWriter(str(file), table.schema) as writer:
        writer.write_table(table)
        for block in blocks:
            writer.write_table(to_coordinate_table(block))


def to_coordinate_table(video: VideoLandmarks) -> pa.Table:
    """Return frames as a table with a column per coordinate."""
    columns = {
        "frame_index": pa.array(video.frame_index),
        "frame_name": pa.array(map(spreadsheet_text, video.frame_names), pa.string()),
        "timestamp": pa.array(video.timestamps, from_pandas=True),
        "width": pa.array(video.sizes[:, 0]),
        "height": pa.array(video.sizes[:, 1]),
        "status": pa.array(map(spreadsheet_text, video.status), pa.string()),
        **{f"{part}_score": pa.array(scores, from_pandas=True) for part, scores in video.scores.items()},
    }
    for part in video.layout.parts:
        for point, name in enumerate(part.points):
            stem = name if name.startswith(f"{part.name}_") else f"{part.name}_{name}"
            for axis, axis_name in enumerate(part.axes):
                values = np.ascontiguousarray(video.points[part.name][:, point, axis])
                columns[f"{stem}_{axis_name}"] = pa.array(values, from_pandas=True)
    return pa.table(columns)
