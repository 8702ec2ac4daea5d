"""The formats that keep everything the dataset knows: `.npz`, WebDataset shards of these, and CSV.

`numpy.load` reads an `.npz`, one per video. Each part is an array (frames, points, axes), NaN where it was not found,
beside `<part>_score`, the columns of heads, the frames' index, name, time, size and status, and a few single values.
Reading an archive gives the same video bit for bit.

WebDataset shards are tar files of about 256 MB with a sample per video, for training that reads from start to end. A
sample has `npz`, the archive, and `json` with split, video ID, frames, fps and annotations. Its key is the video ID
made harmless, without dots, because WebDataset cuts a name at the first.

CSV is a file per video, a row per frame, a column per coordinate, for spreadsheets, R and other programs. Columns are
`frame_index`, `frame_name`, `timestamp`, `width`, `height`, `status`, `<part>_score`, `<head>_logits_<class>` and the
other numbers of heads, then `<part>_<point>_<axis>`; empty where a part is missing. Numbers are the shortest decimals
that give the same float32. A name that a spreadsheet would take for a formula begins with `'`.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from phoenix_ray.dataset.head_columns import join_columns
from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.selection import ExportSelection, ExportVideo, video_file
from phoenix_ray.layouts import LAYOUTS, Layout, layout_from_json
from phoenix_ray.text import spreadsheet_text

SUFFIX = ".npz"


def write_numpy_archives(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>.npz` for each video."""
    for video in selection.videos():
        with video_file(output, video.split, video.video_id, SUFFIX).open("wb") as stream:
            write_numpy_archive(video, stream, output)


def write_numpy_archive(video: ExportVideo, stream: IO[bytes], scratch: Path) -> None:
    """Write what `numpy.savez` would write of a video: the same bytes for the same video.

    Args:
        video: The video.
        stream: Where to.
        scratch: A folder for temporary files, which take as many bytes as the archive.

    Raises:
        OutputError: As `ExportVideo.read_blocks`.
    """
    # numpy gives all texts of an array the length of the longest.
    longest = video.read_blocks(_longest_texts)
    with TemporaryDirectory(dir=scratch) as folder:
        # An archive holds one array after the other, blocks hold some rows of all.
        columns, layout = video.read_blocks(partial(_collect_columns, longest, Path(folder)))
        with zipfile.ZipFile(stream, "w") as archive:
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    column.copy_to(member, video.frames)
            for name, value in _single_values(video, layout).items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(value), allow_pickle=False)


class _Texts(NamedTuple):
    """The length of the longest name of a frame, and of the longest status."""

    frame_name: int
    status: int


def _longest_texts(blocks: Iterator[VideoLandmarks]) -> _Texts:
    name = status = 1
    for block in blocks:
        name = max(name, max(map(len, block.frame_names), default=0))
        status = max(status, max(map(len, block.status), default=0))
    return _Texts(name, status)


@dataclass(frozen=True, slots=True)
class _Column:
    """The rows of an array, in a file without a head."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    file: Path

    def copy_to(self, target: IO[bytes], rows: int) -> None:
        """Write the whole array in numpy's format."""
        head = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (rows, *self.row_shape),
        }
        np.lib.format.write_array_header_1_0(target, head)
        with self.file.open("rb") as stream:
            shutil.copyfileobj(stream, target)


def _collect_columns(
    longest: _Texts, folder: Path, blocks: Iterator[VideoLandmarks]
) -> tuple[dict[str, _Column], Layout]:
    columns: dict[str, _Column] = {}
    for block in blocks:
        layout = block.layout
        for name, rows in _arrays(block, longest).items():
            if name not in columns:
                columns[name] = _Column(rows.dtype, rows.shape[1:], folder / str(len(columns)))
                columns[name].file.write_bytes(b"")
            with columns[name].file.open("ab") as stream:
                stream.write(rows.tobytes())
    return columns, layout


