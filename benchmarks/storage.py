"""The suite `storage`: writing, compacting and reading a dataset, and the same content in the formats people keep.

The content is grown from the landmarks of the benchmark's frames, played back and forth at changing speed with the
drift and noise of a tracker. Plain repetition would compress too well.
"""

from __future__ import annotations

import pickle
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from benchmarks.contestants import in_scratch, own_environment, run_command, write_command
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.partitions import write_partition
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import FrameRecord
from phoenix_ray.dataset.shards import Shard, VideoKey
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.estimation import Estimate
from phoenix_ray.exports.export import export_videos
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video
from phoenix_ray.text import counted

# The default of 4 passes gives 1,000 videos; 33 passes give as many as PHOENIX-2014-T has.
VIDEOS_A_PASS = 250
FRAMES_A_VIDEO = 115
RANDOM_READS = 200
# As of a tracker on PHOENIX's frames: the drift of a part from frame to frame, and about 0.1 px of noise on each point.
DRIFT, NOISE = 3e-4, 4e-4
OURS = "**phoenix_ray**"
OTHERS = ("npz", "pose", "pickle")


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stored:
    """A format on disk.

    Attributes:
        bytes_a_frame: Size of all files ÷ number of frames.
        read_ms: Milliseconds of each read of one video at random; one value if the format can only be read whole.
    """

    bytes_a_frame: float
    read_ms: Sequence[float]


def run(request: Request) -> Findings:
    """Measure once, on many videos; each time is a median or a sum over them."""
    return in_scratch(request.output, partial(_measure, request))


def _measure(request: Request, scratch: Path) -> Findings:
    command, output = write_command(request.frames, request.workers, 1, scratch)
    run_command(command, scratch, own_environment())
    small = Dataset.open(str(output))
    clips = [small.load(*key) for key in list(small.keys())]
    where, count = scratch / "large", VIDEOS_A_PASS * request.passes
    storage = LocalStorage(str(where))
    claim_dataset(storage, small.identity)

    request.announce(f"writing {counted(count, 'video')}")
    frames, committing = _commit(storage, small.identity, grow(clips, count))
    request.announce("compacting")
    compacting, files = _timed(lambda: _compact(storage, small.identity))
    request.announce("reading")
    opening, large = _timed(lambda: Dataset.open(str(where)))
    keys = list(large.keys())
    epoch, _ = _timed(lambda: [len(large.load(*key)) for key in keys])
    size = sum((where / file).stat().st_size for file in files) / frames
    stored = {OURS: Stored(size, read_at_random(keys, lambda key: large.load(*key)))}
    for name in OTHERS:
        request.announce(f"exporting and reading {name}")
        stored[name] = _store_otherwise(name, where, scratch / name, keys, frames)

    works = [
        ("committing partitions, one process", f"{frames / committing:,.0f} frames/s"),
        ("compacting them, one process", f"{frames / compacting:,.0f} frames/s"),
        ("opening the dataset", f"{1000 * opening:.0f} ms"),
        ("reading all videos in order, one process", f"{frames / epoch:,.0f} frames/s"),
    ]
    quantities = {
        "ms to read one video out of the dataset": Rounds.of([statistics.median(stored[OURS].read_ms)]),
        "kB a frame, 543 points": Rounds.of([sum(_bytes_of_points(where / file) for file in files) / frames / 1000]),
    }
    raw = {name: {"bytes_a_frame": form.bytes_a_frame, "read_ms": list(form.read_ms)} for name, form in stored.items()}
    described = f"{count:,} videos with {frames:,} frames, grown from {request.frames}"
    return Findings(described, 1, [Table(("", ""), works), _table(stored)], quantities, _notes(), raw=raw)


