"""Selects videos by split, signer, gloss, or any condition on the columns of `videos.parquet`."""

from __future__ import annotations

import re
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.video_table import UNREADABLE_COLUMN
from phoenix_ray.errors import ConfigError, did_you_mean

Names = str | Collection[str]


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
