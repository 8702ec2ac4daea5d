"""WebDataset: tar files of about 256 MB, a sample per video, for training that reads from start to end.

A sample has `npz`, the arrays of the format `npz`, and `json` with split, video ID, frames, fps and annotations. Its
key is the video ID made harmless, without dots, because WebDataset cuts a name at the first.
"""

from __future__ import annotations

import json
import os
import tarfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.exports.numpy_archives import write_numpy_archive
from phoenix_ray.exports.selection import ExportSelection, ExportVideo

SHARD_BYTES = 256 * 1024 * 1024


def write_webdataset(selection: ExportSelection, output: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `<split>-<number>.tar`: a shard takes videos until it has `shard_bytes`, and each split begins anew."""
    output.mkdir(parents=True)
    for split, part in selection.by_split():
        with ExitStack() as stack:
            shard: tarfile.TarFile | None = None
            number = 0
            for video in part.videos():
                if shard is None or shard.offset >= shard_bytes:
                    stack.close()
                    name = f"{safe_name(split)}-{number:06}.tar"
                    shard = stack.enter_context(tarfile.open(output / name, "w", format=tarfile.PAX_FORMAT))
                    number += 1
                _add_sample(shard, video, output)


def _add_sample(shard: tarfile.TarFile, video: ExportVideo, scratch: Path) -> None:
    key = safe_name(video.video_id).replace(".", "%2E")
    with TemporaryFile(dir=scratch) as archive:
        write_numpy_archive(video, archive, scratch)
        about = {
            "split": video.split,
            "video_id": video.video_id,
            "frames": video.frames,
            "fps": video.fps,
            "annotation": dict(video.annotation),
        }
        text = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
        _add_member(shard, f"{key}.json", BytesIO(text))
        _add_member(shard, f"{key}.npz", archive)


def _add_member(shard: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    # An entry without time and owner: the same videos give the same bytes.
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    shard.addfile(entry, content)
