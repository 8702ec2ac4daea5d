"""Find the videos that a user names, in a dataset and in its source.

Called by `moving_pictures` and `html_page`.
"""

from __future__ import annotations

from collections.abc import Mapping

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.identity import open_recorded_source
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.text import counted


def find_video(dataset: Dataset, path: str, name: str) -> VideoKey:
    """Return (split, video ID) of the video that a user names by its ID or as `split/ID`.

    Raises:
        ConfigError: There is no such video, or an ID is in several splits.
    """
    keys = dataset.keys()
    found = [key for key in keys if name in (key[1], "/".join(key))]
    # An ID may look like another video's split and ID.
    exact = [key for key in found if "/".join(key) == name] or found
    if len(exact) == 1:
        return exact[0]
    if exact:
        names = ", ".join("/".join(key) for key in exact)
        raise ConfigError(f"{path} has several videos '{name}': {names}. Name one by its split and ID.")
    keys = dataset.keys()
    known = ["/".join(key) if "/" in name else key[1] for key in keys]
    listed = ", ".join(known[:5]) + (", …" if len(known) > 5 else "")
    way_out = did_you_mean(name, known) or f" It has {counted(len(known), 'video')}: {listed}."
    raise ConfigError(f"{path} has no video '{name}'.{way_out}")


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
    settings = source.model_copy(update={"limit_frames": dataset.identity.limit_frames})
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
