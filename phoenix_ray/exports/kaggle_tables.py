"""The tables of Kaggle's sign language competitions: which file and sequence a video became, who signs, and what."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.text import spreadsheet_text

# Behind the competition's own columns: by these a row is found in the dataset.
_OURS = ("video_id", "signer")


@dataclass(frozen=True, slots=True)
class Participants:
    """Numbers of signers, in the order in which they are first asked for."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, video: VideoLandmarks) -> int:
        """Return the number of who signs in a video."""
        return self.numbers.setdefault(_signer(video), len(self.numbers))


@dataclass(frozen=True, slots=True)
class SequenceTable:
    """An open CSV file, a row a video."""

    stream: TextIO

    def add(self, values: Sequence[object], video: VideoLandmarks) -> None:
        """Write a row: the values of the competition's columns, and our own."""
        ours = map(spreadsheet_text, (video.video_id, _signer(video)))
        csv.writer(self.stream, lineterminator="\n").writerow((*values, *ours))


@contextmanager
def sequence_table(file: Path, columns: Iterable[str]) -> Iterator[SequenceTable]:
    """Open a table with these columns of the competition's, and our own."""
    # The ID of a video may hold bytes that are not text.
    with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        csv.writer(stream, lineterminator="\n").writerow((*columns, *_OURS))
        yield SequenceTable(stream)


def write_index(file: Path, values: Iterable[str]) -> None:
    """Write a JSON object that numbers values, sorted, from 0."""
    index = {value: number for number, value in enumerate(sorted(set(values)))}
    file.write_text(json.dumps(index), encoding="utf-8")


def _signer(video: VideoLandmarks) -> str:
    return video.annotation.get("signer", "")
