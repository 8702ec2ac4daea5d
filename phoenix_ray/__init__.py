"""phoenix_ray: sign-language videos to landmarks, on a Ray cluster.

`extract(source, output)` computes a dataset, as `phoenix-ray run` does; `open(path)` opens one; `estimate(video)`
computes a single video in this process, without Ray. Each imports what it needs when it is called, so that `import
phoenix_ray` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    import numpy as np
    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray
    from pyarrow.fs import FileSystem

    from phoenix_ray.cluster.extraction import Extraction
    from phoenix_ray.dataset.reader import Dataset
    from phoenix_ray.dataset.video_landmarks import VideoLandmarks
    from phoenix_ray.setting_types import Location

__version__ = "0.1.0"
__all__ = ["estimate", "extract", "open"]


def __dir__() -> list[str]:
    """Return what a user calls, for completion in notebooks."""
    return [*__all__, "__version__", "__doc__"]


def open(  # noqa: A001
    path: str | os.PathLike[str], filesystem: FileSystem | AbstractFileSystem | None = None
) -> Dataset:
    """Open a dataset, even while a run is writing it.

    Args:
        path: Its folder, which may begin with `~`, or its URI. Arrow opens `s3://`, `gs://`, `abfs://` and `hdfs://`;
            fsspec opens others (`hf://`, `memory://`). User, password, and options after `?` are used but never shown.
        filesystem: The file system of Arrow or fsspec in which `path` lies; None chooses it by the path.

    Raises:
        phoenix_ray.errors.OutputError: There is no dataset, or this version cannot read it.
    """
    from phoenix_ray.dataset.reader import Dataset

    return Dataset.open(path, filesystem)


def extract(
    source: Location | None,
    output: Location,
    *,
    model: str | None = None,
    mode: Literal["static", "tracking"] | None = None,
    engine: Literal["auto", "litert", "torch", "mediapipe", "onnx", "torchvision"] | None = None,
    complexity: Literal[0, 1, 2] | None = None,
    face_points: Literal[468, 478] | None = None,
    splits: Sequence[str] | str | None = None,
    max_videos_per_split: int | None = None,
    limit_frames: int | None = None,
    num_workers: int | Literal["auto"] | None = None,
    num_gpus: int | Literal["auto"] | None = None,
    address: str | None = None,
    config: Location | None = None,
    settings: Mapping[str, object] | None = None,
    progress: bool = True,
) -> Extraction:
    """Compute the landmarks of videos into a dataset on Ray, and go on where an earlier run or call stopped.

    It is `phoenix-ray run`. A Ray to which this process is connected already (`ray.init()`) is used, and stays. Without
    one, `address` or `$RAY_ADDRESS` names a cluster; otherwise a Ray starts on this machine and ends with the call. A
    dataset that is finished starts none. An argument that is None keeps the value of `config` or the default.

    Args:
        source: A folder of videos or frame folders, a video file, a PHOENIX-2014-T tree, or a CSV or Parquet table of
            videos; a path or a URI. None where `config` says what to read.
        output: The dataset's folder, or a URI of a bucket.
        model: `model.name`: "holistic" (the default) or another of `phoenix-ray models list`.
        mode: `model.mode`: "static" (the default) estimates each frame alone, "tracking" follows a person.
        engine: `model.engine`: what runs the networks; by default what fits the machine.
        complexity: `model.complexity`: the pose network, 0 lite, 1 full (the default), 2 heavy.
        face_points: `model.face_points`: 468 (the default), or 478 with irises.
        splits: `source.splits`: read only these splits.
        max_videos_per_split: `source.max_videos_per_split`: a trial that a later call without it completes.
        limit_frames: `source.limit_frames`: only the first frames of each video, for a dataset of its own.
        num_workers: `cluster.num_workers`: by default as many as the cluster holds.
        num_gpus: `cluster.num_gpus`: by default all, if the engine uses them.
        address: `cluster.address`: "auto", or "HOST:PORT" of a cluster.
        config: A YAML file of settings, or the name of one that comes with the package: "demo", "phoenix", ….
        settings: Any other settings by their names: `{"cluster.shard_frames": 256}`; docs/configuration.md has all.
        progress: Show progress and messages: a bar in a notebook or terminal, lines in a log. False shows nothing.

    Returns:
        State, counts, failures, digest and speed; `.open()` opens the dataset. Videos or frames that fail raise
        nothing: the state is then "incomplete", and `failures` says why. After SIGINT (Ctrl-C, a notebook's stop
        button) shards in flight are finished, and the state is "stopped"; the same call goes on from there. SIGTERM
        drains too and then does what it would have done without this call.

    Raises:
        phoenix_ray.errors.ConfigError: A setting is unknown or of the wrong type.
        phoenix_ray.errors.SourceError: The source cannot be read.
        phoenix_ray.errors.ModelError: The model cannot be loaded.
        phoenix_ray.errors.OutputError: The output cannot be written, or was computed with other settings.
        phoenix_ray.errors.ClusterError: Ray cannot be reached, or no worker starts.
        KeyboardInterrupt: SIGINT came before the run computed, or twice.
    """
    from phoenix_ray.cluster.notebook import quiet_import
    from phoenix_ray.config_files import load_arguments

    with quiet_import():
        from phoenix_ray.cluster.extraction import run_extraction

    arguments = {
        "source.path": source,
        "output.path": output,
        "model.name": model,
        "model.mode": mode,
        "model.engine": engine,
        "model.complexity": complexity,
        "model.face_points": face_points,
        "source.splits": splits,
        "source.max_videos_per_split": max_videos_per_split,
        "source.limit_frames": limit_frames,
        "cluster.num_workers": num_workers,
        "cluster.num_gpus": num_gpus,
        "cluster.address": address,
    }
    return run_extraction(load_arguments(arguments, settings, config), progress=progress)


def estimate(
    video: Location | NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    *,
    model: str = "holistic",
    mode: Literal["static", "tracking"] = "static",
    engine: Literal["auto", "litert", "torch", "mediapipe", "onnx", "torchvision"] = "auto",
    complexity: Literal[0, 1, 2] = 1,
    face_points: Literal[468, 478] = 468,
    limit_frames: int | None = None,
    fps: float | None = None,
    settings: Mapping[str, object] | None = None,
) -> VideoLandmarks:
    """Compute the landmarks of one video in this process, without Ray, and write nothing.

    They are the bits that a run with these settings stores. The model is loaded anew by each call: for many videos, use
    `extract`.

    Args:
        video: A video file or a folder of frames, as path or URI; or its frames as RGB: one uint8 array (frames,
            height, width, 3), or an iterable of arrays (height, width, 3), taken one after the other. OpenCV reads BGR,
            which nothing can detect: pass `image[..., ::-1]`.
        model: "holistic", or another of `phoenix-ray models list`.
        mode: "static" estimates each frame alone, "tracking" follows a person through the video.
        engine: What runs the networks. "auto" takes the CPU engine, "litert", unless the settings ask for torch.
        complexity: The pose network: 0 lite, 1 full, 2 heavy.
        face_points: 468, or 478 with irises.
        limit_frames: Only the first frames.
        fps: Frames per second of frames, which have no clock; it gives `timestamps`. A video file has its own.
        settings: Other settings of the sections `model`, `decode` and `source` by their names:
            `{"model.min_detection_confidence": 0.3}`.

    Returns:
        Arrays with one row per frame: `points`, `scores`, `status`, …; NaN where a part was not found.

    Raises:
        phoenix_ray.errors.FramesError: The arrays are not frames; the message says how to convert them.
        phoenix_ray.errors.SourceError: There is no such video, it cannot be read, or there are several.
        phoenix_ray.errors.ConfigError: A setting is unknown or of the wrong type.
        phoenix_ray.errors.ModelError: The model cannot be loaded, or fails on every frame.
    """
    from phoenix_ray.config_files import load_arguments
    from phoenix_ray.video_estimation import estimate_video

    arguments = {
        "model.name": model,
        "model.mode": mode,
        "model.engine": engine,
        "model.complexity": complexity,
        "model.face_points": face_points,
        "source.limit_frames": limit_frames,
    }
    return estimate_video(video, load_arguments(arguments, settings), fps)
