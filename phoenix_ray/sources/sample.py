"""The built-in demo dataset: short "videos" in the PHOENIX-2014-T layout, with a face and a body in every frame.

A camera pans, zooms and rotates over the public-domain astronaut picture of scikit-image (NASA, Eileen Collins), so
`make demo` finds real landmarks without a download. `registry` opens it for `source.kind=sample`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import MissingExtraError, SourceError
from phoenix_ray.sources.phoenix import DATASET_FOLDER, FRAMES_FOLDER, SPLITS, PhoenixSource, annotation_path

WIDTH, HEIGHT = 210, 260
# Pixels of the astronaut picture that show head, shoulders and arms.
VIEW_CENTRE = (235.0, 220.0)
VIEW_HEIGHT = 410.0
# Marks a complete sample; written last. A new version of the pictures gets a new name, so that they are written again.
COMPLETE = "sample-v1.complete"


@dataclass(frozen=True, slots=True)
class CameraMove:
    """One video: how far the camera moves from its first frame to its last.

    Attributes:
        pan: Pixels of the astronaut picture, to the right.
        zoom: Factor by which the person grows.
        roll: Degrees, counterclockwise.
    """

    split: str
    name: str
    frames: int
    pan: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0

    @property
    def gloss(self) -> str:
        """The annotation's gloss, which names the move."""
        return self.name.removeprefix("sample-").replace("-", " ").upper()


MOVES = (
    CameraMove("train", "sample-pan", 40, pan=60),
    CameraMove("train", "sample-zoom", 32, zoom=1.35),
    CameraMove("train", "sample-roll", 24, roll=20),
    CameraMove("dev", "sample-pan-and-zoom", 24, pan=-40, zoom=0.85),
    CameraMove("test", "sample-zoom-and-roll", 20, zoom=1.2, roll=-15),
    CameraMove("test", "sample-still", 12),
)


def open_sample(settings: SourceSettings) -> PhoenixSource:
    """Return the sample as a source, writing it first if needed, to `settings.path` or the user's cache.

    Raises:
        MissingExtraError: scikit-image is not installed.
        SourceError: The folder cannot be written.
    """
    folder = Path(settings.path).expanduser() if settings.path else default_folder()
    return PhoenixSource(write_sample_dataset(Path(os.path.normpath(folder.absolute()))), settings)


def default_folder() -> Path:
    """Return the folder of the sample in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "phoenix-ray" / "sample"


def write_sample_dataset(folder: Path) -> Path:
    """Write the sample into `folder` and return its PHOENIX-2014-T folder. A complete sample is left as it is.

    Raises:
        MissingExtraError: scikit-image is not installed.
        SourceError: The folder cannot be written, or holds a PHOENIX-2014-T folder that is not this sample.
    """
    dataset = folder / DATASET_FOLDER
    if (dataset / COMPLETE).is_file():
        return dataset
    if dataset.exists():
        raise SourceError(f"{dataset} exists and is not the sample: remove it, or choose another source.path.")
    picture = _astronaut()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=folder) as scratch:
            fresh = Path(scratch, DATASET_FOLDER)
            for split in SPLITS:
                _write_split(fresh, split, [move for move in MOVES if move.split == split], picture)
            (fresh / COMPLETE).touch()
            fresh.rename(dataset)
    except OSError as error:
        # Another process may have written the same content first.
        if not (dataset / COMPLETE).is_file():
            raise SourceError(f"The sample cannot be written to {folder}: {error}") from None
    return dataset


def render(picture: NDArray[np.uint8], move: CameraMove) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a camera move over `picture`: uint8 (260, 210, 3), in the colour order of `picture`."""
    import cv2

    for index in range(move.frames):
        progress = index / (move.frames - 1)
        scale = HEIGHT / VIEW_HEIGHT * move.zoom**progress
        centre = (VIEW_CENTRE[0] + move.pan * (progress - 0.5), VIEW_CENTRE[1])
        transform = cv2.getRotationMatrix2D(centre, move.roll * progress, scale)
        transform[:, 2] += np.array([WIDTH / 2 - centre[0], HEIGHT / 2 - centre[1]])
        frame = cv2.warpAffine(picture, transform, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        yield np.asarray(frame, np.uint8)


def _write_split(dataset: Path, split: str, moves: list[CameraMove], picture: NDArray[np.uint8]) -> None:
    import cv2

    rows = ["name|video|start|end|speaker|orth|translation"]
    for move in moves:
        folder = dataset / FRAMES_FOLDER / split / move.name
        folder.mkdir(parents=True)
        for index, frame in enumerate(render(picture, move), start=1):
            png = cv2.imencode(".png", frame)[1]
            (folder / f"images{index:04}.png").write_bytes(png.tobytes())
        rows.append(f"{move.name}|{move.name}/1/*.png|-1|-1|Astronaut|{move.gloss}|no signing: {move.gloss.lower()}")
    annotations = annotation_path(dataset, split)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _astronaut() -> NDArray[np.uint8]:
    """Return the picture as BGR uint8 (512, 512, 3), as OpenCV writes it."""
    try:
        from skimage import data
    except ImportError:
        raise MissingExtraError("The sample dataset", "demo") from None
    picture: NDArray[np.uint8] = np.ascontiguousarray(data.astronaut()[:, :, ::-1])
    return picture
