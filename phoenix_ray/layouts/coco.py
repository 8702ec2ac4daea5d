"""COCO's layouts: the 17 points of the body and COCO-WholeBody's 133, each of these with a Holistic point for it.

`exports` writes this set and `prepare` offers it for training inputs, so it lies below both. The order is that of
COCO-WholeBody's annotations: 17 points of the body, 6 of the feet, 68 of the face (in iBUG's order), 21 of each hand.
Left and right are the person's in both systems. `docs/exports.md` shows the correspondence as a table.

No point of the two systems was defined by the same annotators. Body and hand points mean the same joints. The small toe
has no counterpart: like the big toe, it takes the tip of the foot. Face points are mesh vertices, and left and right
mirror each other. The vertices of jaw and brows come from a table that several projects publish for dlib's 68 points;
the others lie near iBUG's definitions. The jaw's points are not evenly spaced: from ear to chin they lie at about 0,
.1, .3, .4, .5, .7, .8, .9 and 1 of the way along the face oval.
"""

from __future__ import annotations

from phoenix_ray.layouts.layout import Edge, Layout, Part, chain, loop
from phoenix_ray.layouts.mediapipe import HAND_EDGES, HAND_POINTS, POSE_POINTS

BODY_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
FEET_NAMES = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
# What BlazePose calls the points of the feet.
_POSE_NAMES = {
    "left_big_toe": "left_foot_index",
    "left_small_toe": "left_foot_index",
    "right_big_toe": "right_foot_index",
    "right_small_toe": "right_foot_index",
}
# Vertices of the face mesh in iBUG's order, which begins on the person's right: the left of the image.
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

# The name of each point.
NAMES = (
    *BODY_NAMES,
    *FEET_NAMES,
    *(f"face-{index}" for index in range(len(FACE_VERTICES))),
    *(f"left_hand_{name}" for name in HAND_POINTS),
    *(f"right_hand_{name}" for name in HAND_POINTS),
)
# The Holistic part and index that each point is taken from.
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

# The body's skeleton in COCO's keypoint annotations, by 0-based point.
BODY_EDGES: tuple[Edge, ...] = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
# Those of the feet, by point of the foot: toes to heel.
FEET_EDGES: tuple[Edge, ...] = (*chain(0, 2, 1), *chain(3, 5, 4))
# Contours of iBUG's 68 points.
FACE_EDGES_68: tuple[Edge, ...] = (
    *(
        *chain(*range(17)),
        *chain(*range(17, 22)),
        *chain(*range(22, 27)),
        *chain(*range(27, 31)),
        *chain(*range(31, 36)),
    ),
    *(*loop(*range(36, 42)), *loop(*range(42, 48)), *loop(*range(48, 60)), *loop(*range(60, 68))),
)

# Where each of iBUG's 68 points lies when the picture is mirrored: jaw, brows, nose, eyes, outer and inner lips.
FACE_68_MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)

# Networks of these layouts find points in the image plane, each with a score.
IMAGE_AXES = ("x", "y", "confidence")
_BODY = Part("pose", BODY_NAMES, IMAGE_AXES, BODY_EDGES)
COCO_17 = Layout("coco-17", (_BODY,))
# The parts in a row are the 133 points in their order.
COCO_WHOLEBODY_133 = Layout(
    "coco-wholebody-133",
    (
        _BODY,
        Part("feet", FEET_NAMES, IMAGE_AXES, FEET_EDGES),
        Part("face", NAMES[FACE], IMAGE_AXES, FACE_EDGES_68),
        Part("left_hand", HAND_POINTS, IMAGE_AXES, HAND_EDGES),
        Part("right_hand", HAND_POINTS, IMAGE_AXES, HAND_EDGES),
    ),
)
