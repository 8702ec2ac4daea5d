"""Sources that need no download: the demo dataset, and synthetic videos.

The demo dataset has short "videos" in the PHOENIX-2014-T layout, with a face and a body in every frame: a camera pans,
zooms and rotates over the public-domain astronaut picture of scikit-image (NASA, Eileen Collins).

Synthetic videos are any number of videos whose frames are made in memory when they are read. Their lengths and
annotations are like those of a sign-language corpus, but they need no disk, so plan, driver, partitions and compaction
can be tried with a million of them (`benchmarks.scale`).
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import MissingExtraError, SourceError
from phoenix_ray.sources.base import DEFAULT_SPLIT, Frame, NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.listing import check_splits
from phoenix_ray.sources.phoenix import DATASET_FOLDER, FRAMES_FOLDER, SPLITS, PhoenixSource, annotation_path
from phoenix_ray.text import counted

_FRAME_WIDTH, _FRAME_HEIGHT = 210, 260
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
    dataset = write_sample_dataset(Path(os.path.normpath(folder.absolute())))
    return PhoenixSource(DiskPath(dataset), settings)


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
        scale = _FRAME_HEIGHT / VIEW_HEIGHT * move.zoom**progress
        centre = (VIEW_CENTRE[0] + move.pan * (progress - 0.5), VIEW_CENTRE[1])
        transform = cv2.getRotationMatrix2D(centre, move.roll * progress, scale)
        transform[:, 2] += np.array([_FRAME_WIDTH / 2 - centre[0], _FRAME_HEIGHT / 2 - centre[1]])
        frame = cv2.warpAffine(picture, transform, (_FRAME_WIDTH, _FRAME_HEIGHT), borderMode=cv2.BORDER_REFLECT)
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
    annotations = dataset / annotation_path(split)
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


FRAMES_PER_SECOND = 25.0
DEFAULT_VIDEOS = 1_000

# PHOENIX-2014-T's 8,257 videos have 16 to 475 frames, half of them 110 or more. This log-normal distribution has the
# same mean, 115 frames.
MEDIAN_FRAMES = 106.0
SPREAD = 0.42
FEWEST_FRAMES, MOST_FRAMES = 16, 475
# Multiples of the golden ratio modulo 1 fill (0, 1) evenly, however many are taken.
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

# Pixels of a frame of noise: enough for the synthetic model, and made in microseconds.
WIDTH = HEIGHT = 16

# About as long as the annotations of PHOENIX-2014-T, so that a plan takes as much memory as a real one.
SIGNERS = 9
GLOSS = "MORGEN WOLKE REGEN SCHAUER NORD SUED SONNE"
TRANSLATION = "am tag ist es im norden wechselhaft mit regen und schauern im süden scheint oft die sonne"


@dataclass(frozen=True, slots=True)
class SyntheticSource:
    """`source.max_videos_per_split` videos in one split; 1,000 if it is not set."""

    settings: SourceSettings

    @property
    def root(self) -> str:
        """The path of the settings, which has no meaning here."""
        return self.settings.path

    @property
    def description(self) -> str:
        """How many videos, in one line."""
        return f"{counted(self._videos, 'synthetic video')}, made in memory"

    @property
    def _videos(self) -> int:
        return self.settings.max_videos_per_split or DEFAULT_VIDEOS

    def videos(
        self,
        note_left_out: NoteLeftOut = ignore_left_out,  # noqa: ARG002 - there are no files to leave out
    ) -> Iterator[Video | SourceProblem]:
        """Yield the videos, the same at every call; see `Source.videos`."""
        check_splits(self.settings.splits, [DEFAULT_SPLIT])
        most = self.settings.limit_frames or MOST_FRAMES
        for number in range(self._videos):
            yield make_video(number, most)


def open_synthetic(settings: SourceSettings) -> SyntheticSource:
    """Return a source of synthetic videos."""
    return SyntheticSource(settings)


def make_video(number: int, most_frames: int = MOST_FRAMES) -> Video:
    """Return the video of a number, with at most `most_frames` frames."""
    video_id = f"synthetic-{number:09}"
    frames = min(count_frames(number), most_frames)
    return Video(
        split=DEFAULT_SPLIT,
        video_id=video_id,
        kind="synthetic",
        location=f"synthetic/fullFrame-{WIDTH}x{HEIGHT}px/{DEFAULT_SPLIT}/{video_id}",
        frame_count=frames,
        signature=hashlib.blake2b(f"{video_id} {frames}".encode(), digest_size=16).hexdigest(),
        fps=FRAMES_PER_SECOND,
        annotation={
            "signer": f"Signer{number % SIGNERS + 1:02}",
            "gloss": f"{GLOSS} {number}",
            "translation": f"{TRANSLATION} {number}",
        },
    )


def count_frames(number: int) -> int:
    """Return the length of the video of a number; consecutive videos are distributed in length like the corpus."""
    share = (number + 0.5) * GOLDEN_RATIO % 1
    length = MEDIAN_FRAMES * math.exp(SPREAD * NormalDist().inv_cdf(share))
    return min(MOST_FRAMES, max(FEWEST_FRAMES, round(length)))


def read_synthetic(video: Video, first: int, last: int) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1` of a video: noise that depends only on the video ID and the index."""
    for index in range(first, last):
        yield Frame(index, f"frame-{index}", index / FRAMES_PER_SECOND, _picture(video.video_id, index))


def _picture(video_id: str, index: int) -> NDArray[np.uint8]:
    noise = hashlib.shake_128(f"{video_id} {index}".encode()).digest(WIDTH * HEIGHT * 3)
    return np.frombuffer(noise, np.uint8).reshape(HEIGHT, WIDTH, 3)
