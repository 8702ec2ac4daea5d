"""Packs what was rendered: the demo's videos into the package, hard clips and all true points beside the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tools.signer.cast import TRUTH, Clip, all_clips
from tools.signer.cut import CUTS, Cut
from tools.signer.motion import gloss, translate

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "phoenix_ray" / "sources" / "demo_videos"
BENCHMARK = ROOT / "benchmarks" / "accuracy"
WIDTH, HEIGHT, FRAMES_PER_SECOND = 210, 260, 25
CONSTANT_RATE_FACTOR = 16
COLUMNS = "name|video|start|end|speaker|orth|translation"
# Steps to which true positions are rounded, so that they take little space: far below what a network can see.
PIXEL_STEP, METRE_STEP = 1 / 64, 1 / 2048


def pack(folder: Path) -> None:
    """Write the videos, the demo's annotations, and the truth of all clips that are complete in `folder`."""
    planned: list[Clip | Cut] = [*CUTS, *all_clips()]
    clips = [clip for clip in planned if (folder / clip.name / TRUTH).exists()]
    for clip in clips:
        frames = [_reduce(read_frame(file)) for file in sorted((folder / clip.name).glob("[0-9]*.png"))]
        place = DEMO / clip.split if clip.split else BENCHMARK
        place.mkdir(parents=True, exist_ok=True)
        size = write_video(place / f"{clip.name}.mp4", frames)
        print(f"{clip.name}: {len(frames)} frames, {size / 1000:.0f} kB")
    for split in sorted({clip.split for clip in clips if clip.split}):
        rows = [_annotation(clip) for clip in clips if clip.split == split]
        table = DEMO / f"PHOENIX-2014-T.{split}.corpus.csv"
        table.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")
    _write_truth(clips, [dict(np.load(folder / clip.name / TRUTH)) for clip in clips])
    if missing := [clip.name for clip in planned if clip not in clips]:
        print(f"Not in it, because they are not rendered: {', '.join(missing)}")


def write_video(file: Path, frames: Sequence[NDArray[np.uint8]]) -> int:
    """Write BGR frames as H.264 in MP4 and return the file's size in bytes."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(CONSTANT_RATE_FACTOR), "preset": "veryslow", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return file.stat().st_size


def read_frame(file: Path) -> NDArray[np.uint8]:
    """Return a rendered frame, BGR uint8 (height, width, 3).

    Raises:
        OSError: The file is not a whole picture: its writer was stopped, for example.
    """
    frame = cv2.imread(str(file))
    if frame is None:
        raise OSError(f"{file} cannot be read: remove it, and render its clip again.")
    return np.asarray(frame, np.uint8)


def _reduce(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _annotation(clip: Clip | Cut) -> str:
    words = gloss(clip.signs), translate(clip.signs)
    return "|".join([clip.name, f"{clip.name}/1/*.png", "-1", "-1", clip.signer_name, *words])


def _write_truth(clips: Sequence[Clip | Cut], rendered: Sequence[dict[str, NDArray[Any]]]) -> None:
    """Write truth.npz; benchmarks/accuracy/README.md describes it."""
    names = np.sort(rendered[0]["names"])
    points, hidden = [], []
    for truth in rendered:
        order = np.argsort(truth["names"])
        place = truth["points"][:, order] * [WIDTH / float(truth["width"]), WIDTH / float(truth["width"]), 1]
        step = np.array([PIXEL_STEP, PIXEL_STEP, METRE_STEP])
        points.append(np.round(place / step) * step)
        hidden.append(truth["hidden"][:, order].astype(np.int8))
    x, y = (np.concatenate(points)[..., axis] for axis in (0, 1))
    np.savez_compressed(
        BENCHMARK / "truth.npz",
        videos=np.array([clip.name for clip in clips]),
        splits=np.array([clip.split for clip in clips]),
        conditions=np.array([clip.condition for clip in clips]),
        frames=np.array([len(truth["points"]) for truth in rendered], np.int32),
        names=names,
        points=np.concatenate(points).astype(np.float32),
        outside=(x < 0) | (x >= WIDTH) | (y < 0) | (y >= HEIGHT),
        hidden=np.concatenate(hidden),
    )
