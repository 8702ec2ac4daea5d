"""Finds the video that a user names in the table of videos, and says what else may have been meant.

Called by `reader.Dataset` and `viewer.chosen_videos`. Every step works on whole columns, so that a wrong name among a
million videos is answered within a second.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import SupportsIndex, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import did_you_mean
from phoenix_ray.text import counted, short_line, storable_text

# Similar names are looked for among so many; comparing two names takes up to 0.1 ms.
_MOST_COMPARED = 1_000
# Comparing longer names takes seconds.
_LONGEST_COMPARED = 200
_NAMES_LISTED = 5


def matching_videos(videos: pa.Table, name: str) -> list[VideoKey]:
    """Return (split, video ID) of the videos that a name means, which is an ID or `split/ID`.

    There are several where an ID is in several splits.
    """
    # As IDs are stored that are not UTF-8. A split or an ID may hold slashes.
    name = storable_text(name)
    ids = [name, *(name[place + 1 :] for place, letter in enumerate(name) if letter == "/")]
    likely = videos.select(["split", "video_id"])
    likely = likely.filter(pc.is_in(likely["video_id"], pa.array(ids, pa.string()))).to_pylist()
    keys = ((row["split"], row["video_id"]) for row in likely)
    found = [key for key in keys if name in (key[1], "/".join(key))]
    # An ID may look like another video's split and ID.
    return [key for key in found if "/".join(key) == name] or found


def find_named(videos: pa.Table, place: str, name: str) -> VideoKey:
    """Return (split, video ID) of the video that a user names by its ID or as `split/ID`.

    Args:
        videos: The table of videos.
        place: The dataset's path, for messages.
        name: The name.

    Raises:
        KeyError: There is no such video, or an ID is in several splits.
    """
    found = matching_videos(videos, name)
    if len(found) == 1:
        return found[0]
    shown = short_line(name)
    if found:
        names = ", ".join(short_line("/".join(key)) for key in found[:_NAMES_LISTED])
        names += f" and {len(found) - _NAMES_LISTED:,} more" if len(found) > _NAMES_LISTED else ""
        raise KeyError(f"{place} has several videos '{shown}': {names}. Name one by its split and ID.")
    if not videos.num_rows:
        raise KeyError(f"{place} has no video '{shown}': it has none yet.")
    listed = _listed(videos, with_split="/" in name)
    way_out = _similar(videos, name) or f" It has {counted(videos.num_rows, 'video')}: {listed}."
    raise KeyError(f"{place} has no video '{shown}'.{way_out}")


def find_place(videos: pa.Table, root: str, place: SupportsIndex | VideoKey | str) -> VideoKey:
    """Return (split, video ID) of what stands between the brackets of `dataset[…]`, other than a slice.

    Args:
        videos: The table of videos.
        root: The dataset's path, for messages.
        place: A row of the table, negative from its end; (split, video ID); an ID or `split/ID`.

    Raises:
        IndexError: There are fewer videos.
        KeyError: A name is not that of one video. A split and an ID are returned unchecked.
        TypeError: It is something else.
    """
    if isinstance(place, str):
        return find_named(videos, root, place)
    if is_key(place):
        return place
    try:
        row = range(videos.num_rows)[index(place)]  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"a video is named by its place, (split, ID) or an ID, not by {place!r:.80}") from None
    except IndexError:
        raise IndexError(f"there is no video {place}: the dataset has {counted(videos.num_rows, 'video')}") from None
    return videos["split"][row].as_py(), videos["video_id"][row].as_py()


def is_key(place: object) -> TypeGuard[VideoKey]:
    """Return whether something is a split and a video ID."""
    return isinstance(place, tuple) and len(place) == 2 and all(isinstance(name, str) for name in place)


def describe_missing(videos: pa.Table, place: str, key: VideoKey) -> str:
    """Return why a dataset has no video of a split and ID: a wrong split, a wrong ID, or another split."""
    split, video_id = (storable_text(name) for name in key)
    shown = short_line(video_id)
    missing = f"no video '{shown}' in the split '{short_line(split)}' of {place}"
    splits = [name for name in pc.unique(videos["split"]).to_pylist() if name is not None]
    elsewhere = [name for name, found in matching_videos(videos, video_id) if found == video_id]
    if elsewhere:
        return f"{missing}: it is in {', '.join(short_line(name) for name in sorted(elsewhere)[:_NAMES_LISTED])}"
    if split not in splits:
        known = f" It has {counted(len(splits), 'split')}"
        known += f": {', '.join(short_line(name, 40) for name in sorted(splits)[:_NAMES_LISTED])}" if splits else ""
        return f"{missing}, which it does not have.{_suggest(split, splits) or known + '.'}"
    return f"{missing}.{_similar(videos.filter(pc.equal(videos['split'].cast(pa.string()), split)), video_id)}"


def _listed(videos: pa.Table, with_split: bool) -> str:
    rows = videos.select(["split", "video_id"]).slice(0, _NAMES_LISTED).to_pylist()
    names = [f"{row['split']}/{row['video_id']}" if with_split else row["video_id"] for row in rows]
    return ", ".join(map(short_line, names)) + (", …" if videos.num_rows > _NAMES_LISTED else "")


def _similar(videos: pa.Table, name: str) -> str:
    """Return " Did you mean 'x'?" for the most similar ID or, where the name holds a slash, `split/ID`."""
    if len(name) > _LONGEST_COMPARED:
        return ""
    name, names = storable_text(name), videos["video_id"]
    if "/" in name:
        names = pc.binary_join_element_wise(videos["split"].cast(pa.string()), names, "/")
    names = names.filter(pc.less_equal(pc.utf8_length(names), _LONGEST_COMPARED))
    if len(names) > _MOST_COMPARED:
        names = pa.chunked_array(
            [
                *_share_most(names, name, pc.starts_with, lambda length: name[:length]).chunks,
                *_share_most(names, name, pc.ends_with, lambda length: name[len(name) - length :]).chunks,
            ],
            names.type,
        )
    return _suggest(name, names.to_pylist())


def _share_most(
    names: pa.ChunkedArray, name: str, test: Callable[..., pa.ChunkedArray], piece: Callable[[int], str]
) -> pa.ChunkedArray:
    """Return names that share the longest possible piece with a name, at its start or its end."""
    shortest, longest = 0, len(name)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if pc.any(test(names, pattern=piece(middle))).as_py():
            shortest = middle
        else:
            longest = middle - 1
    return names.filter(test(names, pattern=piece(shortest))).slice(0, _MOST_COMPARED // 2)


def _suggest(name: str, known: list[str]) -> str:
    if len(name) > _LONGEST_COMPARED:
        return ""
    return did_you_mean(name, [other for other in known if len(other) <= _LONGEST_COMPARED][: 2 * _MOST_COMPARED])
