"""Datasets of a few MB that would take gigabytes if a video were held at once: one video each, in one partition."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.parquet import open_writer, write_footer
from phoenix_ray.dataset.schema import FrameRecord, FrameStatus, empty_batch, landmark_schema, to_table
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.layouts import holistic

LAYOUT = holistic(468)
# The most rows that a reader takes in a row group.
MOST_ROWS = 16_384


def write_bomb(folder: Path, tables: Iterable[pa.Table], frames: int) -> Path:
    """Write a whole video of so many frames, a row group for each table; return the file."""
    storage = LocalStorage(str(folder))
    identity = DatasetIdentity(LAYOUT.name, {"name": "made-up", "engine": "none"}, source_root="/data")
    claim_dataset(storage, identity)
    file = folder / paths.partition_path("train", "bomb", 0, frames)
    file.parent.mkdir(parents=True)
    with open_writer(str(file), landmark_schema(LAYOUT), LAYOUT, OutputSettings()) as writer:
        statuses: Counter[str] = Counter()
        for table in tables:
            writer.write_table(table)
            statuses.update(table["status"].to_pylist())
        content = {
            "fingerprint": identity.fingerprint,
            "schema_version": identity.schema_version,
            "layout": LAYOUT.name,
            "split": "train",
            "video_id": "bomb",
            "range": [0, frames],
            "frame_count": frames,
            "signature": "1",
            "fps": 25.0,
            "fps_varies": False,
            "annotation": {},
            "error": None,
        }
        write_footer(writer, content | Tally(rows=frames, statuses=statuses).to_json())
    return file


def nobody(frames: int) -> Iterator[pa.Table]:
    """Yield rows without a landmark, in the largest row groups that a reader takes: 5 bytes a row."""
    numbers = random.Random(0)
    first_rows = _rows(range(MOST_ROWS), "no_person")
    for first in range(0, frames, MOST_ROWS):
        rows = first_rows.slice(0, frames - first)
        index = pa.array(range(first, first + rows.num_rows), pa.int32())
        names = pa.array([numbers.randbytes(1).hex() for _ in range(rows.num_rows)])
        rows = rows.set_column(rows.column_names.index("frame_index"), rows.schema.field("frame_index"), index)
        yield rows.set_column(rows.column_names.index("frame_name"), rows.schema.field("frame_name"), names)


def fat(frames: int, text_bytes: int) -> Iterator[pa.Table]:
    """Yield rows with a row group each, in which a text takes so many bytes and compresses just under 4,000 times."""
    numbers = random.Random(0)
    for frame in range(frames):
        row = _rows(range(frame, frame + 1), "failed")
        text = numbers.randbytes(text_bytes // 2_000).hex() + "x" * text_bytes
        yield row.set_column(row.column_names.index("error"), "error", pa.array([text]))


def _rows(rows: range, status: FrameStatus) -> pa.Table:
    records = [FrameRecord(row, "", row / 25, 210, 260, status) for row in rows]
    return to_table(LAYOUT, "train", "bomb", records, empty_batch(LAYOUT, len(rows)))
