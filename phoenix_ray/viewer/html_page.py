"""Videos of a dataset as one HTML file to send: the viewer's page with its data inside.

Called by `phoenix-ray view --html` and by `player`. The file needs no server and no network. Its
Content-Security-Policy allows none, and no script or style but those that the file was written with, by their hashes.
Names and annotations come from anyone; they are in JSON and in base64, where no markup can end the element that holds
them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, frame_bytes, image_parts
from phoenix_ray.dataset.video_table import VideoEntry, to_video_table
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import SEEN_FROM, Layout
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.text import ShowProgress, counted, short_line, without_secrets
from phoenix_ray.viewer.chosen_videos import describe_changes, find_source_videos, find_video
from phoenix_ray.viewer.encoders import complete_file
from phoenix_ray.viewer.overlay import Image
from phoenix_ray.viewer.transfer import describe_drawing, describe_layout, encode_landmarks
from phoenix_ray.viewer.video_list import VideoList

# Mail programs refuse less, browsers open more, but slowly.
MOST_BYTES = 200_000_000
# The page draws these alone; depth would be a third of the file.
_AXES = ("x", "y", *SEEN_FROM)
_PICTURE_HEIGHT = 540
_JPEG_QUALITY = 80
# Videos of which a picture is taken to estimate the size of all.
_MEASURED_VIDEOS = 5
# Columns of a row beside its points: index, status, size, time, scores, and the frame's name in the header.
_OTHER_BYTES_OF_A_ROW = 60
_WAY_OUT = "Without --with-frames, the page holds landmarks only."
_PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """What was written.

    Attributes:
        videos: Their number.
        frames: Of all of them.
        remark: What a user should know, empty where there is nothing.
    """

    videos: int
    frames: int
    remark: str = ""


def write_html_page(
    output: str,
    file: Path,
    names: Collection[str],
    source: SourceSettings | None,
    show: ShowProgress | None = None,
) -> HtmlPage:
    """Write videos of a dataset as one HTML file.

    Args:
        output: The dataset's folder or URI.
        file: The file to write.
        names: The videos, each as its ID or as `split/ID`; empty for all videos of the dataset.
        source: Where the frames lie; with an empty path, where the dataset says they lay. None writes skeletons only,
            and opens no source.
        show: Called with the number of videos written.

    Raises:
        ConfigError: There is no such video, or several; or the file would be larger than `MOST_BYTES`.
        OutputError: There is no dataset, it cannot be read, or the file cannot be written.
        SourceError: The frames cannot be found.
    """
    dataset = Dataset.open(output)
    layout = _drawn_layout(dataset.layout)
    chosen = {find_video(dataset, output, name) for name in names}
    frames, keys = _count_frames(dataset, chosen), sorted(chosen) or list(dataset.keys())
    size = 4 / 3 * frames * (frame_bytes(layout) + _OTHER_BYTES_OF_A_ROW)
    way_out = "name fewer videos with --video ID, which may be repeated" if len(keys) > 1 else "write an --mp4 instead"
    _check_size(size, len(keys), way_out)
    videos = VideoList(dataset.videos(), dataset.layout)
    rows = [row for key in keys if (row := videos.find(key)) is not None]
    found: dict[VideoKey, Video] = {}
    if source is not None:
        last_frames = {key: int(row["frames"]) - 1 for key, row in zip(keys, rows, strict=True)}
        found = find_source_videos(dataset, last_frames, source, _WAY_OUT)
        _check_size(size + 4 / 3 * frames * _measure_pictures(list(found.values())), len(keys), way_out)
    name = Path(output).name or Path(output).resolve().name
    description = _describe(dataset.identity.model, name, layout, videos, rows, with_frames=bool(found))
    reading = dataset.select(parts=image_parts(dataset.layout))
    _write_page(file, description, videos, rows, (reading.load(*key) for key in keys), found, show)
    return HtmlPage(len(keys), frames, describe_changes(dataset, list(found.values())))


def write_video_page(file: Path, video: VideoLandmarks, source: Video | None) -> None:
    """Write a video that is in memory as one HTML file, as `write_html_page` does.

    Args:
        file: The file to write.
        video: The video.
        source: Where its frames lie; None writes the skeleton only.

    Raises:
        ConfigError: The file would be larger than `MOST_BYTES`.
        OutputError: It cannot be written.
    """
    layout, key = _drawn_layout(video.layout), (video.split, video.video_id)
    size = 4 / 3 * len(video) * (frame_bytes(layout) + _OTHER_BYTES_OF_A_ROW)
    found = {}
    if source is not None:
        found[key] = source
        size += 4 / 3 * len(video) * _measure_pictures([source])
    _check_size(size, 1, "save it as .mp4 instead")
    videos = VideoList(_tabulate(video), video.layout)
    rows = [row for row in [videos.find(key)] if row is not None]
    name = short_line("/".join(filter(None, key)))
    description = _describe({}, name, layout, videos, rows, with_frames=bool(found))
    _write_page(file, description, videos, rows, [video], found)


def _write_page(
    file: Path,
    description: Mapping[str, Any],
    videos: VideoList,
    rows: Sequence[Mapping[str, Any]],
    contents: Iterable[VideoLandmarks],
    found: Mapping[VideoKey, Video],
    show: ShowProgress | None = None,
) -> None:
    """Write videos, each with its row in the list of videos, and the frames of those that are `found`."""
    keys = [(row["split"], row["video_id"]) for row in rows]
    world = {
        "datasets": [description],
        "drawing": describe_drawing(),
        "rows": rows,
        "worth": sorted(range(len(keys)), key=lambda number: videos.place(keys[number], "", "worth") or 0),
    }
    with complete_file(file) as path, path.open("w", encoding="utf-8", newline="\n") as page:
        before, after = _page_around_data()
        page.write(before)
        _write_block(page, "world", "application/json", json.dumps(world).replace("<", r"\u003c"))
        for number, (key, row, video) in enumerate(zip(keys, rows, contents, strict=True)):
            content = encode_landmarks(_without_depth(video, _drawn_layout(video.layout)), int(row["frames"]))
            _write_block(page, f"landmarks-{number}", "text/plain", _base64(content))
            if key in found:
                pictures = "\n".join(_pictures(found[key], int(row["frames"])))
                _write_block(page, f"frames-{number}", "text/plain", pictures)
            if show is not None:
                show(number + 1, len(keys))
        page.write(after)


def _count_frames(dataset: Dataset, chosen: Collection[VideoKey]) -> int:
    """Return the number of frames of some videos, or of all."""
    table = dataset.videos().select(["split", "video_id", "frames"])
    if not chosen:
        return pc.sum(table["frames"]).as_py() or 0
    table = table.filter(pc.is_in(table["video_id"], pa.array([video_id for _, video_id in chosen])))
    return sum(row["frames"] for row in table.to_pylist() if (row["split"], row["video_id"]) in chosen)


def _tabulate(video: VideoLandmarks) -> pa.Table:
    """Return a video's row as in a table of videos, without what only a dataset knows of it."""
    detected = {part: int(video.present(part).sum()) for part in video.points}
    tally = Tally(len(video), statuses=Counter(video.status), detected=detected)
    frames = int(video.frame_index.max(initial=-1)) + 1
    entry = VideoEntry(
        split=video.split,
        video_id=video.video_id,
        frame_count=frames,
        signature="",
        fps=video.fps,
        annotation=video.annotation,
        fps_varies=video.fps_varies,
        first_row=0,
        tally=tally,
    )
    return to_video_table(video.layout, [entry], None)


