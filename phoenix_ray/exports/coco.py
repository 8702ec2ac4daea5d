"""COCO-WholeBody annotations: a JSON file per split that pycocotools loads.

One image per frame, one annotation per frame with a person. `keypoints` holds the body, `foot_kpts`, `face_kpts`,
`lefthand_kpts` and `righthand_kpts` the rest, each as x, y, v in pixels; v is 2 for a visible point, 1 for one that is
a guess (visibility or presence score below 0.5, or a network's confidence of the point below 0.3: `SEEN_FROM`), and 0
with zeros for what is missing or outside the picture. Groups that the layout lacks are zeros, and not valid.

No dataset of landmarks has a box that would mean the same as COCO's. A box here surrounds all points that were found,
as far as they lie in the picture; `area` is that of the box and `segmentation` its outline, because there is no mask.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.exports.selection import ExportSelection
from phoenix_ray.exports.whole_body import pixel_sizes, seen_from, shortest_decimals, whole_body, within_picture
from phoenix_ray.layouts import coco

_CATEGORY = {
    "supercategory": "person",
    "id": 1,
    "name": "person",
    "keypoints": coco.BODY_NAMES,
    "skeleton": [[first + 1, second + 1] for first, second in coco.BODY_EDGES],
}
_GROUPS = {
    "foot": coco.FEET,
    "face": coco.FACE,
    "lefthand": coco.LEFT_HAND,
    "righthand": coco.RIGHT_HAND,
}
_VERSION = "1.0"


def write_coco(selection: ExportSelection, output: Path) -> None:
    """Write `<split>.json` for each split.

    Raises:
        ConfigError: The layout lacks COCO's body.
    """
    require_format(selection.layout, "coco")
    output.mkdir(parents=True)
    info = {"description": _description(selection.layout.name), "version": _VERSION}
    for split, part in selection.by_split():
        with (
            (output / f"{safe_name(split)}.json").open("wb") as stream,
            # Images follow the annotations in the file, but both come video by video.
            TemporaryFile(dir=output) as image_stream,
        ):
            head = json.dumps({"info": info, "licenses": [], "categories": [_CATEGORY]})
            stream.write(f'{head[:-1]}, "annotations": ['.encode())
            _write_items(part, _JsonItems(stream), _JsonItems(image_stream))
            stream.write(b'\n], "images": [')
            image_stream.seek(0)
            shutil.copyfileobj(image_stream, stream)
            stream.write(b"\n]}\n")


def _description(layout: str) -> str:
    found = "MediaPipe Holistic" if layout.startswith("holistic-") else layout
    return f"{found} landmarks at the points of COCO-WholeBody"


class _JsonItems:
    """The items of a JSON list, written one by one.

    Args:
        stream: A file; the list begins at its position.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._start = stream.tell()

    def add(self, item: dict[str, Any]) -> None:
        """Write an item."""
        separator = "\n" if self._stream.tell() == self._start else ",\n"
        self._stream.write((separator + json.dumps(item)).encode())

    def position(self) -> int:
        """Return the end of the last item."""
        return self._stream.tell()

    def cut(self, position: int) -> None:
        """Drop the items behind a position."""
        self._stream.seek(position)
        self._stream.truncate()


def _write_items(selection: ExportSelection, annotations: _JsonItems, images: _JsonItems) -> None:
    """Write the items of both lists; an annotation has the ID of its image, which is the number of its frame."""
    first_id = 1
    for video in selection.videos_for("coco"):
        add = partial(_add_frames, annotations, annotations.position(), images, images.position(), first_id)
        video.read_blocks(add)
        first_id += video.frames


def _add_frames(
    annotations: _JsonItems,
    annotations_end: int,
    images: _JsonItems,
    images_end: int,
    first_id: int,
    blocks: Iterator[VideoLandmarks],
) -> None:
    # The video may have been begun before.
    annotations.cut(annotations_end)
    images.cut(images_end)
    for block in blocks:
        sizes = pixel_sizes(block)
        found = whole_body(block, sizes)
        shown = within_picture(found, sizes)
        thresholds = seen_from(block.layout)
        for row in range(len(block)):
            image_id = first_id + int(block.frame_index[row])
            images.add(_image(block, row, image_id))
            if shown[row].any():
                annotations.add(_annotation(found[row], shown[row], thresholds, sizes[row], image_id))


def _image(video: VideoLandmarks, frame: int, image_id: int) -> dict[str, Any]:
    width, height = (int(side) for side in video.sizes[frame])
    name = f"{video.split}/{video.video_id}/{video.frame_names[frame]}"
    return {
        "id": image_id,
        "file_name": name,
        "width": width,
        "height": height,
        "video_id": video.video_id,
        "frame_index": int(video.frame_index[frame]),
    }


def _annotation(
    found: NDArray[np.float32],
    shown: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    size: NDArray[np.int32],
    image_id: int,
) -> dict[str, Any]:
    """Return the annotation of a frame; `found` has all points, `shown` zeros for those outside the picture."""
    marked = shown.copy()
    marked[:, 2] = np.where(~shown.any(axis=1), 0, np.where(shown[:, 2] < thresholds, 1, 2))
    body = marked[coco.BODY]
    x, y, width, height = box = _box(found, size)
    return {
        "id": image_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": width * height,
        "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
        "num_keypoints": int(np.count_nonzero(body[:, 2])),
        "keypoints": shortest_decimals(body),
        **dict(_groups(found, marked, size)),
    }


def _groups(
    found: NDArray[np.float32], marked: NDArray[np.float32], size: NDArray[np.int32]
) -> Iterator[tuple[str, Any]]:
    for name, group in _GROUPS.items():
        valid = bool(marked[group, 2].any())
        yield f"{name}_kpts", shortest_decimals(marked[group])
        yield f"{name}_valid", valid
        if name != "foot":
            yield f"{name}_box", _box(found[group], size) if valid else [0.0] * 4


def _box(points: NDArray[np.float32], size: NDArray[np.int32]) -> list[float]:
    """Return x, y, width and height around the points that were found, cut to a picture of this width and height."""
    there = np.clip(points[points.any(axis=1), :2], 0, size.astype(np.float32))
    low, high = there.min(axis=0), there.max(axis=0)
    return shortest_decimals(np.concatenate([low, high - low]))
