"""What came of comparing two sets of landmarks: gathered video by video, judged once.

Only videos that differ are kept, so that a report on a whole dataset is as large as what is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phoenix_ray.errors import EXIT_DIFFERENT, EXIT_OK
from phoenix_ray.models.agreement import PartAgreement, add_up
from phoenix_ray.models.holistic.bars import Bars, missed_bars
from phoenix_ray.verify.comparison import VideoComparison
from phoenix_ray.verify.differences import Difference, DifferenceKind
from phoenix_ray.verify.tolerance import BITS, Tolerance

# Where bars judge, these are judged by the spread over all points, and told for information.
_JUDGED_BY_BARS: frozenset[DifferenceKind] = frozenset({"part missing", "part extra", "coordinates", "scores"})


@dataclass(frozen=True, slots=True)
class Criterion:
    """What counts as equal.

    Attributes:
        tolerance: For each value.
        bars: Where two engines are compared: how all points together may spread. Single values beyond the tolerance are
            then told, but not held against the candidate.
    """

    tolerance: Tolerance
    bars: Bars | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Two sets of landmarks, compared.

    Attributes:
        names: What the reference and the candidate are called.
        criterion: What counts as equal.
        videos: Videos that either side has.
        frames: Frames that both sides have.
        by_digest: Videos that were not read because their digests agree; their frames are among `frames`.
        parts: How near the frames are that were read, part by part.
        told: The videos in which something differs.
        notes: What could not be compared, with the number of videos that it concerns.
        mixtures: Lines that say which rows of a dataset come from unlike machines (`models.kernels`).
    """

    names: tuple[str, str]
    criterion: Criterion
    videos: int
    frames: int
    by_digest: int
    parts: tuple[PartAgreement, ...]
    told: tuple[VideoComparison, ...]
    notes: tuple[tuple[str, int], ...]
    mixtures: tuple[str, ...] = ()

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each bar that is missed; none where there are no bars."""
        bars = self.criterion.bars
        return missed_bars(self.parts, bars) if bars is not None else ()

    def decisive(self, difference: Difference) -> bool:
        """Return whether a difference by itself makes the two unequal."""
        return self.criterion.bars is None or difference.kind not in _JUDGED_BY_BARS

    @property
    def different(self) -> tuple[VideoComparison, ...]:
        """The videos that are not equal."""
        return tuple(video for video in self.told if any(map(self.decisive, video.differences)))

    @property
    def equal(self) -> bool:
        """Whether the candidate may stand for the reference."""
        return not self.different and not self.failures()

    @property
    def exit_code(self) -> int:
        """0 when the two are equal, else 1."""
        return EXIT_OK if self.equal else EXIT_DIFFERENT

    def worst(self) -> list[VideoComparison]:
        """Return the videos in which something differs, the worst first: by distance, then by frames that differ."""
        return sorted(
            self.told, key=lambda video: (-video.pixels, -video.differing_frames(), video.split, video.video_id)
        )

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return kind of difference → (videos, frames) that have it."""
        videos: Counter[DifferenceKind] = Counter()
        frames: Counter[DifferenceKind] = Counter()
        for video in self.told:
            kinds = list(dict.fromkeys(difference.kind for difference in video.differences))
            videos.update(kinds)
            frames.update({kind: video.differing_frames(kind) for kind in kinds})
        return {kind: (number, frames[kind]) for kind, number in videos.items()}

    def verdict(self) -> str:
        """Return what came of it in one line."""
        held = f"{count(self.videos, 'video')}, {count(self.frames, 'frame')}"
        if self.criterion.bars is not None:
            missed = len(self.failures()) + len(self.different)
            return f"{'AT PARITY' if self.equal else f'NOT AT PARITY, {missed} reasons'}: {held} compared"
        if self.equal:
            return f"EQUAL {BITS if self.by_digest == self.videos else self.criterion.tolerance}: {held}"
        differ = f"{len(self.different):,} of {count(self.videos, 'video')} differ {self._beyond()}"
        return f"DIFFERENT: {differ} ({count(self.frames, 'frame')} compared)"

    def to_json(self) -> dict[str, Any]:
        """Return the report, with every difference, as plain data."""
        return {
            "verdict": self.verdict(),
            "equal": self.equal,
            "reference": self.names[0],
            "candidate": self.names[1],
            "tolerance": {"unit": self.criterion.tolerance.unit, "limit": self.criterion.tolerance.limit},
            "missed_bars": list(self.failures()),
            "videos": self.videos,
            "frames": self.frames,
            "videos_by_digest": self.by_digest,
            "parts": [part.to_json() for part in self.parts],
            "kinds": {kind: {"videos": videos, "frames": frames} for kind, (videos, frames) in self.kinds().items()},
            "differences": [
                {
                    "split": video.split,
                    "video_id": video.video_id,
                    "differences": [difference.to_json() for difference in video.differences],
                }
                for video in self.told
            ],
            "notes": [{"note": note, "videos": videos} for note, videos in self.notes],
            "mixtures": list(self.mixtures),
        }

    def _beyond(self) -> str:
        tolerance = self.criterion.tolerance
        return "in their bits" if tolerance.unit == "bits" else f"by more than {tolerance.text}"


def gather(names: tuple[str, str], criterion: Criterion, comparisons: Iterable[VideoComparison]) -> Report:
    """Return the report on all videos, one after the other."""
    videos = frames = by_digest = 0
    parts: tuple[PartAgreement, ...] = ()
    told = []
    notes: Counter[str] = Counter()
    for comparison in comparisons:
        videos += 1
        frames += comparison.frames
        by_digest += comparison.by_digest
        parts = add_up([parts, comparison.parts])
        notes.update(comparison.notes)
        if comparison.differences:
            told.append(comparison)
    return Report(names, criterion, videos, frames, by_digest, parts, tuple(told), tuple(sorted(notes.items())))


def count(number: int, noun: str) -> str:
    """Return "1 video", "1,234 videos"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
