"""A report to be read, as Markdown: the verdict in the first line, then what differs, then how near all the rest is."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console

from phoenix_ray.verify.agreement_table import agreement_table
from phoenix_ray.verify.comparison import VideoComparison
from phoenix_ray.verify.report import Report, count

# The JSON has all of them.
VIDEOS_TOLD = 20
DIFFERENCES_TOLD = 8
# Wide enough for a whole row of the table; narrower terminals would cut numbers short.
_TABLE_WIDTH = 160


def report_text(report: Report) -> str:
    """Return a report as Markdown."""
    reference, candidate = report.names
    blocks = [
        f"**{report.verdict()}**",
        f"- reference: {reference}\n- candidate: {candidate} (`missing` and `extra` describe this side)",
        *_missed(report),
        *_videos(report),
        *_agreement(report),
        *_notes(report),
        *report.mixtures,
    ]
    return "\n\n".join(blocks) + "\n"


def print_report(report: Report) -> None:
    """Print a report, the verdict in colour where the output is a terminal."""
    verdict, rest = report_text(report).split("\n", 1)
    Console().print(
        verdict.strip("*"), style="bold green" if report.equal else "bold red", highlight=False, soft_wrap=True
    )
    print(rest, end="")


def _missed(report: Report) -> Iterator[str]:
    if report.failures():
        yield "\n".join(f"- {failure}" for failure in report.failures())


def _videos(report: Report) -> Iterator[str]:
    if not report.told:
        return
    heading = "What differs" if report.criterion.bars is None else f"Beyond {report.criterion.tolerance.text}"
    yield f"## {heading}"
    yield "; ".join(
        f"{kind}: {count(videos, 'video')}" + f" ({count(frames, 'frame')})" * bool(frames)
        for kind, (videos, frames) in report.kinds().items()
    )
    yield "\n".join(line for video in report.worst()[:VIDEOS_TOLD] for line in _video(video))
    if len(report.told) > VIDEOS_TOLD:
        yield f"… and {len(report.told) - VIDEOS_TOLD:,} more videos; `--json FILE` lists all."


def _video(video: VideoComparison) -> Iterator[str]:
    yield f"- {video.split}/{video.video_id}"
    for difference in video.differences[:DIFFERENCES_TOLD]:
        yield f"  - {difference.message}"
    if len(video.differences) > DIFFERENCES_TOLD:
        yield f"  - … and {len(video.differences) - DIFFERENCES_TOLD} more"


def _agreement(report: Report) -> Iterator[str]:
    if report.by_digest:
        videos = count(report.by_digest, "video")
        yield f"Not read, because the digests of all rows agree: {videos} (`--full` reads them)."
    if not any(part.frames for part in report.parts):
        return
    yield "## How near"
    out = io.StringIO()
    Console(file=out, width=_TABLE_WIDTH).print(agreement_table("reference", "candidate", report.parts))
    yield "\n".join(line for line in out.getvalue().splitlines() if line.strip())


def _notes(report: Report) -> Iterator[str]:
    if report.notes:
        yield "## Not compared"
        yield "\n".join(f"- {note} ({count(videos, 'video')})" for note, videos in report.notes)
