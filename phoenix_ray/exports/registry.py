"""The formats of `phoenix-ray export`: the name, purpose and writer of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_ray.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from phoenix_ray.exports.selection import ExportSelection

# Writes the videos to a path that does not exist yet, as a file or a folder.
Writer = Callable[["ExportSelection", Path], None]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format.

    Attributes:
        name: Value of `--format`.
        makes: What the output consists of.
        description: One line.
        timed: Whether it records when each frame is shown; others record a frame rate at most.
        texts: Texts of the source that its reader trains on.
    """

    name: str
    makes: str
    description: str
    timed: bool = False
    texts: tuple[str, ...] = ()


_GLOSS_AND_TEXT = ("gloss", "translation")
FORMATS = (
    ExportFormat("pose", "folder, one .pose per video", "pose-format, the exchange format of sign-language processing"),
    ExportFormat("pickle", "file", "keypoint lists by split, as extraction scripts of the field write them"),
    ExportFormat(
        "mska", "folder, one pickle per split", "MSKA: 133 points in 210x260 pixels, gloss, text", texts=_GLOSS_AND_TEXT
    ),
    ExportFormat(
        "twostream",
        "folder, one pickled list per split",
        "TwoStreamNetwork: as mska, in files of its own",
        texts=_GLOSS_AND_TEXT,
    ),
    ExportFormat("npz", "folder, one .npz per video", "numpy arrays with everything the dataset knows", timed=True),
    ExportFormat("coco", "folder, one .json per split", "COCO-WholeBody annotations"),
    ExportFormat("openpose", "folder, one .json per frame", "OpenPose --write_json: BODY_25, hands, face"),
    ExportFormat("kaggle", "folder, one .parquet per video", "Kaggle ASL-Signs: 543 rows a frame", texts=("gloss",)),
    ExportFormat(
        "fingerspelling",
        "folder, one table per split",
        "Kaggle ASL-Fingerspelling: a row a frame",
        texts=("translation",),
    ),
    ExportFormat("webdataset", "folder of .tar shards", "WebDataset for sequential training", timed=True),
    ExportFormat("csv", "folder, one .csv per video", "one row per frame, one column per coordinate", timed=True),
    ExportFormat("delta", "log inside the dataset", "Delta Lake over the compacted files, nothing copied", timed=True),
)
# Written into the dataset itself, not to an output.
IN_PLACE = "delta"


def find_format(name: str) -> ExportFormat:
    """Return what is known about a format.

    Raises:
        ConfigError: There is no such format.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    names = [known.name for known in FORMATS]
    raise ConfigError(f"There is no format '{name}' ({', '.join(names)}).{did_you_mean(name, names)}")


def find_writer(name: str) -> Writer:
    """Return the writer of a format that has an output of its own.

    Raises:
        ConfigError: There is no such format.
    """
    match name:
        case "pose":
            from phoenix_ray.exports.pose_files import write_pose_files as writer
        case "pickle":
            from phoenix_ray.exports.landmark_pickle import write_landmark_pickle as writer
        case "mska":
            from phoenix_ray.exports.translation_pickles import write_mska as writer
        case "twostream":
            from phoenix_ray.exports.translation_pickles import write_twostream as writer
        case "npz":
            from phoenix_ray.exports.lossless import write_numpy_archives as writer
        case "coco":
            from phoenix_ray.exports.coco import write_coco as writer
        case "openpose":
            from phoenix_ray.exports.openpose import write_openpose as writer
        case "kaggle":
            from phoenix_ray.exports.kaggle import write_kaggle_asl as writer
        case "fingerspelling":
            from phoenix_ray.exports.kaggle import write_kaggle_fingerspelling as writer
        case "webdataset":
            from phoenix_ray.exports.lossless import write_webdataset_shards as writer
        case "csv":
            from phoenix_ray.exports.lossless import write_csv_tables as writer
        case _:
            raise ConfigError(f"The format '{find_format(name).name}' is written into the dataset.")
    return writer