def _check_size(size: float, videos: int, way_out: str) -> None:
    if size > MOST_BYTES:
        raise ConfigError(
            f"{counted(videos, 'video')} would make a page of {size / 1e6:,.0f} MB, and browsers struggle with more "
            f"than {MOST_BYTES / 1e6:.0f} MB: {way_out}."
        )


def _drawn_layout(layout: Layout) -> Layout:
    """Return the layout with what the page draws: parts that lie in the image, without depth."""
    parts = layout.only(image_parts(layout)).parts
    return replace(
        layout, parts=tuple(replace(part, axes=tuple(axis for axis in part.axes if axis in _AXES)) for part in parts)
    )


def _without_depth(video: VideoLandmarks, layout: Layout) -> VideoLandmarks:
    points = {
        part.name: video.points[part.name][:, :, [video.layout.part(part.name).axes.index(axis) for axis in part.axes]]
        for part in layout.parts
    }
    return replace(video, layout=layout, points=points)


def _describe(
    model: Mapping[str, str],
    name: str,
    layout: Layout,
    videos: VideoList,
    rows: Collection[Mapping[str, Any]],
    with_frames: bool,
) -> dict[str, Any]:
    """Return what `library.ShownDataset.describe` does, without any place on this machine."""
    return {
        "path": without_secrets(name),
        "videos": len(rows),
        "frames": sum(int(row["frames"]) for row in rows),
        "unfinished": sum(row["committed"] < row["frames"] for row in rows),
        "is_written": False,
        "generation": 0,
        "model": dict(model),
        "usual_rates": videos.usual_rates,
        "layout": describe_layout(layout),
        "source": {"state": "ready" if with_frames else "off", "root": "", "message": "", "listed": 0},
    }


