"""What the page receives of a dataset: its layout and style as JSON, and the landmarks of a video as bytes.

`server` sends them. Colours and drawing rules are those of `overlay`: the page and the contact sheet look alike.

The bytes of a video are a JSON header and arrays, little-endian and in C order:

    uint32 length of the header | header | zeros up to a multiple of 8 | arrays, each begins at a multiple of 8

The header's `arrays` name each with its type, shape and place, counted from the start of the first array.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.schema import STATUSES
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.layouts import SEEN_FROM, Layout
from phoenix_ray.viewer import overlay

_ALIGNMENT = 8


def describe_layout(layout: Layout) -> dict[str, Any]:
    """Return the parts that lie in the image, in the layout's order, with what a drawing needs of each."""
    styles = overlay.styles_of(layout)
    return {
        "name": layout.name,
        "parts": [
            {
                "name": part.name,
                "label": part.name.replace("_", " "),
                "points": part.points,
                "axes": part.axes,
                "edges": part.edges,
                **_describe_style(styles[part.name]),
            }
            for part in layout.parts
            if part.name in styles
        ],
    }


def describe_drawing() -> dict[str, Any]:
    """Return the rules of `overlay.draw`: order of the parts, halo, guesses, and points that are left out."""
    return {
        "order": list(overlay.STYLES),
        "halo": _css_colour(overlay.HALO),
        "halo_opacity": overlay.HALO_OPACITY,
        "halo_width": overlay.HALO_WIDTH,
        "point_core": _css_colour(overlay.POINT_CORE),
        "seen_from": dict(SEEN_FROM),
        "guess_opacity": overlay.GUESS_OPACITY,
        "duplicates": dict(overlay.DUPLICATES),
    }


def encode_landmarks(video: VideoLandmarks, frames: int) -> bytes:
    """Return the landmarks of a video as bytes; see the module.

    The arrays have one row per committed frame: `frame_index` int32, `status` uint8 (a place in the header's
    `statuses`), `sizes` int32 (rows, 2), `timestamps` float64, then `points/<part>` float32 (rows, points, axes) and
    `scores/<part>` float32 of each part in the image, NaN where missing.

    Args:
        video: The video.
        frames: Frames of the whole video; more than it has rows while its run is not over.
    """
    arrays = dict(_arrays(video))
    places, content = _lay_out(arrays)
    header = {
        "split": video.split,
        "video_id": video.video_id,
        "frames": frames,
        "fps": video.fps,
        "fps_varies": bool(video.fps_varies),
        "annotation": dict(video.annotation),
        "frame_names": video.frame_names,
        "statuses": STATUSES,
        "arrays": places,
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    start = struct.pack("<I", len(text)) + text
    return b"".join([start, bytes(-len(start) % _ALIGNMENT), *content])


def _arrays(video: VideoLandmarks) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "frame_index", video.frame_index.astype("<i4")
    yield "status", np.array([STATUSES.index(status) for status in video.status], np.uint8)
    yield "sizes", video.sizes.astype("<i4")
    yield "timestamps", video.timestamps.astype("<f8")
    for part in image_parts(video.layout):
        yield f"points/{part}", video.points[part].astype("<f4", copy=False)
        yield f"scores/{part}", video.scores[part].astype("<f4", copy=False)


def _lay_out(arrays: Mapping[str, NDArray[Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return name, type, shape and place of each array, and their bytes with the zeros between them."""
    places: list[dict[str, Any]] = []
    content: list[Any] = []
    place = 0
    for name, values in arrays.items():
        places.append({"name": name, "type": values.dtype.name, "shape": values.shape, "place": place})
        # A view, because an hour of video takes a gigabyte.
        content += [np.ascontiguousarray(values).reshape(-1).view(np.uint8), bytes(-values.nbytes % _ALIGNMENT)]
        place += values.nbytes + -values.nbytes % _ALIGNMENT
    return places, content


def _describe_style(style: overlay.Style) -> dict[str, Any]:
    return {
        "colour": _css_colour(style.colour),
        "line": style.line,
        "point": style.point,
        "opacity": style.opacity,
    }


def _css_colour(colour: overlay.Colour) -> str:
    return "#" + bytes(colour).hex()
