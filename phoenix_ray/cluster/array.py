"""Elements of an array: runs that compute a share of a dataset each (`run.share`), and the one that is last.

An element plans the videos of its share and leaves all other files of the dataset alone: it neither compacts nor sweeps
nor repairs. When its share is done it looks at all videos of the source. Once each of them is whole or on the failure
list, it takes the lease of the whole dataset and merges what all elements have computed.

That never fails to happen: of all elements, the one that commits last looks after it has committed, so it finds the
others' videos done. Two that finish together may both find that; then one of them gets the lease, and the other has
nothing left to merge when its turn comes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from phoenix_ray.cluster.completion import Job, merge
from phoenix_ray.dataset.array_lease import live_holders, remove_dead_leases
from phoenix_ray.dataset.failures import read_failures
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.lease import LeaseHeldError, keep_lease
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.shards import CommittedFrames, name_key, version_key
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.sources.base import NoteLeftOut, Source, SourceProblem, Video, ignore_left_out
from phoenix_ray.text import counted

_KEY_BYTES = 16


class ShareOfSource:
    """A source of which only a share is listed; it remembers what the whole has, in 32 bytes a video.

    Args:
        source: The whole source.
        share: The share of its videos.
    """

    def __init__(self, source: Source, share: Share) -> None:
        self._source = source
        self.share = share
        self._keys = bytearray()
        self.unplanned = 0

    @property
    def root(self) -> str:
        """The root of the whole source."""
        return self._source.root

    @property
    def description(self) -> str:
        """What was found."""
        return f"{self._source.description}, share {self.share}"

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the videos and problems of the share, in the order of the source."""
        self._keys.clear()
        self.unplanned = 0
        for video in self._source.videos(note_left_out):
            if isinstance(video, SourceProblem):
                self.unplanned += 1
            else:
                self._keys += version_key(video) + name_key(video.split, video.video_id)
            if self.share.holds(video.split, video.video_id):
                yield video

    def missing_from(self, committed: CommittedFrames) -> list[bytes]:
        """Return the `name_key` of each video of the whole source, as it was last listed, that lacks frames."""
        keys = bytes(self._keys)
        starts = range(0, len(keys), 2 * _KEY_BYTES)
        pairs = ((keys[at : at + _KEY_BYTES], keys[at + _KEY_BYTES : at + 2 * _KEY_BYTES]) for at in starts)
        return [name for version, name in pairs if not committed.is_whole(version)]


@dataclass(frozen=True, slots=True)
class ArrayState:
    """How far all shares of a dataset are, seen by an element that has done its own.

    Attributes:
        share: The element's share.
        missing: Videos of all shares that lack frames or cannot be opened.
        failed: How many of these are on the failure list.
        at_work: Other elements that seem to be at work.
    """

    share: Share
    missing: int
    failed: int
    at_work: int

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left that any element would still compute."""
        return self.missing == self.failed

    def __str__(self) -> str:
        if not self.missing:
            return f"whole: every frame of all {self.share.count} shares has its row"
        lack = "lacks" if self.missing == 1 else "lack"
        videos = f"{counted(self.missing, 'video')} of all shares {lack} frames"
        if self.failed:
            videos += f", {self.failed:,} of them failed" if self.failed < self.missing else " and failed"
        if self.at_work:
            return f"{videos}; {counted(self.at_work, 'other share')} at work"
        return f"incomplete: {videos}; no other share is at work"


def finish_array(job: Job, source: ShareOfSource) -> ArrayState:
    """Merge the rows of all shares if nothing is left to compute; return how far the dataset is.

    Raises:
        PhoenixRayError: The dataset cannot be read or written, or was taken over by another driver.
    """
    state, committed = _look(job, source)
    if not (state.is_settled and committed and job.settings.output.compact):
        return state
    claim, wait_seconds = job.claim, job.settings.run.wait_for_lease_seconds
    # Never by force: all elements have the same settings, and another one may be merging.
    merging = keep_lease(
        job.storage, claim.run_id, wait_seconds=wait_seconds, say=job.record.say, share=str(source.share)
    )
    try:
        with merging as lease:

            def confirm() -> None:
                claim.lease.confirm()
                lease.confirm()

            job.record.compaction_begins()
            claim_dataset(job.storage, job.identity)
            # Of drivers that died: an element that is at work began before its unfinished writes.
            oldest = min([claim.lease.since, *(holder.since for holder in live_holders(job.storage))])
            survey = sweep(job.storage, job.identity, temporary_seconds=time.time() - oldest).survey
            for damaged in merge(job, survey, confirm):
                job.record.file_damaged(damaged)
            remove_dead_leases(job.storage, source.share)
    except LeaseHeldError as error:
        job.record.say(f"The rows are left to another driver to merge. {error}")
        return state
    merged, _ = _look(job, source)
    if lost := merged.missing - state.missing:
        job.record.videos_missing(lost)
    return merged


def _look(job: Job, source: ShareOfSource) -> tuple[ArrayState, CommittedFrames]:
    committed = committed_in(take_survey(job.storage, job.identity))
    missing = source.missing_from(committed)
    listed = {name_key(failure.split, failure.video_id) for failure in read_failures(job.storage)} if missing else set()
    failed = sum(name in listed for name in missing)
    others = len({holder.run_id for holder in live_holders(job.storage) if holder.share})
    unplanned = source.unplanned
    return ArrayState(source.share, len(missing) + unplanned, failed + unplanned, others), committed
