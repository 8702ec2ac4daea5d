"""What a dataset holds in all, by split: from the manifest and the footers of partitions, with no look at each video.

The driver ends a run with it, so it must not grow with the number of videos.
"""

from __future__ import annotations

from phoenix_ray.dataset.encoding import DamagedFileError
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.snapshot import describe_open
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.tally import Tally, total
from phoenix_ray.dataset.videos import read_entries
from phoenix_ray.errors import OutputError


def tally_splits(storage: ReadableStorage, identity: DatasetIdentity) -> dict[str, Tally]:
    """Return the counts over all rows that count, of each split, sorted by split.

    Raises:
        OutputError: The dataset cannot be read, or a file is damaged of which more than the footer is needed.
    """
    try:
        return _tally_splits(storage, identity)
    except DamagedFileError as error:
        raise OutputError(f"{storage.root}/{error}. Start the run again: its frames are computed anew.") from None


def _tally_splits(storage: ReadableStorage, identity: DatasetIdentity) -> dict[str, Tally]:
    survey = take_survey(storage, identity)
    open_videos = {(video.split, video.video_id): video for video in survey.open_videos() if video.live is not None}
    # Data files that hold rows of a video which partitions hold in a newer version.
    outdated = {video.compacted.file for video in open_videos.values() if video.compacted}
    splits: dict[str, Tally] = {}
    for file in survey.manifest.files:
        tally = file.tally
        if file.name in outdated:
            entries = read_entries(storage, identity, file.name)
            tally = total(entry.tally for entry in entries if (entry.split, entry.video_id) not in open_videos)
        splits[file.split] = splits.get(file.split, Tally()) + tally
    reader, layout = RowReader(storage), find_layout(identity)
    for key, video in open_videos.items():
        entry = describe_open(reader, layout, key, video.live or [])
        splits[entry.split] = splits.get(entry.split, Tally()) + entry.tally
    return {split: tally for split, tally in sorted(splits.items()) if tally.rows}
