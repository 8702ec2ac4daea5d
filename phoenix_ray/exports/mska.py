"""The pickles of MSKA (sutwangyan/MSKA): a file per split that maps each video to its 133 points, gloss and text.

    Phoenix-2014T.train: {"train/<video>": {"name", "gloss", "text", "num_frames", "keypoint": tensor (T, 133, 3)}, ...}

`keypoint` is a float32 tensor of x, y in pixels of a frame of 210x260, and confidence. `S2T_Dataset` of the project's
`datasets.py` loads a file. `exports.twostream` writes the same for TwoStreamNetwork, which reads other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.exports.phoenix_keypoints import FRAME_SIZE, sentence, video_name
from phoenix_ray.exports.pickling import StreamedDict, dump_pickle
from phoenix_ray.exports.selection import ExportSelection, require_holistic
from phoenix_ray.exports.whole_body import whole_body

# As its configurations name the files.
_STEM = "Phoenix-2014T"


def write_mska(selection: ExportSelection, output: Path) -> None:
    """Write `Phoenix-2014T.<split>` for each split, one video in memory at a time.

    Raises:
        ConfigError: The layout is not Holistic's.
        MissingExtraError: torch is not installed.
    """
    require_holistic(selection.layout, "mska", "xy")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("The format 'mska', which holds tensors,", "torch") from None
    output.mkdir(parents=True)
    for split, part in selection.by_split():
        with (output / f"{_STEM}.{safe_name(split)}").open("wb") as stream:
            dump_pickle(StreamedDict(_videos(part)), stream)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Pickled as a tensor of these values by a public name; torch's own way writes memory addresses."""

    values: NDArray[np.float32]

    def __reduce__(self) -> tuple[Any, tuple[NDArray[np.float32]]]:
        import torch

        return torch.Tensor, (self.values,)


def _videos(selection: ExportSelection) -> Iterator[tuple[str, dict[str, Any]]]:
    for selected in selection.holistic_videos("mska", "xy"):
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
