"""The datasets that the page shows, with the sources of their frames.

`phoenix-ray view` makes a `Library`, `server` answers requests with it. Everything here only reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.array_lease import live_holders
from phoenix_ray.dataset.identity import as_recorded, open_recorded_source
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import OutputError
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.text import without_secrets
from phoenix_ray.viewer.chosen_videos import find_video
from phoenix_ray.viewer.pictures import FramePictures, SourceListing
from phoenix_ray.viewer.transfer import describe_drawing, describe_layout, encode_landmarks
from phoenix_ray.viewer.video_list import VideoList

# A dataset that a run is writing is read again after this long at the earliest, and after this many times as long as
# reading it took.
REFRESH_SECONDS = 3.0
REFRESH_PAUSE = 10.0


class ShownDataset:
    """A dataset that the page shows. Threads may share it; one of them reads at a time.

    Args:
        path: Its folder or URI.
        source: Where its frames are; an empty path means where the dataset says. None shows skeletons only.

    Raises:
        OutputError: There is no dataset, or it cannot be read.
    """

    def __init__(self, path: str, source: SourceSettings | None) -> None:
        started = time.monotonic()
        self.path = path
        self._dataset = Dataset.open(path)
        self._storage = open_for_reading(path)
        self._lock = threading.Lock()
        self.videos = VideoList(self._dataset.videos(), self._dataset.layout)
        # What reading the table needed: 150 MB for a million videos.
        pa.default_memory_pool().release_unused()
        self.generation = 0
        self.is_written = self._has_writer()
        self._refresh_at = self._next_refresh(started)
        self.source_settings = source
        self.listing: SourceListing | None = None

    @property
    def source_place(self) -> tuple[str, SourceSettings] | None:
        """What names the source: datasets with an equal place share its listing. None without a source."""
        if self.source_settings is None:
            return None
        return self.source_settings.path or self._dataset.identity.source_root, self._own_settings(self.source_settings)

    def open_source(self) -> Source:
        """Open the source; listing it takes longer.

        Raises:
            SourceError: There is no such source.
        """
        assert self.source_settings is not None
        return open_recorded_source(self._own_settings(self.source_settings), self._dataset.identity.source_root)

    def find_video(self, name: str) -> VideoKey:
        """Return the video that a user names, as `chosen_videos.find_video` does."""
        return find_video(self._dataset, self.path, name)

    def describe(self) -> dict[str, Any]:
        """Return plain values about the dataset as a whole."""
        listing = self.listing
        return {
            "path": without_secrets(self.path),
            "videos": len(self.videos),
            "frames": self.videos.frames,
            "unfinished": self.videos.unfinished,
            "is_written": self.is_written,
            "generation": self.generation,
            "model": dict(self._dataset.identity.model),
            "usual_rates": self.videos.usual_rates,
            "layout": describe_layout(self._dataset.layout),
            "source": {"state": "off", "root": "", "message": "", "listed": 0}
            if listing is None
            else {
                "state": listing.state,
                "root": without_secrets(listing.root),
                "message": without_secrets(listing.message),
                "listed": listing.listed,
            },
        }

    def refresh(self) -> None:
        """Read the table of videos again if a run may have added rows, it was not read just now, and nothing is loaded.

        Raises:
            OutputError: The dataset cannot be read.
        """
        # While a long video is loaded, which takes half a minute for 200,000 frames, the page shows what it has.
        if not self._lock.acquire(blocking=False):
            return
        try:
            started = time.monotonic()
            if started < self._refresh_at or not (self.videos.unfinished or self.is_written or self._has_writer()):
                return
            self.is_written = self._has_writer()
            self._dataset.refresh()
            self.videos = VideoList(self._dataset.videos(), self._dataset.layout)
            self.generation += 1
            self._refresh_at = self._next_refresh(started)
        finally:
            self._lock.release()

    def landmarks(self, key: VideoKey) -> bytes:
        """Return the landmarks of a video, as `transfer.encode_landmarks` does.

        Raises:
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read.
        """
        with self._lock:
            video = self._dataset.load(*key)
            found = self.videos.find(key)
            return encode_landmarks(video, found["frames"] if found else len(video))

    def is_changed(self, video: Video) -> bool:
        """Whether a video of the source has other files now than those its landmarks were computed from."""
        recorded = self.videos.signature((video.split, video.video_id))
        return recorded is not None and recorded != video.signature

    def _own_settings(self, source: SourceSettings) -> SourceSettings:
        return as_recorded(source, self._dataset.identity)

    def _has_writer(self) -> bool:
        with suppress(OSError, OutputError):
            return bool(live_holders(self._storage))
        return False

    @staticmethod
    def _next_refresh(started: float) -> float:
        now = time.monotonic()
        return now + max(REFRESH_SECONDS, REFRESH_PAUSE * (now - started))


class Library:
    """The datasets of a page: one, or two to compare.

    Args:
        datasets: The datasets.
    """

    def __init__(self, datasets: Sequence[ShownDataset]) -> None:
        self.datasets: tuple[ShownDataset, ...] = ()
        self.pictures = FramePictures()
        for dataset in datasets:
            self.add(dataset)

    def add(self, dataset: ShownDataset) -> None:
        """Show one more dataset; those with the same source share its listing."""
        place = dataset.source_place
        if place is not None:
            shared = (known.listing for known in self.datasets if known.source_place == place)
            dataset.listing = next(shared, None) or SourceListing(dataset.open_source)
        self.datasets = (*self.datasets, dataset)

    def describe(self) -> dict[str, Any]:
        """Return plain values about the datasets and how their landmarks are drawn."""
        return {"datasets": [dataset.describe() for dataset in self.datasets], "drawing": describe_drawing()}

    def close(self) -> None:
        """Stop decoding frames."""
        self.pictures.close()
