"""Compares a dataset with the source it was computed from: which videos are missing, changed, or gone from the source.

Asks the source for its listing and signatures, as a run does to plan; no frame is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from phoenix_ray.dataset.coverage import Version
from phoenix_ray.dataset.integrity.findings import Finding
from phoenix_ray.dataset.integrity.inspection import Inspection
from phoenix_ray.sources.base import SourceProblem, Video


def compare_with_source(inspection: Inspection, listing: Iterable[Video | SourceProblem]) -> Iterator[Finding]:
    """Yield what a run on this source would compute, and videos that the source does not have any more.

    Args:
        inspection: Of the dataset.
        listing: Of the source, made with the dataset's own `source.signature` and `source.limit_frames`.

    Raises:
        SourceError: The source cannot be listed.
    """
    held = dict(_versions(inspection))
    for video in listing:
        name = f"{video.split}/{video.video_id}"
        versions = held.pop((video.split, video.video_id), None)
        if isinstance(video, SourceProblem):
            yield Finding("unopenable", name, video.message)
        elif versions is None:
            yield Finding("missing", name, f"the source has it, with {video.frame_count:,} frames")
        elif Version(video.signature, video.frame_count) not in versions:
            yield Finding("changed", name, "its frames in the source are not those that were computed")
    for split, video_id in held:
        yield Finding("gone", f"{split}/{video_id}", "the source does not have it")


def _versions(inspection: Inspection) -> Iterator[tuple[tuple[str, str], set[Version]]]:
    """Yield the versions of each video that the dataset has any frame of."""
    versions: dict[tuple[str, str], set[Version]] = {}
    if inspection.videos is not None:
        columns = ("split", "video_id", "source_signature", "frames")
        for row in inspection.videos.select(list(columns)).to_pylist():
            version = Version(row["source_signature"], row["frames"])
            versions.setdefault((row["split"], row["video_id"]), set()).add(version)
    for check in inspection.partitions:
        if check.info is not None:
            versions.setdefault((check.info.split, check.info.video_id), set()).add(check.info.version)
    yield from versions.items()