def _measure_pictures(videos: list[Video]) -> float:
    """Return bytes of a picture, the mean of the middle frames of some videos."""
    step = -(-len(videos) // _MEASURED_VIDEOS)
    sizes = []
    for video in videos[::step]:
        middle = video.frame_count // 2
        (frame,) = read_frames(video, middle, middle + 1, DecodeSettings())
        if frame.image is not None:
            sizes.append(len(_jpeg(frame.image)))
    return sum(sizes) / max(1, len(sizes))


def _pictures(video: Video, frames: int) -> Iterator[str]:
    """Yield each frame as a JPEG in base64, `-` where it cannot be read."""
    for frame in read_frames(video, 0, frames, DecodeSettings()):
        yield "-" if frame.image is None else _base64(_jpeg(frame.image))


def _jpeg(image: Image) -> bytes:
    if len(image) > _PICTURE_HEIGHT:
        width = max(1, round(image.shape[1] * _PICTURE_HEIGHT / len(image)))
        image = np.asarray(cv2.resize(image, (width, _PICTURE_HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    _, content = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return content.tobytes()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _write_block(page: TextIO, name: str, kind: str, text: str) -> None:
    """Write a data block: an element that a browser neither shows nor runs. The text holds no `<`."""
    page.write(f'<script type="{kind}" id="{name}">{text}</script>\n')


def _page_around_data() -> tuple[str, str]:
    """Return the page's text before and after the data blocks."""
    page, style, viewer, embedded = (
        (_PAGE / name).read_text(encoding="utf-8") for name in ("index.html", "style.css", "viewer.js", "embedded.js")
    )
    script = f"{viewer}\n{embedded}"
    policy = (
        f"default-src 'none'; script-src {_hash_source(script)}; style-src {_hash_source(style)}; img-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    charset = '<meta charset="utf-8">'
    for old, new in (
        ('<html lang="en">', '<html lang="en" data-own>'),
        (charset, f'{charset}\n  <meta http-equiv="Content-Security-Policy" content="{policy}">'),
        ('<link rel="stylesheet" href="style.css">', f"<style>{style}</style>"),
        ('<script type="module" src="viewer.js"></script>', f'<script type="module">{script}</script>'),
    ):
        if page.count(old) != 1:
            raise ValueError(f"page/index.html does not have one {old}")
        page = page.replace(old, new)
    before, end, after = page.rpartition("</body>")
    return before, end + after


def _hash_source(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"
