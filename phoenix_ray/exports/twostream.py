"""The files of TwoStreamNetwork (FangyunWei/SLRT): the annotations of each split, and the points of all videos.

    phoenix-2014t.train          gzip, a pickled list: [{"name", "signer", "gloss", "text", "num_frames"}, ...]
    phoenix-2014t-keypoints.pkl  a pickle: {"train/<video>": {"keypoints": float32 (T, 133, 3)}, ...}

The points are x, y in pixels of a frame of 210x260, and confidence. `SignLanguageDataset` of the project's
`dataset/Dataset.py` loads both; the names of the files are those of its configurations.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.exports.phoenix_keypoints import FRAME_SIZE, sentence, video_name
from phoenix_ray.exports.pickling import StreamedDict, dump_pickle
from phoenix_ray.exports.selection import ExportSelection, require_holistic
from phoenix_ray.exports.whole_body import whole_body

_STEM = "phoenix-2014t"

# An entry of a split's list.
_Annotation = dict[str, str | int]


def write_twostream(selection: ExportSelection, output: Path) -> None:
    """Write `phoenix-2014t-keypoints.pkl` and `phoenix-2014t.<split>` for each split.

    One video and the texts of all are in memory at a time; who loads the points needs about 1.6 kB a frame.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_holistic(selection.layout, "twostream", "xy")
    output.mkdir(parents=True)
    annotations: dict[str, list[_Annotation]] = {}
    with (output / f"{_STEM}-keypoints.pkl").open("wb") as stream:
        dump_pickle(StreamedDict(_videos(selection, annotations)), stream)
    for split, entries in annotations.items():
        # Neither a time nor a name in the header of gzip: the same videos give the same bytes.
        with (
            (output / f"{_STEM}.{safe_name(split)}").open("wb") as stream,
            gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as compressed,
        ):
            dump_pickle(entries, compressed)


def _videos(
    selection: ExportSelection, annotations: dict[str, list[_Annotation]]
) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Yield the points of each video; note its annotation."""
    for selected in selection.holistic_videos("twostream", "xy"):
        video = selected.load()
        annotations.setdefault(video.split, []).append(
            {
                "name": video_name(video),
                "signer": video.annotation.get("signer", ""),
                "gloss": video.annotation.get("gloss", ""),
                "text": sentence(video),
                "num_frames": len(video),
            }
        )
        yield video_name(video), {"keypoints": whole_body(video, FRAME_SIZE)}
