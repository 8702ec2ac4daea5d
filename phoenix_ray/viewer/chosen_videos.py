"""Find the videos that a user names, in a dataset and in its source.

Called by `library`, `moving_pictures`, `html_page` and `report.pictures`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.identity import as_recorded, open_recorded_source
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_names import find_named
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.text import counted, printable_line


def find_video(dataset: Dataset, path: str, name: str) -> VideoKey:
    """Return (split, video ID) of the video that a user names by its ID or as `split/ID`.

    Raises:
        ConfigError: There is no such video, or an ID is in several splits.
    """
    try:
        return find_named(dataset.videos(), path, name)
    except KeyError as error:
        raise ConfigError(str(error.args[0])) from None


def find_source_videos(
    dataset: Dataset, wanted: Mapping[VideoKey, int], source: SourceSettings, way_out: str
) -> dict[VideoKey, Video]:
    """Return where the frames of videos lie.

    Args:
        dataset: The dataset that was computed from them.
        wanted: (split, video ID) → index of the last frame of which the dataset has a row.
        source: Where the source is; with an empty path, where the dataset says it was.
        way_out: What else the user can do; it ends the message of an error.

    Raises:
        SourceError: The source or a video cannot be found, or the video there is too short to be the same.
    """
    settings = as_recorded(source, dataset.identity)
    found: dict[VideoKey, Video] = {}
    try:
        opened = open_recorded_source(settings, dataset.identity.source_root)
        for entry in opened.videos():
            key = (entry.split, entry.video_id)
            if key not in wanted:
                continue
            if isinstance(entry, SourceProblem):
                raise SourceError(f"{'/'.join(key)} in {opened.root} cannot be read: {entry.message}.")
            if wanted[key] >= entry.frame_count:
                raise SourceError(
                    f"{'/'.join(key)} has {counted(entry.frame_count, 'frame')} in {opened.root}, and a row of frame "
                    f"{wanted[key]} in the dataset: it is another video. Say where the frames are: --source PATH."
                )
            found[key] = entry
            if len(found) == len(wanted):
                return found
    except SourceError as error:
        raise SourceError(f"{error} {way_out}") from None
    lacking = next(key for key in wanted if key not in found)
    raise SourceError(f"{opened.root} has no video {'/'.join(lacking)}. {way_out}")


def changed_videos(dataset: Dataset, videos: Collection[Video]) -> set[VideoKey]:
    """Return which videos of a source have other files now than those their landmarks were computed from."""
    table = dataset.videos().select(["split", "video_id", "source_signature"])
    table = table.filter(pc.is_in(table["video_id"], pa.array([video.video_id for video in videos], pa.string())))
    recorded = {(row["split"], row["video_id"]): row["source_signature"] for row in table.to_pylist()}
    keys = {(video.split, video.video_id): video.signature for video in videos}
    return {key for key, signature in keys.items() if recorded.get(key, signature) != signature}


def describe_changes(dataset: Dataset, videos: Collection[Video]) -> str:
    """Say which videos `changed_videos` returns, empty where it returns none."""
    changed = [printable_line("/".join(key)) for key in sorted(changed_videos(dataset, videos))]
    if not changed:
        return ""
    names = ", ".join(changed[:3]) + (f" and {len(changed) - 3:,} more" if len(changed) > 3 else "")
    return f"the source of {names} has changed since: frames and landmarks may not belong together"
