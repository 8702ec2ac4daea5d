"""COCO-WholeBody's 133 points, each with the Holistic point that stands for it.

Exports write this set (`exports.coco`, `exports.translation_pickles`, `exports.openpose`), training inputs
offer it. The order is that of COCO-WholeBody's annotations: 17 of the body, 6 of the feet, 68 of the face (the iBUG
order), 21 of each hand. Left and right are the person's in both systems. `docs/exports.md` shows it as a table.

No point of the two systems is defined by the same annotators. Body and hand points mean the same joints; the small toe
has no counterpart and takes the foot's tip as the big toe does. Face points are mesh vertices, left and right mirror
images of each other. Those of jaw and brows are the ones of a table that several projects publish for dlib's 68
points; the others are near iBUG's definitions. The jaw's are not evenly spaced: from the ear to the chin they lie at
about 0, .1, .3, .4, .5, .7, .8, .9 and 1 of the way along the face oval.
"""

from __future__ import annotations

from phoenix_ray.landmarks import HAND_POINTS, POSE_POINTS

Edge = tuple[int, int]

BODY_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
FEET_NAMES = (*("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),)
# What BlazePose calls the points of the feet.
_POSE_NAMES = {
    "left_big_toe": "left_foot_index",
    "left_small_toe": "left_foot_index",
    "right_big_toe": "right_foot_index",
    "right_small_toe": "right_foot_index",
}
# Vertices of the face mesh in the iBUG order. It begins on the person's right, which is on the image's left.
FACE_VERTICES = (
    *(127, 234, 132, 58, 172, 150, 149, 148, 152, 377, 378, 379, 397, 288, 361, 454, 356),  # jaw, 0 to 16
    *(70, 63, 105, 66, 107),  # right eyebrow, 17 to 21
    *(336, 296, 334, 293, 300),  # left eyebrow, 22 to 26
    *(168, 197, 5, 1),  # bridge of the nose down to its tip, 27 to 30
    *(98, 97, 2, 326, 327),  # below the nose, 31 to 35
    *(33, 160, 158, 133, 153, 144),  # right eye, 36 to 41
    *(362, 385, 387, 263, 373, 380),  # left eye, 42 to 47
    *(61, 40, 37, 0, 267, 270, 291, 321, 405, 17, 181, 91),  # outer lips, 48 to 59
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips, 60 to 67
)

# Each point's name, and the Holistic part and index it is taken from.
NAMES = (
    *BODY_NAMES,
    *FEET_NAMES,
    *(f"face-{index}" for index in range(len(FACE_VERTICES))),
    *(f"left_hand_{name}" for name in HAND_POINTS),
    *(f"right_hand_{name}" for name in HAND_POINTS),
)
HOLISTIC_POINTS: tuple[tuple[str, int], ...] = (
    *(("pose", POSE_POINTS.index(_POSE_NAMES.get(name, name))) for name in (*BODY_NAMES, *FEET_NAMES)),
    *(("face", vertex) for vertex in FACE_VERTICES),
    *(("left_hand", index) for index in range(len(HAND_POINTS))),
    *(("right_hand", index) for index in range(len(HAND_POINTS))),
)

BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)

# The body's skeleton of the COCO keypoint annotations, by 0-based point.
BODY_EDGES: tuple[Edge, ...] = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
