"""The landmarks of one video, computed in this process and without Ray: `phoenix_ray.estimate`.

The same functions as in the workers do it (`phoenix_ray.estimation`), so the numbers are those that a run stores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from phoenix_ray.config import Settings
from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.errors import ConfigError, FramesError, ModelError, PhoenixRayError, SourceError
from phoenix_ray.estimation import Estimate, estimate_frames, first_state, track_frames
from phoenix_ray.models import registry
from phoenix_ray.models.base import PoseModel, TrackingModel
from phoenix_ray.setting_types import Location
from phoenix_ray.sources.base import DEFAULT_SPLIT, Frame, Video
from phoenix_ray.sources.decoding import frame_name
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.text import printable_line

# Name of a video that is given as arrays.
UNNAMED = "video"
# Frames that are read before the model is asked; rounded to whole batches, so that each frame has its neighbours.
_BLOCK_FRAMES = 512
_EXPECTED = "Give RGB frames: one uint8 array (frames, height, width, 3), or arrays (height, width, 3)"


def estimate_video(video: object, settings: Settings, fps: float | None = None) -> VideoLandmarks:
    """Return the landmarks of a video; arguments and errors are those of `phoenix_ray.estimate`.

    Args:
        video: A path or URI, or frames.
        settings: How to read and estimate; with 'auto' the CPU computes.
        fps: Frames per second of frames without a clock.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise ConfigError(f"fps={fps} is not a number of frames per second: give one above 0, or leave it out.")
    chosen = registry.resolve_auto(settings.model, has_gpu=False)
    if isinstance(video, str | os.PathLike):
        described = _find_video(video, settings, fps)
        with closing(read_frames(described, 0, described.frame_count, settings.decode)) as frames:
            return _estimate(described, frames, settings.model_copy(update={"model": chosen}))
    described = Video(DEFAULT_SPLIT, UNNAMED, "frame_folder", "", 0, "", fps)
    given = islice(frames_of_arrays(video, fps), settings.source.limit_frames)
    return _estimate(described, given, settings.model_copy(update={"model": chosen}))


def _find_video(location: Location, settings: Settings, fps: float | None) -> Video:
    """Return the only video at a location."""
    source = open_source(settings.source.model_copy(update={"path": os.fspath(location)}))
    found = list(islice(source.videos(), 2))
    if len(found) != 1:
        raise SourceError(
            f"{location} holds {'several videos' if found else 'no video'}. Give the path of one video file or frame "
            "folder, or compute all of them with phoenix_ray.extract."
        )
    if not isinstance(found[0], Video):
        raise SourceError(found[0].message)
    if fps is None:
        return found[0]
    if found[0].kind == "video_file":
        raise ConfigError(f"{location} is a video file, which has a clock of its own: leave fps out.")
    return replace(found[0], fps=fps)


def _estimate(video: Video, frames: Iterator[Frame], settings: Settings) -> VideoLandmarks:
    """Return the landmarks of all frames; an iterator is consumed a block at a time."""
    # Before the model is loaded: that takes longer than to find out that there is nothing for it.
    opening = list(islice(frames, 1))
    if not opening:
        raise FramesError(f"There are no frames: the iterable or array is empty. {_EXPECTED}.")
    registry.ensure_ready(settings.model, lambda line: print(printable_line(line), file=sys.stderr, flush=True))
    model = registry.create(settings.model)
    try:
        tables = list(_estimate_blocks(model, video, chain(opening, frames)))
    finally:
        model.close()
    rows = pa.concat_tables(tables)
    return from_rows(model.layout, video.split, video.video_id, rows, video.fps, video.annotation, video.fps_varies)


