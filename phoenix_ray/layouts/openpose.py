"""OpenPose's layouts: the body with 18 points (COCO) or 25 (BODY_25), and BODY_25 with face and hands.

Order and names follow OpenPose's doc/02_output.md.
"""

from __future__ import annotations

from phoenix_ray.layouts.coco import FACE as FACE_OF_133
from phoenix_ray.layouts.coco import FACE_68_MIRROR, FACE_EDGES_68, IMAGE_AXES, NAMES
from phoenix_ray.layouts.layout import Layout, Part, chain
from phoenix_ray.layouts.mediapipe import HAND_EDGES, HAND_POINTS

BODY_18 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
BODY_18_EDGES = (
    *chain(4, 3, 2, 1, 5, 6, 7),
    *chain(10, 9, 8, 1, 11, 12, 13),
    *chain(16, 14, 0, 15, 17),
    (1, 0),
)
BODY_25 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("middle_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
BODY_25_EDGES = (
    *chain(4, 3, 2, 1, 5, 6, 7),
    *chain(11, 10, 9, 8, 12, 13, 14),
    *chain(17, 15, 0, 16, 18),
    *chain(0, 1, 8),
    *chain(14, 19, 20),
    *chain(11, 22, 23),
    *((14, 21), (11, 24)),
)
# The 68 points of COCO-WholeBody's face, then the pupils.
FACE_70 = (*NAMES[FACE_OF_133], "right_pupil", "left_pupil")
FACE_70_MIRROR = (*FACE_68_MIRROR, 69, 68)

OPENPOSE_18 = Layout("openpose-18", (Part("pose", BODY_18, IMAGE_AXES, BODY_18_EDGES),))
_BODY_25 = Part("pose", BODY_25, IMAGE_AXES, BODY_25_EDGES)
OPENPOSE_25 = Layout("openpose-25", (_BODY_25,))
# What `--write_json --face --hand` writes, in the order of the people in its files.
OPENPOSE_137 = Layout(
    "openpose-137",
    (
        _BODY_25,
        Part("face", FACE_70, IMAGE_AXES, FACE_EDGES_68),
        Part("left_hand", HAND_POINTS, IMAGE_AXES, HAND_EDGES),
        Part("right_hand", HAND_POINTS, IMAGE_AXES, HAND_EDGES),
    ),
)
