"""The sample: ten short videos of rendered figures, written as a PHOENIX-2014-T tree of PNG frames.

The videos come with the package, in `demo_videos/`; its README.md says how they were made. The figures move like
signers, with face and both hands in the picture, but their movements are not sign language. `phoenix-ray run --config
demo` reads them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.media_tree import open_videos
from phoenix_ray.sources.phoenix import DATASET_FOLDER, FRAMES_FOLDER, SPLITS, PhoenixSource, annotation_path

# One folder of MP4 files for each split, and each split's annotations in PHOENIX-2014-T's form.
DEMO_VIDEOS = Path(__file__).with_name("demo_videos")
# Marks a complete sample; written last. New pictures get a new name, and replace a sample with an older one.
COMPLETE = "sample-v2.complete"
_ANY_VERSION = "sample-v*.complete"


def open_sample(settings: SourceSettings) -> PhoenixSource:
    """Return the sample as a source, writing it first if needed, to `settings.path` or the user's cache.

    Raises:
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
    """Write the sample into `folder` and return its PHOENIX-2014-T folder.

    A complete sample is left as it is; that of an earlier version is replaced.

    Raises:
        SourceError: The folder cannot be written, or holds a PHOENIX-2014-T folder that is not this sample.
    """
    dataset = folder / DATASET_FOLDER
    if (dataset / COMPLETE).is_file():
        return dataset
    if dataset.exists() and not list(dataset.glob(_ANY_VERSION)):
        raise SourceError(f"{dataset} exists and is not the sample: remove it, or choose another source.path.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=folder) as scratch:
            fresh = Path(scratch, DATASET_FOLDER)
            for video in demo_videos():
                _write_frames(fresh / FRAMES_FOLDER / video.split / video.video_id, video)
            for split in SPLITS:
                annotations = fresh / annotation_path(split)
                annotations.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(DEMO_VIDEOS / annotations.name, annotations)
            (fresh / COMPLETE).touch()
            if dataset.exists():
                dataset.rename(Path(scratch, "older"))
            fresh.rename(dataset)
    except OSError as error:
        # Another process may have written the same content first.
        if not (dataset / COMPLETE).is_file():
            raise SourceError(f"The sample cannot be written to {folder}: {error}") from None
    return dataset


def demo_videos() -> list[Video]:
    """Return the video files that come with the package, by split and name."""
    found = open_videos(DiskPath(DEMO_VIDEOS), SourceSettings()).videos()
    return [video for video in found if isinstance(video, Video)]


def _write_frames(folder: Path, video: Video) -> None:
    """Decode a video as workers do, so that every machine gets the same pixels, and write its frames."""
    import cv2

    folder.mkdir(parents=True)
    for frame in read_frames(video, 0, video.frame_count, DecodeSettings()):
        if frame.image is None:
            raise SourceError(f"{video.location} cannot be decoded: {frame.error}. Install phoenix_ray again.")
        png = cv2.imencode(".png", frame.image[:, :, ::-1])[1]
        (folder / f"images{frame.index + 1:04}.png").write_bytes(png.tobytes())
