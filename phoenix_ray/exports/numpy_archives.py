"""One `.npz` per video, with everything the dataset knows of it; `numpy.load` is all that is needed to read it.

Each part is an array (frames, points, axes), NaN where it was not found, beside `<part>_score`, the frames' index,
name, time, size and status, and a few single values. Reading one back gives the same video bit for bit.
"""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.output import video_file
from phoenix_ray.exports.selection import Selection
from phoenix_ray.landmarks import LAYOUTS, Layout, Part

SUFFIX = ".npz"


def write_numpy_archives(selection: Selection, output: Path) -> None:
    """Write `<split>/<video ID>.npz` for each video."""
    for video in selection.videos():
        video_file(output, video.split, video.video_id, SUFFIX).write_bytes(to_numpy_archive(video))


def to_numpy_archive(video: VideoLandmarks) -> bytes:
    """Return a video as the content of an `.npz` file: the same bytes for the same video."""
    arrays: dict[str, Any] = {
        **video.points,
        **{f"{part}_score": scores for part, scores in video.scores.items()},
        "frame_index": video.frame_index,
        "frame_name": np.array(video.frame_names, dtype=np.str_),
        "timestamp": video.timestamps,
        "size": video.sizes,
        "status": np.array(video.status, dtype=np.str_),
        "split": np.array(video.split),
        "video_id": np.array(video.video_id),
        "fps": np.array(np.nan if video.fps is None else video.fps),
        "annotation": np.array(json.dumps(dict(video.annotation), ensure_ascii=False, sort_keys=True)),
        "layout": np.array(json.dumps(_describe(video.layout))),
    }
    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


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
        )
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path} is not an .npz file that phoenix-ray exported, or is damaged ({error!r}).") from None


def _describe(layout: Layout) -> dict[str, Any]:
    parts = {
        part.name: {"points": part.points, "axes": part.axes, "edges": part.edges, "scored": part.scored}
        for part in layout.parts
    }
    return {"name": layout.name, "parts": parts}


def _layout(tree: dict[str, Any]) -> Layout:
    """Return the known layout of that name if it is the same, else the one that is described."""
    layout = Layout(
        tree["name"],
        tuple(
            Part(
                name,
                tuple(part["points"]),
                tuple(part["axes"]),
                tuple((first, second) for first, second in part["edges"]),
                part["scored"],
            )
            for name, part in tree["parts"].items()
        ),
    )
    known = LAYOUTS.get(layout.name)
    return known if known == layout else layout
