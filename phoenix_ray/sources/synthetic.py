"""Synthetic videos: any number of them, whose frames are made in memory when they are read.

Their lengths and annotations are like those of a sign-language corpus, but they need no disk, so plan, driver,
partitions and compaction can be tried with a million of them (`benchmarks.scale`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import SourceSettings
from phoenix_ray.sources.base import DEFAULT_SPLIT, Frame, NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.listing import check_splits
from phoenix_ray.text import counted

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
