"""A tree of frame folders: each folder that holds pictures is one video.

frames/train/monday/clip one/frame1.jpg ...   → split "train", ID "monday/clip one"
frames/clip2/0001.png ...                     → split "all", ID "clip2"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.frame_files import FRAME_SUFFIXES, is_frame_name
from phoenix_ray.sources.listing import Candidate, list_videos
from phoenix_ray.sources.tree import split_and_id, walk


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Frame folders anywhere below `folder`."""

    folder: Path
    settings: SourceSettings

    @property
    def root(self) -> str:
        """The folder that was given."""
        return str(self.folder)

    @property
    def description(self) -> str:
        """What was found, in one line."""
        return f"frame folders in {self.folder}"

    def videos(self) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        candidates = list(self._candidates())
        if not candidates:
            raise SourceError(f"{self.folder} holds no frames ({' '.join(FRAME_SUFFIXES)}).")
        return list_videos(candidates, self.settings)

    def _candidates(self) -> Iterator[Candidate]:
        for folder in walk(self.folder):
            # A folder that cannot be listed may hold frames: as a candidate it becomes a problem with the reason.
            if not folder.listed or any(is_frame_name(name) for name in folder.files):
                # Pictures right in the root make it one video, named after it.
                split, video_id = split_and_id(folder.relative if folder.relative.parts else PurePath(self.folder.name))
                yield Candidate(split, video_id, str(folder.path), named_by=str(self.folder))


def open_folders(path: Path, settings: SourceSettings) -> FolderSource:
    """Return the frame folders in `path`.

    Raises:
        SourceError: `path` is no folder.
    """
    if not path.is_dir():
        raise SourceError(f"{path} is no folder, so it cannot hold frame folders: check source.path and source.kind.")
    return FolderSource(path, settings)
