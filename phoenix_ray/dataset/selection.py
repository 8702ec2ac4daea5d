"""Selects videos by split, signer, gloss, or any condition on the columns of `videos.parquet`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from phoenix_ray.dataset.video_table import UNREADABLE_COLUMN
from phoenix_ray.errors import ConfigError, did_you_mean

Names = str | Collection[str]


# Not compared: a comparison of conditions is a condition.
@dataclass(frozen=True, slots=True, eq=False)
class VideoChoice:
    """Which videos of the table of videos a dataset shows, also after the table has changed.

    Attributes:
        condition: A condition on the columns of the table; None fits every video.
        keys: A table with the columns `split` and `video_id`, both of strings, of the only videos that may be shown;
            None means all of them.
    """

    condition: pc.Expression | None = None
    keys: pa.Table | None = None

    @property
    def is_of_all(self) -> bool:
        """Whether every video is chosen."""
        return self.condition is None and self.keys is None

    @classmethod
    def of_rows(cls, videos: pa.Table, rows: NDArray[np.int64]) -> VideoChoice:
        """Return the choice of the videos in some rows of the table, whatever becomes of the table."""
        # Taken, not sliced, so that a few rows do not keep the whole table in memory.
        keys = videos.select(["split", "video_id"]).take(pa.array(rows))
        return cls(keys=keys.cast(pa.schema([("split", pa.string()), ("video_id", pa.string())])))

    def narrowed(self, condition: pc.Expression) -> VideoChoice:
        """Return the choice of those videos that fit a further condition."""
        return VideoChoice(condition if self.condition is None else self.condition & condition, self.keys)

    def apply(self, videos: pa.Table) -> pa.Table:
        """Return the rows of the chosen videos, in the order of the table."""
        if self.keys is not None:
            videos = _rows_of(videos, self.keys)
        return videos if self.condition is None else videos.filter(self.condition)


def _rows_of(videos: pa.Table, keys: pa.Table) -> pa.Table:
    # The IDs alone leave few rows to join.
    likely = np.flatnonzero(pc.is_in(videos["video_id"], keys["video_id"]).to_numpy())
    candidates = videos.select(["split", "video_id"]).take(pa.array(likely))
    columns = [candidates["split"].cast(pa.string()), candidates["video_id"], pa.array(likely)]
    found = pa.table(columns, names=["split", "video_id", "row"])
    found = found.join(keys, ["split", "video_id"], join_type="left semi", use_threads=False)
    return videos.take(pa.array(np.sort(found["row"].to_numpy())))


EVERY_VIDEO = VideoChoice()


def choose_videos(
    videos: pa.Table,
    split: Names | None = None,
    signer: Names | None = None,
    gloss: Names | None = None,
    where: pc.Expression | None = None,
    max_unreadable: float = 1.0,
) -> pc.Expression:
    """Return the condition that a video fits all of what is given; every video fits nothing.

    Args:
        videos: The table to filter; names that occur nowhere in it are refused.
        split: A split, or several.
        signer: A signer, or several.
        gloss: A gloss that occurs in the video as a whole word, or several of which any may occur.
        where: Any further condition on the columns of `videos`, as `pyarrow.compute.field("frames") > 100`.
        max_unreadable: Largest share of frames that could not be read; 1 selects videos whatever their share.

    Raises:
        ConfigError: A split, signer or gloss occurs in no video, which is more likely a typing error than intended.
        ValueError: `max_unreadable` is not a share.
    """
    condition = pc.scalar(True)
    for column, names in (("split", split), ("signer", signer)):
        if names is not None:
            wanted = _known(videos, column, names, videos.column(column).unique().to_pylist())
            condition &= pc.field(column).cast(pa.string()).isin(wanted)
    if gloss is not None:
        words = pc.list_flatten(pc.utf8_split_whitespace(videos.column("gloss"))).unique().to_pylist()
        wanted = _known(videos, "gloss", gloss, words)
        pattern = rf"(^|\s)({'|'.join(map(re.escape, wanted))})(\s|$)"
        condition &= pc.match_substring_regex(pc.field("gloss"), pattern)
    if not 0 <= max_unreadable <= 1:
        raise ValueError(f"max_unreadable={max_unreadable} is not a share from 0 to 1")
    if max_unreadable < 1:
        condition &= pc.field(UNREADABLE_COLUMN) <= pc.field("frames") * max_unreadable
    return condition if where is None else condition & where


def _known(videos: pa.Table, column: str, names: Names, there: Collection[str | None]) -> list[str]:
    wanted = [names] if isinstance(names, str) else list(names)
    known = sorted(name for name in there if name is not None)
    for name in wanted:
        if name not in known:
            few = f" There are: {', '.join(known)}." if 0 < len(known) <= 20 else ""
            raise ConfigError(
                f"None of the {videos.num_rows} videos has the {column} '{name}'.{few}{did_you_mean(name, known)}"
            )
    return wanted
