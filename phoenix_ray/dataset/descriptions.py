"""Says in a few lines what a dataset and a video hold: their `repr`, under 500 characters whatever the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.layouts import Layout
from phoenix_ray.text import counted, printable_line, short_line

_MOST_CHARACTERS = 490
_LONGEST_PATH = 80
_SPLITS_NAMED = 4
_PARTS_NAMED = 6


def describe_dataset(root: str, identity: DatasetIdentity, layout: Layout, videos: pa.Table) -> str:
    """Return the `repr` of a dataset: its place, videos, frames, model, parts, splits, and how much is unfinished.

    Args:
        root: Its place.
        identity: Its identity.
        layout: The parts that are read.
        videos: Its table of videos.
    """
    frames = pc.sum(videos["frames"]).as_py() or 0
    counts = {count["values"]: count["counts"] for count in pc.value_counts(videos["split"]).to_pylist()}
    splits = sorted(counts.items(), key=lambda count: str(count[0]))
    named = [f"{short_line(split, 20)} {number:,}" for split, number in splits[:_SPLITS_NAMED]]
    unfinished = count_unfinished(videos)
    lines = (
        f"<Dataset {_shown_path(root)}: {counted(videos.num_rows, 'video')}, {counted(frames, 'frame')}",
        short_line(f"{describe_model(identity.model)}: {_describe_parts(layout)}", 165),
        "; ".join(
            [
                *([_listed(named, len(splits), "split")] if splits else []),
                *([f"{counted(unfinished, 'video')} unfinished"] if unfinished else []),
            ]
        ),
    )
    return "\n  ".join(filter(None, lines))[:_MOST_CHARACTERS] + ">"


def describe_video(
    split: str, video_id: str, layout: Layout, status: Sequence[str], fps: float | None, rates: Mapping[str, float]
) -> str:
    """Return the `repr` of a video: its name, frames, detection rates, and how many frames have no landmarks.

    Args:
        split: Its split.
        video_id: The video.
        layout: Its parts.
        status: Status of each frame.
        fps: Frames per second, None where that is not known.
        rates: Part name → share of the frames in which it was found.
    """
    others = Counter(status)
    others.pop("ok", None)
    rate = "" if fps is None else f" at {fps:.6g} fps"
    named = [f"{short_line(part, 20)} {share:.0%}" for part, share in rates.items()]
    parts = _listed(named[:_PARTS_NAMED], len(rates), "part")
    facts = [counted(len(status), "frame") + rate]
    facts += [f"{count:,} {short_line(name, 20)}" for name, count in others.items()]
    name = short_line("/".join(filter(None, (split, video_id))))
    found = f"{parts or 'no parts'}{_describe_heads(layout)} ({short_line(layout.name, 40)})"
    line = f"<VideoLandmarks {name}: {', '.join(facts[:6])}; {found}"
    return line[:_MOST_CHARACTERS] + ">"


def describe_model(model: Mapping[str, str]) -> str:
    """Return the model, engine and mode of a dataset in one phrase; `a model that is not recorded` without any."""
    if not model:
        return "a model that is not recorded"
    name = model.get("model", model.get("name"))
    return ", ".join(filter(None, (name, model.get("engine"), model.get("mode", "static"))))


def _shown_path(path: str) -> str:
    """Return a path as one line; the end of a long one, which says most."""
    line = printable_line(path)
    return line if len(line) <= _LONGEST_PATH else f"…{line[1 - _LONGEST_PATH :]}"


def _describe_parts(layout: Layout) -> str:
    names = [short_line(part.name, 20) for part in layout.parts]
    listed = _listed(names[:_PARTS_NAMED], len(names), "part") or "no parts"
    return f"{listed}{_describe_heads(layout)} ({short_line(layout.name, 40)})"


def _describe_heads(layout: Layout) -> str:
    names = [short_line(head.name, 20) for head in layout.heads]
    return f"; heads: {_listed(names[:_PARTS_NAMED], len(names), 'head')}" if names else ""


def count_unfinished(videos: pa.Table) -> int:
    """Return how many videos of the table lack rows because their run is not over."""
    return pc.sum(pc.less(committed_frames(videos), videos["frames"])).as_py() or 0


def committed_frames(videos: pa.Table) -> pa.ChunkedArray:
    """Return how many rows each video of the table has."""
    return reduce(pc.add, (videos[f"frames_{status}"] for status in STATUSES))


def _listed(names: Iterable[str], total: int, noun: str) -> str:
    names = list(names)
    more = [f"and {counted(total - len(names), f'more {noun}')}"] if total > len(names) else []
    return ", ".join([*names, *more])
