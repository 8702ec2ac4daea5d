"""The table of all cells, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.table import Table
from tests.matrix.cell import Outcome
from tests.matrix.demo_digest import Digests, differing_videos, total_digest

SHOWN = ("ai-edge-litert", "numpy", "opencv-python-headless", "av", "ray", "pyarrow")
HEAD = ("Python", "versions", "litert", "numpy", "opencv", "av", "ray", "pyarrow", "demo", "video", "digest")
# What is printed of a digest; all of it is compared.
_DIGITS = 12


def to_table(outcomes: Sequence[Outcome], expected: Digests) -> Table:
    """Return a row for each cell; cells that were not tried say why."""
    return Table(HEAD, [_row(outcome, outcomes, expected) for outcome in outcomes])


def problems(outcomes: Sequence[Outcome], expected: Digests) -> Iterator[str]:
    """Yield a text for everything that is not as it should be.

    Args:
        outcomes: Of all cells.
        expected: The demo's digests that are committed; empty where they are to be recorded.
    """
    tried = [outcome for outcome in outcomes if not outcome.absent]
    if not tried:
        yield "No cell was tried: none of the Pythons is on this machine."
    expected = expected or next((outcome.demo for outcome in tried if outcome.demo), {})
    reference = _video_reference(tried)
    for outcome in tried:
        name = f"Python {outcome.python}, {outcome.resolution}"
        if outcome.failure:
            yield f"{name}: {outcome.failure}"
        for kind, found in (("demo", outcome.demo), ("demo by engine torch", outcome.torch)):
            if found and (videos := differing_videos(found, expected)):
                yield f"{name}: other landmarks than committed in the {kind}: {', '.join(videos)}"
        if outcome.video and outcome.video != reference:
            yield f"{name}: other landmarks of the video file than in the first cell"


def _row(outcome: Outcome, outcomes: Sequence[Outcome], expected: Digests) -> tuple[str, ...]:
    if outcome.absent:
        return (outcome.python, outcome.resolution, *[""] * (len(HEAD) - 3), outcome.absent)
    demo = _verdict(outcome, outcome.demo, not expected or outcome.demo == expected)
    video = _verdict(outcome, outcome.video, outcome.video == _video_reference(outcomes))
    versions = (outcome.versions.get(name, "") for name in SHOWN)
    digest = total_digest(outcome.demo.values())[:_DIGITS] if outcome.demo else ""
    return (outcome.python, outcome.resolution, *versions, demo, video, digest)


def _verdict(outcome: Outcome, found: Digests, equal: bool) -> str:
    if not found:
        return f"failed: {outcome.failure.partition(':')[0]}" if outcome.failure else "not run"
    return "ok" if equal else "differs"


def _video_reference(outcomes: Sequence[Outcome]) -> Digests:
    return next((outcome.video for outcome in outcomes if outcome.video), {})
