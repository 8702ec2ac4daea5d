"""Video files: one of them, or all in a folder tree.

videos/train/monday/clip one.mp4   → split "train", ID "monday/clip one"
videos/clip2.mov                   → split "all", ID "clip2"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.containers import VIDEO_SUFFIXES, is_video_name
from phoenix_ray.sources.listing import Candidate, list_videos
from phoenix_ray.sources.tree import split_and_id, walk


@dataclass(frozen=True, slots=True)
class VideoFileSource:
    """The video file `path`, or all video files anywhere below the folder `path`."""

    path: Path
    settings: SourceSettings

    @property
    def root(self) -> str:
        """The path that was given."""
        return str(self.path)

    @property
    def description(self) -> str:
        """What was found, in one line."""
        return f"video files in {self.path}" if self.path.is_dir() else f"the video file {self.path}"

    def videos(self) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        candidates = list(self._candidates())
        if not candidates:
            raise SourceError(f"{self.path} holds no video files ({' '.join(VIDEO_SUFFIXES)}).")
        return list_videos(candidates, self.settings)

    def _candidates(self) -> Iterator[Candidate]:
        if not self.path.is_dir():
            yield self._candidate(self.path, PurePath(self.path.stem))
            return
        for folder in walk(self.path):
            if not folder.listed:
                # It may hold videos: as a candidate it becomes a problem with the reason.
                yield self._candidate(folder.path, folder.relative)
            for name in filter(is_video_name, folder.files):
                yield self._candidate(folder.path / name, (folder.relative / name).with_suffix(""))

    def _candidate(self, path: Path, relative: PurePath) -> Candidate:
        split, video_id = split_and_id(relative)
        return Candidate(split, video_id, str(path), named_by=str(self.path))


def open_videos(path: Path, settings: SourceSettings) -> VideoFileSource:
    """Return the video files at `path`, a file or a folder."""
    return VideoFileSource(path, settings)
