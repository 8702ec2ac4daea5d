"""What the formats `mska` and `twostream` share: 133 points in PHOENIX' pixels, and a translation as their models read.

Both projects train on HRNet's points; here Holistic's stand in for COCO-WholeBody's (`coco_wholebody`), so models are
to be trained anew.
"""

from __future__ import annotations

import numpy as np

from phoenix_ray.dataset.video_landmarks import VideoLandmarks

# Width and height that both projects divide by, whatever the video: MSKA's `S2T_Dataset` has w and h, TwoStream's
# configuration has heatmap_cfg.raw_size.
FRAME_SIZE = np.array([[210, 260]], np.int32)
_SENTENCE_ENDS = ".?!"


def video_name(video: VideoLandmarks) -> str:
    """Return what both projects call a video: `<split>/<video ID>`."""
    return f"{video.split}/{video.video_id}"


def sentence(video: VideoLandmarks) -> str:
    """Return the translation with its full stop as a word of its own, "" for none.

    All 7,096 texts of TwoStream's own training file end in " .", and both projects' tokenizers put " ." at the end of
    what they decode.
    """
    text = video.annotation.get("translation", "").strip()
    if not text:
        return ""
    if text[-1] in _SENTENCE_ENDS:
        return f"{text[:-1].rstrip()} {text[-1]}"
    return f"{text} ."
