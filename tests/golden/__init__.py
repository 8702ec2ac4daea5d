"""What MediaPipe 0.10.21 found in views of the astronaut and in a clip of a rendered signer, and how to record it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source

GOLDEN = Path(__file__).with_name("astronaut_holistic.npz")
# The same with the lite and the heavy pose network, and 468 face points.
GOLDEN_COMPLEXITY = GOLDEN.with_name("astronaut_complexity.npz")
# The parts that are the same whatever the number of face points.
PARTS = ("pose", "pose_world", "left_hand", "right_hand")

SIGNER = Path(__file__).with_name("signer.mp4")
TRACKING = Path(__file__).with_name("signer_tracking.npz")


def read_signer() -> list[NDArray[np.uint8]]:
    """Return the frames of the clip as workers decode them, each uint8 (260, 210, 3)."""
    (video,) = open_source(SourceSettings(kind="videos", path=str(SIGNER))).videos()
    assert isinstance(video, Video)
    frames = read_frames(video, 0, video.frame_count, DecodeSettings())
    return [frame.image for frame in frames if frame.image is not None]
