"""A little video file for the matrix: a person's picture under a moving camera, H.264 in MP4."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from phoenix_ray.sources.built_in import MOVES, render


def write_clip(file: Path) -> Path:
    """Write 24 frames of 210x260 pixels at 25 frames a second and return the file."""
    from skimage import data

    move = next(move for move in MOVES if move.frames == 24)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 210, 260, "yuv420p"
        for picture in render(np.ascontiguousarray(data.astronaut()), move):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file
