"""What a notebook shows of a dataset and of a video: `_repr_html_` of `Dataset` and `VideoLandmarks`.

Colours are those of the notebook, so that the text can be read on any ground; no style sheet and no script is needed,
which notebooks that are not trusted leave out. No source is opened: a picture of a person is shown on request only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.descriptions import committed_frames, count_unfinished, describe_model
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.layouts import Layout
from phoenix_ray.report.markup import Element, element, picture
from phoenix_ray.report.pictures import Picture, Wanted, draw_pictures
from phoenix_ray.text import counted, short_line

_SPLITS_SHOWN = 20
_PARTS_SHOWN = 8
_ANNOTATIONS_SHOWN = 8
_PICTURES = 4
# A notebook stores what it shows; base64 adds a third.
_MOST_PICTURE_BYTES = 90_000
_CELL = "padding:2px 10px 2px 0;text-align:"
_RULE = "border-bottom:1px solid rgba(128,128,128,.5)"


def dataset_html(root: str, identity: DatasetIdentity, layout: Layout, videos: pa.Table) -> str:
    """Return a dataset as HTML: its place and model, and a table of its splits. Only the table of videos is read.

    Args:
        root: Its place.
        identity: Its identity.
        layout: The parts that are read.
        videos: Its table of videos.
    """
    names = [part.name for part in layout.parts if part.name in image_parts(layout)][:_PARTS_SHOWN]
    sums = _sum_by_split(videos, names)
    rows = [_split_row(split, names) for split in sums[:_SPLITS_SHOWN]]
    if len(sums) > 1:
        whole = {column: sum(split[column] for split in sums) for column in sums[0] if column != "split"}
        rows.append(_split_row({"split": "all", **whole}, names))
    facts = [counted(videos.num_rows, "video"), counted(sum(split["frames"] for split in sums), "frame")]
    if unfinished := count_unfinished(videos):
        facts.append(f"{counted(unfinished, 'video')} unfinished")
    headings = ["split", "videos", "frames", *(name.replace("_", " ") for name in names), "without landmarks"]
    left = len(sums) - _SPLITS_SHOWN
    return _to_text(
        element(
            "div",
            _line(element("strong", "Dataset "), _name(short_line(root, 300)), f": {', '.join(facts)}"),
            _line(f"{short_line(describe_model(identity.model))} ({short_line(layout.name)})"),
            _table(headings, rows) if rows else None,
            _line(f"and {left:,} more splits") if left > 0 else None,
        )
    )


def video_html(video: VideoLandmarks) -> str:
    """Return a video as HTML: its name, length and annotations, how often each part was found, and a few skeletons."""
    facts = [counted(len(video), "frame")]
    if video.fps is not None:
        facts.append(f"{video.fps:.6g} fps{' on average' if video.fps_varies else ''}")
    facts += [
        f"{count:,} {short_line(status.replace('_', ' '))}"
        for status, count in Counter(video.status).items()
        if status != "ok"
    ]
    rates = list(video.rates().items())[:_PARTS_SHOWN]
    annotations = [(short_line(name, 40), text) for name, text in video.annotation.items() if text][:_ANNOTATIONS_SHOWN]
    return _to_text(
        element(
            "div",
            _line(
                element("strong", "VideoLandmarks "),
                _name(short_line("/".join(filter(None, (video.split, video.video_id))), 120)),
                f": {', '.join(facts)} ({short_line(video.layout.name)})",
            ),
            *(_line(element("em", f"{name} "), _name(short_line(text, 300))) for name, text in annotations),
            _table(["", *(short_line(part).replace("_", " ") for part, _ in rates)], [["found in", *_rates(rates)]])
            if rates
            else None,
            _skeletons(video),
        )
    )


def _sum_by_split(videos: pa.Table, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each split, sorted, its name, `videos`, `frames`, `rows`, `ok` and the rows with each part."""
    rows = committed_frames(videos)
    columns = {
        "split": videos["split"].cast(pa.string()),
        "videos": pa.array(np.ones(videos.num_rows, np.int64)),
        "frames": videos["frames"],
        "rows": rows,
        "ok": videos[f"frames_{STATUSES[0]}"],
        **{part: pc.multiply(videos[f"{part}_rate"], rows) for part in parts},
    }
    names = [name for name in columns if name != "split"]
    sums = pa.table(columns).group_by("split").aggregate([(name, "sum") for name in names])
    found = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names]).to_pylist()
    return sorted(found, key=lambda split: str(split["split"]))


def _split_row(sums: Mapping[str, Any], parts: Sequence[str]) -> list[str]:
    rows = max(1, int(sums["rows"]))
    shares = [f"{sums[part] / rows:.1%}" for part in parts]
    return [
        short_line(str(sums["split"]), 60),
        f"{int(sums['videos']):,}",
        f"{int(sums['frames']):,}",
        *shares,
        f"{int(sums['rows'] - sums['ok']):,}",
    ]


def _rates(rates: Sequence[tuple[str, float]]) -> list[str]:
    return [f"{rate:.1%}" for _, rate in rates]


class _SingleVideo:
    """A collection of one video."""

    def __init__(self, video: VideoLandmarks) -> None:
        self._video = video

    @property
    def layout(self) -> Layout:
        return self._video.layout

    def keys(self) -> Iterator[VideoKey]:
        yield self._video.split, self._video.video_id

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        del split, video_id
        return self._video


def _skeletons(video: VideoLandmarks) -> Element | None:
    """Return pictures of frames in which something was found, spread evenly; None without any."""
    found = [video.present(part) for part in image_parts(video.layout)]
    rows = np.flatnonzero(np.any(found, axis=0)) if found else np.empty(0, np.intp)
    if not len(rows):
        return _line("No landmarks were found in any frame.")
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _PICTURES).round().astype(int))]
    wanted = [Wanted((video.split, video.video_id), int(frame)) for frame in video.frame_index[chosen]]
    drawn, _, _ = draw_pictures(_SingleVideo(video), wanted, None)
    images, size = [], 0
    for place in wanted:
        made = drawn.get(place)
        if made is not None and size + len(made.content) <= _MOST_PICTURE_BYTES:
            size += len(made.content)
            images.append(_image(made, place.frame))
    return element("div", *images, style="margin-top:6px")


def _image(made: Picture, frame: int) -> Element:
    image = picture(made.content, made.width, made.height, f"the skeleton of frame {frame}")
    image.set("style", "display:inline-block;margin:0 4px 4px 0;border-radius:4px")
    image.set("title", f"frame {frame}")
    return image


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Element:
    head = [
        element("th", heading, style=f"{_CELL}{_side(column)};{_RULE}", scope="col")
        for column, heading in enumerate(headings)
    ]
    body = [
        element("tr", *(element("td", _name(cell), style=_CELL + _side(column)) for column, cell in enumerate(row)))
        for row in rows
    ]
    return element(
        "table", element("thead", element("tr", *head)), element("tbody", *body), style="border-collapse:collapse"
    )


def _side(column: int) -> str:
    return "right" if column else "left"


def _line(*children: Element | str) -> Element:
    return element("div", *children, style="overflow-wrap:anywhere")


def _name(text: str) -> Element:
    """Return text from outside, whose direction of writing does not reach the text around it."""
    return element("bdi", text)


def _to_text(tree: Element) -> str:
    return ElementTree.tostring(tree, encoding="unicode", method="html")
