"""Which frames are compared: runs of consecutive frames, spread over the videos of a source.

Consecutive, because jitter is a matter of neighbouring frames; spread, because videos of one signer look alike. The
choice is a function of the list of videos and of the labels alone, so a comparison can be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.text import ShowProgress

# Videos that are looked into where the user names no number.
USUAL_VIDEOS = 10
# Fewer frames in a row say little about movement: without a number of videos, rather fewer videos are taken.
USUAL_RUN = 8


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Consecutive frames of a video: `first` to `end - 1`."""

    video: Video
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class SampledRun:
    """The decoded frames of a run, in order; those that cannot be read have no image."""

    video: Video
    frames: tuple[Frame, ...]


def choose_runs(
    videos: Sequence[Video],
    frames: int,
    most_videos: int | None = None,
    labelled: Mapping[VideoKey, Collection[int]] | None = None,
) -> list[FrameRun]:
    """Return the runs to compare, in the order of the videos.

    Videos are taken at equal distances from the list, and each gives as many frames as the others as far as it has
    them. Without labels a run lies in the middle of its video. With labels only videos that have some are taken, and a
    run lies where it has most of them, of equals nearest to the middle.

    Args:
        videos: What the source lists, in its order; those without frames are left out.
        frames: Frames in all, as far as the videos have so many.
        most_videos: Videos at most; None takes `USUAL_VIDEOS`, or fewer so that runs have `USUAL_RUN` frames.
        labelled: Frames with labels of each video that has some.
    """
    candidates = [video for video in videos if video.frame_count and (labelled is None or labelled.get(_key(video)))]
    if most_videos is None:
        most_videos = max(1, min(USUAL_VIDEOS, frames // USUAL_RUN))
    count = min(most_videos, len(candidates), frames)
    if not count:
        return []
    places = ((np.arange(count) + 0.5) * len(candidates) / count).astype(int)
    chosen = [candidates[place] for place in places.tolist()]
    lengths = _share_out(frames, [video.frame_count for video in chosen])
    runs = []
    for video, length in zip(chosen, lengths, strict=True):
        first = _first_frame(video.frame_count, length, sorted((labelled or {}).get(_key(video), ())))
        runs.append(FrameRun(video, first, first + length))
    return runs


def read_runs(runs: Sequence[FrameRun], decode: DecodeSettings, show: ShowProgress) -> list[SampledRun]:
    """Return the decoded frames of runs; all are held in memory.

    Raises:
        SourceError: A video cannot be read on this machine.
    """
    sampled = []
    for done, run in enumerate(runs):
        show(done, len(runs))
        with closing(read_frames(run.video, run.first, run.end, decode)) as frames:
            sampled.append(SampledRun(run.video, tuple(frames)))
    if not any(frame.image is not None for run in sampled for frame in run.frames):
        errors = [frame.error for run in sampled for frame in run.frames if frame.error]
        raise SourceError(f"No frame of the sample can be read: {errors[0] if errors else 'there are no frames'}.")
    return sampled


def _key(video: Video) -> VideoKey:
    return video.split, video.video_id


def _share_out(total: int, limits: Sequence[int]) -> list[int]:
    """Return equal shares of a total, as far as each limit allows; what short videos leave, the others take."""
    shares = [0] * len(limits)
    left = total
    for waiting, place in zip(
        range(len(limits), 0, -1), sorted(range(len(limits)), key=lambda place: (limits[place], place)), strict=True
    ):
        shares[place] = min(limits[place], -(-left // waiting))
        left -= shares[place]
    return shares


def _first_frame(count: int, length: int, labelled: Sequence[int]) -> int:
    """Return where a run of so many frames begins in a video of `count` frames."""
    middle = (count - length) // 2
    if not labelled:
        return middle
    marks = np.zeros(count + 1, np.int64)
    marks[1:][np.asarray(labelled)] = 1
    sums = np.cumsum(marks)
    inside = sums[length:] - sums[: count + 1 - length]
    best = np.flatnonzero(inside == inside.max())
    return int(best[np.abs(best - middle).argmin()])
