"""A source without the videos that were dropped from a dataset: what a run and `phoenix-ray plan` list."""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.sources.base import NoteLeftOut, Source, SourceProblem, Video, ignore_left_out


class PermittedSource:
    """A source of which dropped videos are not listed.

    Args:
        source: The whole source.
        storage: The dataset, whose history of drops is read for each listing.

    Attributes:
        left_out: Number of dropped videos that the source had when it was last listed.
    """

    def __init__(self, source: Source, storage: ReadableStorage) -> None:
        self._source = source
        self._storage = storage
        self.left_out = 0

    @property
    def root(self) -> str:
        """The root of the whole source."""
        return self._source.root

    @property
    def description(self) -> str:
        """What was found."""
        return self._source.description

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the videos and problems of the source that no drop bans, in the order of the source."""
        dropped = read_drops(self._storage)
        self.left_out = 0
        for video in self._source.videos(note_left_out):
            if dropped.bans(video.split, video.video_id, video.annotation):
                self.left_out += 1
            else:
                yield video