def grow(clips: Sequence[VideoLandmarks], count: int) -> Iterator[VideoLandmarks]:
    """Yield `count` videos of about `FRAMES_A_VIDEO` frames each, the same at every call."""
    numbers = np.random.default_rng(0)
    for index in range(count):
        clip = clips[index % len(clips)]
        frames = int(numbers.integers(FRAMES_A_VIDEO // 2, 3 * FRAMES_A_VIDEO // 2))
        # Back and forth through the clip, sometimes holding and sometimes skipping a frame.
        steps = np.cumsum(numbers.choice([0, 1, 1, 1, 2], frames)) % max(1, 2 * len(clip) - 2)
        rows = np.minimum(steps, 2 * len(clip) - 2 - steps)
        drift = np.cumsum(numbers.normal(0, DRIFT, (frames, 1, 1)), axis=0)
        points = {
            part: (values[rows] + drift + NOISE * numbers.standard_normal((frames, *values.shape[1:]))).astype("f4")
            for part, values in clip.points.items()
        }
        yield replace(
            clip,
            split="train",
            video_id=f"{index:06}",
            frame_index=np.arange(frames, dtype=np.int32),
            frame_names=tuple(f"images{row + 1:04}.png" for row in range(frames)),
            timestamps=np.arange(frames) / 25,
            sizes=clip.sizes[rows],
            status=("ok",) * frames,
            points=points,
            scores={part: scores[rows] for part, scores in clip.scores.items()},
        )


def read_at_random(keys: Sequence[VideoKey], load: Callable[[VideoKey], object]) -> list[float]:
    """Return the milliseconds of each read of a video at random, after a few reads to warm up."""
    chosen = random.Random(0).choices(keys, k=RANDOM_READS + 10)
    return [1000 * _timed(partial(load, key))[0] for key in chosen][10:]


def _commit(storage: Storage, identity: DatasetIdentity, videos: Iterator[VideoLandmarks]) -> tuple[int, float]:
    """Commit each video as one partition; return the number of frames, and the seconds that committing took."""
    frames, seconds = 0, 0.0
    for video in videos:
        about = Video(video.split, video.video_id, "frame_folder", "/", len(video), video.video_id, video.fps)
        records = [
            FrameRecord(row, name, row / 25, int(width), int(height), "ok")
            for row, (name, (width, height)) in enumerate(zip(video.frame_names, video.sizes, strict=True))
        ]
        batch = LandmarkBatch(video.points, video.scores)
        settings = OutputSettings()
        began = time.perf_counter()
        estimate = Estimate(records, batch, 0.0, 0.0, ())
        write_partition(storage, identity, settings, Shard(about, 0, len(video)), estimate)
        seconds += time.perf_counter() - began
        frames += len(video)
    return frames, seconds


def _compact(storage: Storage, identity: DatasetIdentity) -> list[str]:
    """Compact everything and return the names of the data files."""
    settings = OutputSettings()
    tasks = plan_compaction(
        take_survey(storage, identity),
        lambda name: read_entries(storage, identity, name),
        settings.target_file_mb * 1e6,
    )
    manifest = publish(storage, identity, [compact_videos(storage, task, settings) for task in tasks])
    return [file.name for file in manifest.files]


def _store_otherwise(name: str, dataset: Path, folder: Path, keys: Sequence[VideoKey], frames: int) -> Stored:
    """Export the dataset, and read it as users of the format do: with its own library, numpy, or pickle."""
    exported = export_videos(str(dataset), folder, name)
    if name == "pickle":
        # To get one video out of a pickle, users load all of it.
        return Stored(exported.bytes / frames, [1000 * _timed(lambda: pickle.loads(exported.path.read_bytes()))[0]])
    files = {file.stem: file for file in exported.path.rglob("*.*")}
    read = _read_npz if name == "npz" else _read_pose
    return Stored(exported.bytes / frames, read_at_random(keys, lambda key: read(files[key[1]])))


def _read_npz(file: Path) -> dict[str, Any]:
    with np.load(file) as arrays:
        return dict(arrays)


def _read_pose(file: Path) -> object:
    from pose_format import Pose

    return Pose.read(file.read_bytes())


def _bytes_of_points(file: Path) -> int:
    """Return the bytes of a data file without world landmarks and visibility, which other formats do not hold."""
    metadata = pq.read_metadata(file)
    surplus: int = sum(
        chunk.total_compressed_size
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema.startswith(("pose_world", "pose_visibility"))
    )
    return file.stat().st_size - surplus


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _table(stored: Mapping[str, Stored]) -> Table:
    rows = [
        (
            name,
            f"{form.bytes_a_frame:,.0f}",
            f"{statistics.median(form.read_ms):,.1f}",
            f"{max(form.read_ms):,.1f}",
        )
        for name, form in stored.items()
    ]
    return Table(("", "bytes a frame", "ms to one video at random, median", "largest"), rows)


def _notes() -> list[str]:
    return [
        f"Videos of {FRAMES_A_VIDEO} frames on average: the landmarks of the benchmark's frames, played back and forth "
        "at changing speed, with the drift and noise of a tracker, because repeated rows would compress too well.",
        "npz and pose: one file for each video, read with numpy and pose-format. pickle: one file, which must be "
        "loaded whole. .pose rounds pixels to float32, pads missing parts with zeros, and includes world landmarks. "
        "Files lie in the page cache, so decoding is measured, not the disk.",
        "543 points: x, y and z of pose, hands and face with scores, names and status, without world landmarks and "
        "visibility.",
    ]
