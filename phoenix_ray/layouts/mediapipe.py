"""MediaPipe's layouts: Holistic with 468 or 478 face points, and its pose alone."""

from __future__ import annotations

from phoenix_ray.layouts.layout import Layout, Part, chain, loop

# BlazePose's 33 points, named and ordered as in MediaPipe's PoseLandmark.
POSE_POINTS = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
    *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)
POSE_EDGES = (
    *chain(8, 6, 5, 4, 0, 1, 2, 3, 7),
    *chain(9, 10),
    *loop(11, 12, 24, 23),
    *chain(11, 13, 15, 21),
    *chain(15, 17, 19, 15),
    *chain(12, 14, 16, 22),
    *chain(16, 18, 20, 16),
    *chain(23, 25, 27, 29, 31, 27),
    *chain(24, 26, 28, 30, 32, 28),
)

_FINGERS = ("thumb", "index_finger", "middle_finger", "ring_finger", "pinky")
_JOINTS = {"thumb": ("cmc", "mcp", "ip", "tip")}
# The 21 points of a hand, named and ordered as in MediaPipe's HandLandmark.
HAND_POINTS = (
    "wrist",
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in _JOINTS.get(finger, ("mcp", "pip", "dip", "tip"))),
)
HAND_EDGES = (
    *chain(0, 1, 2, 3, 4),
    *chain(0, 5, 6, 7, 8),
    *chain(5, 9, 10, 11, 12),
    *chain(9, 13, 14, 15, 16),
    *chain(13, 17, 18, 19, 20),
    *chain(0, 17),
)

# Contours of MediaPipe's canonical face mesh (FACEMESH_CONTOURS), as chains of vertices.
FACE_EDGES = (
    *chain(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *chain(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    *chain(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    *chain(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *chain(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    *chain(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    *chain(263, 249, 390, 373, 374, 380, 381, 382, 362),
    *chain(263, 466, 388, 387, 386, 385, 384, 398, 362),
    *chain(33, 7, 163, 144, 145, 153, 154, 155, 133),
    *chain(33, 246, 161, 160, 159, 158, 157, 173, 133),
    *chain(276, 283, 282, 295, 285),
    *chain(300, 293, 334, 296, 336),
    *chain(46, 53, 52, 65, 55),
    *chain(70, 63, 105, 66, 107),
)
# The irises of the attention model: a centre (468, 473), which nothing joins, and four points around it.
IRIS_EDGES = (*loop(469, 470, 471, 472), *loop(474, 475, 476, 477))


_BODY = (
    Part("pose", POSE_POINTS, ("x", "y", "z", "visibility"), POSE_EDGES),
    Part("pose_world", POSE_POINTS, ("x", "y", "z"), POSE_EDGES, scored=False),
)
# MediaPipe Pose alone: Holistic without hands and face.
BLAZEPOSE = Layout("blazepose", _BODY)


def holistic(face_points: int) -> Layout:
    """Return the layout of MediaPipe Holistic with 468 face points, or 478 with irises."""
    face_edges = FACE_EDGES if face_points == 468 else (*FACE_EDGES, *IRIS_EDGES)
    return Layout(
        name=f"holistic-{face_points}",
        parts=(
            *_BODY,
            Part("left_hand", HAND_POINTS, ("x", "y", "z"), HAND_EDGES),
            Part("right_hand", HAND_POINTS, ("x", "y", "z"), HAND_EDGES),
            Part("face", tuple(f"face_{index:03}" for index in range(face_points)), ("x", "y", "z"), face_edges),
        ),
    )
