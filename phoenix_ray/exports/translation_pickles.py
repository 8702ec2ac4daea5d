"""The pickles of two projects that translate sign language from 133 points: MSKA and TwoStreamNetwork.

Both train on HRNet's points of COCO-WholeBody. Points of networks of COCO-WholeBody and OpenPose are written as they
are; Holistic's stand in for them, by `layouts.coco`. Either way models are to be trained anew. The points are x, y in
pixels of a frame of 210x260, and a confidence.

The format `mska` (sutwangyan/MSKA) has a file per split, which `S2T_Dataset` of the project's `datasets.py` loads:

    Phoenix-2014T.train: {"train/<video>": {"name", "gloss", "text", "num_frames", "keypoint": tensor (T, 133, 3)}, ...}

The format `twostream` (FangyunWei/SLRT) has the annotations of each split and the points of all videos, which
`SignLanguageDataset` of the project's `dataset/Dataset.py` loads; its configurations name the files:

    phoenix-2014t.train          gzip, a pickled list: [{"name", "signer", "gloss", "text", "num_frames"}, ...]
    phoenix-2014t-keypoints.pkl  a pickle: {"train/<video>": {"keypoints": float32 (T, 133, 3)}, ...}
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.exports.pickles import StreamedDict, dump_pickle
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.exports.selection import ExportSelection
from phoenix_ray.exports.whole_body import whole_body

# Width and height that both projects divide by, whatever the video: MSKA's `S2T_Dataset` has w and h, TwoStream's
# configuration has heatmap_cfg.raw_size.
FRAME_SIZE = np.array([[210, 260]], np.int32)
_SENTENCE_ENDS = ".?!"


def video_name(video: VideoLandmarks) -> str:
    """Return what both projects call a video: `<split>/<video ID>`."""
    return f"{video.split}/{video.video_id}"


def sentence(video: VideoLandmarks) -> str:
    """Return the translation with its full stop as a word of its own, "" for none.

    All 7,096 texts of TwoStream's own training file end in " .", and both projects' tokenizers put " ." at the end of
    what they decode.
    """
    text = video.annotation.get("translation", "").strip()
    if not text:
        return ""
    if text[-1] in _SENTENCE_ENDS:
        return f"{text[:-1].rstrip()} {text[-1]}"
    return f"{text} ."


# The project's configurations name the files so.
_MSKA_STEM = "Phoenix-2014T"


def write_mska(selection: ExportSelection, output: Path) -> None:
    """Write `Phoenix-2014T.<split>` for each split, one video in memory at a time.

    Raises:
        ConfigError: The layout lacks some of the 133 points.
        MissingExtraError: torch is not installed.
    """
    require_format(selection.layout, "mska")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("The format 'mska', which holds tensors,", "torch") from None
    output.mkdir(parents=True)
    for split, part in selection.by_split():
        with (output / f"{_MSKA_STEM}.{safe_name(split)}").open("wb") as stream:
            dump_pickle(StreamedDict(_mska_videos(part)), stream)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Pickled as a tensor of these values by a public name; torch's own way writes memory addresses."""

    values: NDArray[np.float32]

    def __reduce__(self) -> tuple[Any, tuple[NDArray[np.float32]]]:
        import torch

        return torch.Tensor, (self.values,)


def _mska_videos(selection: ExportSelection) -> Iterator[tuple[str, dict[str, Any]]]:
    for selected in selection.videos_for("mska"):
        video = selected.load()
        yield (
            video_name(video),
            {
                "name": video_name(video),
                "gloss": video.annotation.get("gloss", ""),
                "text": sentence(video),
                "num_frames": len(video),
                "keypoint": _Tensor(whole_body(video, FRAME_SIZE)),
            },
        )


_TWOSTREAM_STEM = "phoenix-2014t"

# An entry of a split's list.
_Annotation = dict[str, str | int]


def write_twostream(selection: ExportSelection, output: Path) -> None:
    """Write `phoenix-2014t-keypoints.pkl` and `phoenix-2014t.<split>` for each split.

    One video and the texts of all are in memory at a time; loading the points takes about 1.6 kB a frame.

    Raises:
        ConfigError: The layout lacks some of the 133 points.
    """
    require_format(selection.layout, "twostream")
    output.mkdir(parents=True)
    annotations: dict[str, list[_Annotation]] = {}
    with (output / f"{_TWOSTREAM_STEM}-keypoints.pkl").open("wb") as stream:
        dump_pickle(StreamedDict(_twostream_videos(selection, annotations)), stream)
    for split, entries in annotations.items():
        # Neither a time nor a name in the header of gzip: the same videos give the same bytes.
        with (
            (output / f"{_TWOSTREAM_STEM}.{safe_name(split)}").open("wb") as stream,
            gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as compressed,
        ):
            dump_pickle(entries, compressed)


def _twostream_videos(
    selection: ExportSelection, annotations: dict[str, list[_Annotation]]
) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Yield the points of each video, and add its annotation to the list of its split."""
    for selected in selection.videos_for("twostream"):
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
