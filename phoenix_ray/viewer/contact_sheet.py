"""A contact sheet of a dataset: frames of some videos of each split, with their landmarks drawn in.

Called by `phoenix-ray view`. Landmarks come from the dataset, pixels from the source, so a look at the sheet also shows
whether the two belong together.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.identity import open_recorded_source
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import to_batch
from phoenix_ray.errors import OutputError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.viewer.overlay import draw
from phoenix_ray.viewer.sheet import Row, Section, Tile, tile_scale, write_sheet

BADGES = {"no_person": "no person", "unreadable": "unreadable", "failed": "failed"}


def write_contact_sheet(
    output: str,
    file: Path,
    source: SourceSettings,
    videos: int,
    frames: int,
    only: Collection[str] = (),
    around: int | None = None,
) -> None:
    """Write a PNG of a dataset.

    Args:
        output: The dataset's folder.
        file: The picture to write.
        source: Where the frames lie; with an empty path, where the dataset says they lay.
        videos: Videos of each split.
        frames: Frames of each video, spread evenly.
        only: Show these videos instead, each as its ID or as `split/ID`.
        around: Show neighbouring frames with this frame index in the middle, instead of spreading them.

    Raises:
        OutputError: There is no dataset with rows there, or the picture cannot be written.
        SourceError: The frames cannot be found.
    """
    dataset = Dataset.open(output)
    opened = open_recorded_source(source, dataset.identity.source_root)
    found = [one for one in opened.videos() if isinstance(one, Video)]
    table = dataset.videos()
    known = set(zip(table["split"].to_pylist(), table["video_id"].to_pylist(), strict=True))
    sections = []
    for split in sorted({video.split for video in found}):
        here = (one for one in found if one.split == split and (split, one.video_id) in known)
        chosen = (one for one in here if _is_named(one, only)) if only else islice(here, videos)
        rows = tuple(_row(dataset, video, frames, around) for video in chosen)
        if rows:
            sections.append(Section(split, rows))
    if not sections:
        what = f"none of {', '.join(only)} that is in {opened.root}" if only else f"no video of {opened.root}"
        raise OutputError(f"{output} holds {what}: nothing to show.")
    write_sheet("Landmarks", sections, file)


def _is_named(video: Video, names: Collection[str]) -> bool:
    return video.video_id in names or f"{video.split}/{video.video_id}" in names


def _row(dataset: Dataset, video: Video, frames: int, around: int | None) -> Row:
    rows = dataset.read_video(video.split, video.video_id)
    if around is None:
        chosen = np.unique(np.linspace(0, rows.num_rows - 1, min(frames, rows.num_rows)).round().astype(int))
    else:
        middle = int(np.searchsorted(rows["frame_index"].to_numpy(), around))
        first = max(0, min(middle - frames // 2, rows.num_rows - frames))
        chosen = np.arange(first, min(first + frames, rows.num_rows))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["status"]).to_pylist()}
    states = ", ".join(f"{count} {BADGES.get(status, 'with a person')}" for status, count in counts.items())
    gloss = video.annotation.get("gloss", "")
    return Row(
        title=video.video_id,
        detail=f"{rows.num_rows} frames: {states}{f'  |  {gloss}' if gloss else ''}",
        tiles=tuple(_tile(dataset, video, rows.slice(int(row), 1)) for row in chosen),
    )


def _tile(dataset: Dataset, video: Video, row: pa.Table) -> Tile:
    index, status = row["frame_index"][0].as_py(), row["status"][0].as_py()
    caption = f"frame {index}  {row['frame_name'][0].as_py()}"
    (frame,) = read_frames(video, index, index + 1, DecodeSettings())
    if frame.image is None:
        return Tile(None, caption, BADGES["unreadable"])
    batch = to_batch(dataset.layout, row)
    points = {part: values[0] for part, values in batch.points.items()}
    return Tile(draw(frame.image, dataset.layout, points, tile_scale(frame.image)), caption, BADGES.get(status, ""))
