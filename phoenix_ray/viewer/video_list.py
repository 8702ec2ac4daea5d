"""The list of a dataset's videos as the page shows it: searched, sorted, and cut into pages.

`library` makes a `VideoList` of the table of videos. Only that table is read, never a row of landmarks, and every step
works on whole columns, so that a million videos are searched in a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import image_parts
from phoenix_ray.layouts import Layout

Order = Literal["split", "worth"]
ORDERS: tuple[Order, ...] = get_args(Order)

# Texts that a search looks into.
_SEARCHED = ("video_id", "gloss", "translation", "signer")
_SHOWN = ("split", "video_id", "frames", "fps", "signer", "gloss", "translation")
# Rates of shorter videos mean little (`statistics.summary.find_outliers` leaves them out too).
_FEWEST_FRAMES = 10
# A reason is given from this share on, or where a rate is this much lower than usual.
_LEAST_SHARE = 0.005
_LEAST_DROP = 0.1
_MOST_REASONS = 3
# Searches and orders whose rows are kept: 4 MB each for a million videos.
_KEPT_ORDERS = 8


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of the list.

    Attributes:
        total: Videos that match the search.
        first: Place of the first row among them.
        rows: Plain values of each video, for the page.
    """

    total: int
    first: int
    rows: list[dict[str, Any]]


class VideoList:
    """The videos of a dataset at one moment. Threads may share it.

    Args:
        videos: The table of videos, sorted by split and video ID (`Dataset.videos`).
        layout: The dataset's layout.
    """

    def __init__(self, videos: pa.Table, layout: Layout) -> None:
        self._videos = videos
        self._parts = image_parts(layout)
        self._committed = sum(
            (_numbers(videos, f"frames_{status}") for status in STATUSES), np.zeros(videos.num_rows, np.float32)
        )
        self.unfinished = int(np.count_nonzero(self._committed < _numbers(videos, "frames")))
        frames = np.maximum(self._committed, 1)
        self._shares = {status: _numbers(videos, f"frames_{status}") / frames for status in ("failed", "unreadable")}
        long = self._committed >= _FEWEST_FRAMES
        rates_of = {part: _numbers(videos, f"{part}_rate") for part in self._parts}
        self._usual = {part: float(np.median(rates[long])) if long.any() else 0.0 for part, rates in rates_of.items()}
        self._drops = {
            part: np.where(long, np.maximum(self._usual[part] - rates, 0), 0) for part, rates in rates_of.items()
        }
        self._find_rows = lru_cache(_KEPT_ORDERS)(self._search_and_sort)

    def __len__(self) -> int:
        """Return the number of videos."""
        return int(self._videos.num_rows)

    @property
    def frames(self) -> int:
        """The number of all their frames."""
        return pc.sum(self._videos["frames"]).as_py() or 0

    @property
    def usual_rates(self) -> dict[str, float]:
        """Part name → median of the videos' detection rates."""
        return dict(self._usual)

    def page(self, search: str, order: Order, first: int, count: int) -> Page:
        """Return the rows `first` to `first + count - 1` of the videos that match a search.

        Args:
            search: Words, each of which occurs in the ID, gloss, translation or signer, whatever its case; empty for
                all videos.
            order: `split`: by split and ID. `worth`: those most worth a look first: with failed or unreadable frames,
                or with detection rates below the median of the dataset.
            first: Place of the first row.
            count: Most rows to return.
        """
        rows = self._find_rows(search.strip(), order)
        return Page(len(rows), first, list(self._describe(rows[first : first + count])))

    def find(self, key: VideoKey) -> dict[str, Any] | None:
        """Return the plain values of a video, None where there is no such video."""
        row = self._row(key)
        return None if row is None else next(self._describe(np.array([row])))

    def signature(self, key: VideoKey) -> str | None:
        """Return the signature of the files that a video was computed from, None where there is no such video."""
        row = self._row(key)
        return None if row is None else self._videos["source_signature"][row].as_py()

    def place(self, key: VideoKey, search: str, order: Order) -> int | None:
        """Return the place of a video among those that match a search, None where it does not match."""
        row = self._row(key)
        if row is None:
            return None
        places = np.flatnonzero(self._find_rows(search.strip(), order) == row)
        return next(iter(places.tolist()), None)

    def _row(self, key: VideoKey) -> int | None:
        split, video_id = key
        same_id = np.flatnonzero(pc.equal(self._videos["video_id"], video_id).to_numpy())
        splits = self._videos["split"].take(pa.array(same_id)).to_pylist()
        return next((int(row) for row, name in zip(same_id, splits, strict=True) if name == split), None)

    def _search_and_sort(self, search: str, order: Order) -> NDArray[np.int64]:
        rows = np.arange(len(self))
        for word in search.split():
            columns = (self._videos[name] for name in _SEARCHED)
            matches = (pc.fill_null(pc.match_substring(column, word, ignore_case=True), False) for column in columns)
            found = reduce(pc.or_, matches).to_numpy()
            rows = rows[found[rows]]
        if order == "worth":
            concern = sum([*self._shares.values(), *self._drops.values()], np.zeros(len(self), np.float32))
            rows = rows[np.argsort(-concern[rows], kind="stable")]
        return rows

    def _describe(self, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
        columns = [*_SHOWN, *(f"frames_{status}" for status in STATUSES), *(f"{part}_rate" for part in self._parts)]
        for row, values in zip(
            rows.tolist(), self._videos.select(columns).take(pa.array(rows)).to_pylist(), strict=True
        ):
            yield {
                **{name: values[name] for name in _SHOWN},
                "committed": int(self._committed[row]),
                "statuses": {status: values[f"frames_{status}"] for status in STATUSES},
                "rates": (rates := {part: round(values[f"{part}_rate"], 4) for part in self._parts}),
                "reasons": self._reasons(row, rates),
            }

    def _reasons(self, row: int, rates: Mapping[str, float]) -> Sequence[str]:
        """Return why a video is worth a look, the weightiest reason first."""
        reasons = [
            (float(shares[row]), f"{status} {shares[row]:.1%}")
            for status, shares in self._shares.items()
            if shares[row] >= _LEAST_SHARE
        ]
        for part in self._parts:
            if (drop := float(self._drops[part][row])) >= _LEAST_DROP:
                found, usual = f"{rates[part]:.0%}", f"{self._usual[part]:.0%}"
                reasons.append((drop, f"{part.replace('_', ' ')} in {found}, usually {usual}"))
        return [text for _, text in sorted(reasons, reverse=True)[:_MOST_REASONS]]


def _numbers(videos: pa.Table, column: str) -> NDArray[np.float32]:
    return np.asarray(videos[column].to_numpy(), np.float32)
