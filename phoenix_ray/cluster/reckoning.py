"""The end of a run: what was planned is compared with what the dataset holds, and what got lost is computed again.

A committed file may vanish while a run goes on: somebody deletes a partition, or the whole output; a file proves to be
damaged when it is merged; another driver was forced onto the dataset. So a run says that it is finished only after it
has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from phoenix_ray.dataset.coverage import CommittedFrames, Expected, VersionKey, version_key
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.shards import FrameRange
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.sources.base import Video

# How often what got lost is computed again: whatever takes files away twice will go on.
ROUNDS = 2


@dataclass(frozen=True)
class Remainder:
    """What is committed, without the videos that this run has given up: what is left to be computed again."""

    committed: CommittedFrames
    given_up: Collection[VersionKey]

    def missing_ranges(self, video: Video) -> list[FrameRange]:
        """Return the frame ranges of a video that are to be computed again, in order."""
        return [] if version_key(video) in self.given_up else self.committed.missing_ranges(video)


def make_up(
    storage: Storage,
    identity: DatasetIdentity,
    expected: Expected,
    given_up: Collection[VersionKey],
    compute: Callable[[int, Remainder], bool],
) -> int:
    """Compute again what was planned and is not there; return how many videos are missing in the end.

    Args:
        storage: The dataset.
        identity: Its identity; `dataset.json` is written again where it was removed.
        expected: What was planned.
        given_up: Videos on this run's failure list; more may be added meanwhile.
        compute: Called with the number of videos that are missing, and what is committed; returns false when the run
            was asked to stop.

    Raises:
        OutputError: The dataset cannot be read or written, or is another one now.
    """
    for attempt in range(ROUNDS + 1):
        claim_dataset(storage, identity)
        committed = committed_in(take_survey(storage, identity))
        missing = expected.missing_from(committed, given_up)
        if not missing or attempt == ROUNDS or not compute(missing, Remainder(committed, given_up)):
            return missing
    raise AssertionError