def _arrays(video: VideoLandmarks, longest: _Texts) -> dict[str, NDArray[Any]]:
    """Return the arrays with a row per frame, by name."""
    return {
        **video.points,
        **{f"{part}_score": scores for part, scores in video.scores.items()},
        **video.head_columns(),
        "frame_index": video.frame_index,
        "frame_name": np.array(video.frame_names, f"U{longest.frame_name}"),
        "timestamp": video.timestamps,
        "size": video.sizes,
        "status": np.array(video.status, f"U{longest.status}"),
    }


def _single_values(video: ExportVideo, layout: Layout) -> dict[str, str | float]:
    return {
        "split": video.split,
        "video_id": video.video_id,
        "fps": np.nan if video.fps is None else video.fps,
        "annotation": json.dumps(dict(video.annotation), ensure_ascii=False, sort_keys=True),
        "layout": json.dumps(layout.to_json()),
    }


def read_numpy_archive(path: Path) -> VideoLandmarks:
    """Return the video of a file that `write_numpy_archives` wrote.

    Raises:
        OutputError: The file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        layout = _layout(json.loads(str(arrays["layout"])))
        fps = float(arrays["fps"])
        return VideoLandmarks(
            str(arrays["split"]),
            str(arrays["video_id"]),
            layout,
            arrays["frame_index"],
            tuple(arrays["frame_name"].tolist()),
            arrays["timestamp"],
            arrays["size"],
            tuple(arrays["status"].tolist()),
            {part.name: arrays[part.name] for part in layout.parts},
            {part.name: arrays[f"{part.name}_score"] for part in layout.parts if part.scored},
            None if np.isnan(fps) else fps,
            json.loads(str(arrays["annotation"])),
            heads={head.name: join_columns(head, arrays) for head in layout.heads},
        )
    except (AttributeError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path} is not an .npz file that phoenix-ray exported, or is damaged ({error!r}).") from None


def _layout(tree: dict[str, Any]) -> Layout:
    """Return the known layout of that name if it is the same, else the one that is described."""
    layout = layout_from_json(tree)
    known = LAYOUTS.get(layout.name)
    return known if known == layout else layout


SHARD_BYTES = 256 * 1024 * 1024


def write_webdataset_shards(selection: ExportSelection, output: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `<split>-<number>.tar`: a shard takes videos until it has `shard_bytes`, and each split begins anew."""
    output.mkdir(parents=True)
    for split, part in selection.by_split():
        with ExitStack() as stack:
            shard: tarfile.TarFile | None = None
            number = 0
            for video in part.videos():
                if shard is None or shard.offset >= shard_bytes:
                    stack.close()
                    name = f"{safe_name(split)}-{number:06}.tar"
                    shard = stack.enter_context(tarfile.open(output / name, "w", format=tarfile.PAX_FORMAT))
                    number += 1
                _add_sample(shard, video, output)


def _add_sample(shard: tarfile.TarFile, video: ExportVideo, scratch: Path) -> None:
    key = safe_name(video.video_id).replace(".", "%2E")
    with TemporaryFile(dir=scratch) as archive:
        write_numpy_archive(video, archive, scratch)
        about = {
            "split": video.split,
            "video_id": video.video_id,
            "frames": video.frames,
            "fps": video.fps,
            "annotation": dict(video.annotation),
        }
        text = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
        _add_member(shard, f"{key}.json", BytesIO(text))
        _add_member(shard, f"{key}.npz", archive)


def _add_member(shard: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    # An entry without time and owner: the same videos give the same bytes.
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    shard.addfile(entry, content)


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
    for head in video.layout.heads:
        numbers = (*(f"{head.logits_column}_{label}" for label in head.classes), *head.number_columns)
        for name, values in zip(numbers, video.heads[head.name].T, strict=True):
            columns[name] = pa.array(np.ascontiguousarray(values), from_pandas=True)
    for part in video.layout.parts:
        for point, name in enumerate(part.points):
            stem = name if name.startswith(f"{part.name}_") else f"{part.name}_{name}"
            for axis, axis_name in enumerate(part.axes):
                values = np.ascontiguousarray(video.points[part.name][:, point, axis])
                columns[f"{stem}_{axis_name}"] = pa.array(values, from_pandas=True)
    return pa.table(columns)
