"""Videos of two datasets of ours that are the same bits by what their files vouch for, so that none must be decoded.

A data file's footer holds the digest of each of its videos, computed from the rows when they were written. It is
believed only of a file whose bytes still have the sha256 in the manifest; videos in other files are read row by row.
"""

from __future__ import annotations

from typing import NamedTuple

from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.remote_storage import open_for_reading
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import hash_file
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_table import read_entries


class _Vouched(NamedTuple):
    digest: int
    frames: int


def agreed_videos(reference: str, candidate: str) -> dict[VideoKey, int]:
    """Return (split, video ID) → frames of the videos that are the same, bit for bit, in two datasets of ours.

    A digest is of names, numbers, statuses, scores and coordinates of all frames (`dataset.tally`).

    Raises:
        OutputError: A dataset cannot be read.
    """
    expected, found = _vouched(reference), _vouched(candidate)
    return {key: entry.frames for key, entry in expected.items() if found.get(key) == entry}


def _vouched(path: str) -> dict[VideoKey, _Vouched]:
    storage = open_for_reading(path)
    identity = read_identity(storage)
    survey = take_survey(storage, identity)
    videos = {
        (entry.split, entry.video_id): _Vouched(entry.tally.digest, entry.frame_count)
        for file in survey.manifest.files
        if hash_file(storage, file.name)[1] == file.sha256
        for entry in read_entries(storage, identity, file.name)
    }
    superseded = {(video.split, video.video_id) for video in survey.open_videos() if video.live is not None}
    return {key: entry for key, entry in videos.items() if key not in superseded}