def _estimate_blocks(model: PoseModel, video: Video, frames: Iterator[Frame]) -> Iterator[pa.Table]:
    rows = -(-_BLOCK_FRAMES // model.batch_size) * model.batch_size
    state = first_state(model) if isinstance(model, TrackingModel) else None
    first = 0
    while block := list(islice(frames, rows)):
        estimate = _estimate_block(model, block, first, state)
        state = estimate.state
        yield to_table(model.layout, video.split, video.video_id, estimate.records, estimate.rows)
        first += len(block)


def _estimate_block(model: PoseModel, block: list[Frame], first: int, state: NDArray[np.float32] | None) -> Estimate:
    last = first + len(block)
    try:
        if isinstance(model, TrackingModel) and state is not None:
            return track_frames(model, iter(block), first, last, state)
        return estimate_frames(model, iter(block), first, last)
    except PhoenixRayError:
        raise
    except Exception as error:
        raise ModelError(f"The model failed on every frame from {first} to {last - 1}: {error!r}") from error


def frames_of_arrays(arrays: object, fps: float | None) -> Iterator[Frame]:
    """Yield the frames that arrays hold.

    Args:
        arrays: uint8 RGB (frames, height, width, 3), or an iterable of (height, width, 3).
        fps: Gives their times; None where they have none.

    Raises:
        FramesError: They are something else. The message names the frame, and says how to convert it.
    """
    if hasattr(arrays, "__array__") or isinstance(arrays, memoryview):
        whole = np.asarray(arrays)
        _check_whole(whole)
        arrays = iter(whole)
    elif isinstance(arrays, bytes | dict) or not isinstance(arrays, Iterable):
        raise FramesError(f"A video cannot be a {type(arrays).__name__}. {_EXPECTED}, or the path of a video.")
    for index, array in enumerate(arrays):
        image = _check_frame(array, index)
        yield Frame(index, frame_name(index), index / fps if fps else None, image)


def _check_whole(whole: NDArray[Any]) -> None:
    """Refuse an array that does not hold frames, with the way to convert it."""
    shape = whole.shape
    if whole.ndim == 3 and shape[-1] == 3:
        raise FramesError(f"An array of shape {shape} is a single picture: give array[None] for a video of one frame.")
    if whole.ndim == 3:
        raise FramesError(
            f"An array of shape {shape} holds grey frames without colours. The model needs three channels: "
            "numpy.repeat(array[..., None], 3, axis=-1)."
        )
    if whole.ndim != 4:
        raise FramesError(f"An array of shape {shape} is not a video. {_EXPECTED}.")
    if len(whole):
        _check_pixels(whole, "array")


def _check_frame(array: object, index: int) -> NDArray[np.uint8]:
    """Return a frame as an array in C order; refuse what is not a picture."""
    if isinstance(array, str | os.PathLike):
        raise FramesError(
            f"Frame {index} is a path, {array}. To read pictures, give the folder that holds them as the video."
        )
    image = np.asarray(array)
    if image.ndim == 2:
        raise FramesError(
            f"Frame {index} has the shape {image.shape}: it is grey. The model needs three channels: "
            "numpy.repeat(frame[..., None], 3, axis=-1)."
        )
    if image.ndim != 3:
        raise FramesError(f"Frame {index} has the shape {image.shape}, which is not a picture. {_EXPECTED}.")
    _check_pixels(image, "frame", f"Frame {index}")
    return np.ascontiguousarray(image)


def _check_pixels(image: NDArray[Any], name: str, which: str = "The array") -> None:
    """Refuse pixels that are not RGB of uint8.

    Args:
        image: Any numbers (…, height, width, channels).
        name: What it is called in the code that the message proposes.
        which: What the message begins with.
    """
    shape, channels = image.shape, image.shape[-1]
    if 0 in shape[-3:]:
        raise FramesError(f"{which} has the shape {shape}: there are no pixels. {_EXPECTED}.")
    if channels == 4:
        raise FramesError(f"{which} has the shape {shape}, four channels: leave transparency out, {name}[..., :3].")
    if channels == 1:
        raise FramesError(f"{which} has the shape {shape}, one channel: numpy.repeat({name}, 3, axis=-1).")
    if channels != 3 and shape[-3] == 3:
        raise FramesError(f"{which} has the shape {shape}, channels first: numpy.moveaxis({name}, -3, -1).")
    if channels != 3:
        raise FramesError(f"{which} has the shape {shape}: its last axis must be the three channels. {_EXPECTED}.")
    if image.dtype == np.uint8:
        return
    if image.dtype.kind == "f":
        largest = float(np.nanmax(image)) if image.size else 0.0
        scaled = f"({name} * 255).round()" if largest <= 1.0 else f"{name}.round()"
        raise FramesError(
            f"{which} holds {image.dtype} up to {largest:g}, not uint8 from 0 to 255: {scaled}.astype(numpy.uint8)."
        )
    raise FramesError(
        f"{which} holds {image.dtype}, not uint8. If its values are 0 to 255: {name}.astype(numpy.uint8)."
    )
