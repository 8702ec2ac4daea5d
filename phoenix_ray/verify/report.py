"""The result of comparing two sets of landmarks: gathered video by video, judged once, written as Markdown or JSON.

Only videos that differ are kept, so that a report on a whole dataset is as large as what is wrong with it. To be read
it has the verdict in the first line, then what differs, then how near all the rest is.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from phoenix_ray.errors import EXIT_DIFFERENT, EXIT_OK
from phoenix_ray.models.agreement import PartAgreement, add_up
from phoenix_ray.models.holistic.parity import ParityTolerances, parity_failures
from phoenix_ray.text import counted
from phoenix_ray.verify.comparison import VideoComparison
from phoenix_ray.verify.differences import Difference, DifferenceKind
from phoenix_ray.verify.tolerance import BITS, Tolerance

# The JSON has all of them.
VIDEOS_LISTED = 20
DIFFERENCES_LISTED = 8
# Wide enough for a whole row of the table; narrower terminals would cut numbers short.
_TABLE_WIDTH = 160
# Where bars judge, these are judged by the spread over all points, and reported for information.
_JUDGED_BY_BARS: frozenset[DifferenceKind] = frozenset({"part missing", "part extra", "coordinates", "scores", "heads"})


@dataclass(frozen=True, slots=True)
class Criterion:
    """What counts as equal.

    Attributes:
        tolerance: For each value.
        bars: Where two engines are compared: how all points together may spread. Single values beyond the tolerance are
            then reported, but not held against the candidate.
    """

    tolerance: Tolerance
    bars: ParityTolerances | None = None


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """Two sets of landmarks, compared.

    Attributes:
        names: What the reference and the candidate are called.
        criterion: What counts as equal.
        videos: Videos that either side has.
        frames: Frames that both sides have.
        by_digest: Videos that were not read because their digests agree; their frames are among `frames`.
        parts: How near the frames are that were read, part by part.
        differing: The videos in which something differs.
        notes: What could not be compared, with the number of videos that it concerns.
        remarks: Blocks of lines about the two sides as a whole (`Verification.remarks`).
    """

    names: tuple[str, str]
    criterion: Criterion
    videos: int
    frames: int
    by_digest: int
    parts: tuple[PartAgreement, ...]
    differing: tuple[VideoComparison, ...]
    notes: tuple[tuple[str, int], ...]
    remarks: tuple[str, ...] = ()

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each bar that is missed; none where there are no bars."""
        bars = self.criterion.bars
        return parity_failures(self.parts, bars) if bars is not None else ()

    def decisive(self, difference: Difference) -> bool:
        """Return whether a difference by itself makes the two unequal."""
        return self.criterion.bars is None or difference.kind not in _JUDGED_BY_BARS

    @property
    def different(self) -> tuple[VideoComparison, ...]:
        """The videos that are not equal."""
        return tuple(video for video in self.differing if any(map(self.decisive, video.differences)))

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
            self.differing, key=lambda video: (-video.pixels, -video.differing_frames(), video.split, video.video_id)
        )

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return kind of difference → (videos, frames) that have it."""
        videos: Counter[DifferenceKind] = Counter()
        frames: Counter[DifferenceKind] = Counter()
        for video in self.differing:
            kinds = list(dict.fromkeys(difference.kind for difference in video.differences))
            videos.update(kinds)
            frames.update({kind: video.differing_frames(kind) for kind in kinds})
        return {kind: (number, frames[kind]) for kind, number in videos.items()}

    def verdict(self) -> str:
        """Return the result in one line."""
        held = f"{counted(self.videos, 'video')}, {counted(self.frames, 'frame')}"
        if self.criterion.bars is not None:
            missed = len(self.failures()) + len(self.different)
            return f"{'AT PARITY' if self.equal else f'NOT AT PARITY, {missed} reasons'}: {held} compared"
        if self.equal:
            return f"EQUAL {BITS if self.by_digest == self.videos else self.criterion.tolerance}: {held}"
        differ = f"{len(self.different):,} of {counted(self.videos, 'video')} differ {self._beyond()}"
        return f"DIFFERENT: {differ} ({counted(self.frames, 'frame')} compared)"

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
                for video in self.differing
            ],
            "notes": [{"note": note, "videos": videos} for note, videos in self.notes],
            "remarks": list(self.remarks),
        }

    def _beyond(self) -> str:
        tolerance = self.criterion.tolerance
        return "in their bits" if tolerance.unit == "bits" else f"by more than {tolerance.text}"


def gather(names: tuple[str, str], criterion: Criterion, comparisons: Iterable[VideoComparison]) -> VerificationReport:
    """Return the report on all videos, which are compared as they are taken."""
    videos = frames = by_digest = 0
    parts: tuple[PartAgreement, ...] = ()
    differing = []
    notes: Counter[str] = Counter()
    for comparison in comparisons:
        videos += 1
        frames += comparison.frames
        by_digest += comparison.by_digest
        parts = add_up([parts, comparison.parts])
        notes.update(comparison.notes)
        if comparison.differences:
            differing.append(comparison)
    return VerificationReport(
        names, criterion, videos, frames, by_digest, parts, tuple(differing), tuple(sorted(notes.items()))
    )


def report_text(report: VerificationReport) -> str:
    """Return a report as Markdown."""
    reference, candidate = report.names
    blocks = [
        f"**{report.verdict()}**",
        f"- reference: {reference}\n- candidate: {candidate} (`missing` and `extra` describe this side)",
        *_missed(report),
        *_videos(report),
        *_agreement(report),
        *_notes(report),
        *report.remarks,
    ]
    return "\n\n".join(blocks) + "\n"


def print_report(report: VerificationReport) -> None:
    """Print a report, the verdict in colour where the output is a terminal."""
    verdict, rest = report_text(report).split("\n", 1)
    Console().print(
        verdict.strip("*"), style="bold green" if report.equal else "bold red", highlight=False, soft_wrap=True
    )
    print(rest, end="")


def _missed(report: VerificationReport) -> Iterator[str]:
    if report.failures():
        yield "\n".join(f"- {failure}" for failure in report.failures())


def _videos(report: VerificationReport) -> Iterator[str]:
    if not report.differing:
        return
    heading = "What differs" if report.criterion.bars is None else f"Beyond {report.criterion.tolerance.text}"
    yield f"## {heading}"
    yield "; ".join(
        f"{kind}: {counted(videos, 'video')}" + (f" ({counted(frames, 'frame')})" if frames else "")
        for kind, (videos, frames) in report.kinds().items()
    )
    yield "\n".join(line for video in report.worst()[:VIDEOS_LISTED] for line in _video(video))
    if len(report.differing) > VIDEOS_LISTED:
        yield f"… and {len(report.differing) - VIDEOS_LISTED:,} more videos; `--json FILE` lists all."


def _video(video: VideoComparison) -> Iterator[str]:
    yield f"- {video.split}/{video.video_id}"
    for difference in video.differences[:DIFFERENCES_LISTED]:
        yield f"  - {difference.message}"
    if len(video.differences) > DIFFERENCES_LISTED:
        yield f"  - … and {len(video.differences) - DIFFERENCES_LISTED} more"


def _agreement(report: VerificationReport) -> Iterator[str]:
    if report.by_digest:
        videos = counted(report.by_digest, "video")
        yield f"Not read, because the digests of all rows agree: {videos} (`--full` reads them)."
    if not any(part.frames for part in report.parts):
        return
    yield "## How near"
    out = io.StringIO()
    Console(file=out, width=_TABLE_WIDTH).print(agreement_table("reference", "candidate", report.parts))
    yield "\n".join(line for line in out.getvalue().splitlines() if line.strip())


def _notes(report: VerificationReport) -> Iterator[str]:
    if report.notes:
        yield "## Not compared"
        yield "\n".join(f"- {note} ({counted(videos, 'video')})" for note, videos in report.notes)


def agreement_table(reference: str, candidate: str, parts: Iterable[PartAgreement]) -> Table:
    """Return a table with a row for each part and kind of error; the names are those of its columns."""
    table = Table(box=box.MARKDOWN)
    table.add_column("part")
    headings = ("frames", "both", f"only {reference}", f"only {candidate}", "identical")
    for heading in (*headings, "error", "mean", "median", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "error" else "right")
    for part in parts:
        counts = (part.frames, part.both, part.only_reference, part.only_candidate, part.identical)
        cells = [part.part, *map(str, counts)]
        for kind, spread in part.errors.items():
            values = (spread.mean, spread.median, spread.p99, spread.maximum)
            table.add_row(*cells, kind, *(f"{value:.2g}" for value in values))
            cells = [""] * len(cells)
        if not part.errors:
            table.add_row(*cells)
    return table
