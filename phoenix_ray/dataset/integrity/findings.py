"""What a check can find, and what it means: the words of `phoenix-ray check` and of its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "irregular",
    "damaged",
    "misplaced",
    "lost",
    "doubled",
    "foreign",
    "leftover",
    "outdated",
    "missing",
    "changed",
    "unopenable",
    "gone",
    "unknown",
]

# What each kind means, in the order of a report. The worst comes first.
MEANINGS: dict[Kind, str] = {
    "irregular": "a link, pipe or device, which nothing here follows or reads; --repair moves it out as it is",
    "damaged": "not what was written; --repair takes it out, and `run` computes it again",
    "misplaced": "whole, but under the name of another file; --repair puts it back",
    "lost": "part of the dataset, but gone; --repair strikes it off, and `run` computes it again",
    "doubled": "holds a video that another data file holds too; --repair keeps one, and all that only this file holds",
    "foreign": "of another dataset or program, where plain Parquet readers would read it; --repair moves it out",
    "leftover": "what an interrupted run left; --repair (or the next `run`) removes it",
    "outdated": "does not say what the data files say; --repair makes it again",
    "missing": "not computed yet; `run` does",
    "changed": "computed from other frames than the source has now; `run` computes it again",
    "unopenable": "in the source, but it cannot be opened; replace or repair it there, and `run` computes it",
    "gone": "in the dataset, but not in the source any more; its rows are kept",
    "unknown": "of no use to the dataset and in nobody's way; left alone",
}
TO_REPAIR: frozenset[Kind] = frozenset(
    {"irregular", "damaged", "misplaced", "lost", "doubled", "foreign", "leftover", "outdated"}
)
TO_COMPUTE: frozenset[Kind] = frozenset({"missing", "changed"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: What kind of thing.
        subject: The file, relative to the dataset; or `split/video_id` of a video.
        detail: What is wrong, in one line.
    """

    kind: Kind
    subject: str
    detail: str


def of_kinds(findings: Iterable[Finding], kinds: Iterable[Kind]) -> list[Finding]:
    """Return the findings of some kinds."""
    wanted = frozenset(kinds)
    return [finding for finding in findings if finding.kind in wanted]
