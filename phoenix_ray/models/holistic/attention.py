"""What the attention network adds to the face: lips, eyes and irises, refined.

`refine_face` merges its outputs into 478 points. The other functions are the operators of MediaPipe's own that its
`.tflite` file calls (mediapipe/util/tflite/operations), for engines that do not know them. All work on arrays with a
leading batch axis (see `arrays`).
"""

from __future__ import annotations

from collections.abc import Sequence

from array_api_compat import array_namespace

from phoenix_ray.models.holistic.arrays import Array

MESH_POINTS = 468
IRIS_POINTS = 5
# Mesh vertex of each refined point (MediaPipe: tensors_to_face_landmarks_with_attention). Right and left are those of
# the person, as in the names of MediaPipe's mesh; the network's own names are those of the picture.
# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178,
    87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404,
    320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292,
    183, 42, 41, 38, 12, 268, 271, 272, 407,
)
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26,
    112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222,
    221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107,
    55, 193,
)
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253,
    252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342,
    445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)
RIGHT_EYE_CONTOUR = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
)
LEFT_EYE_CONTOUR = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
)
# fmt: on


def refine_face(mesh: Array, refinements: Sequence[Array]) -> Array:
    """Return the 478 points that the attention network's outputs make together.

    A vertex takes x and y from the last refinement that has it, and z from the mesh. The irises come after the mesh;
    their z is the mean over the contour of their eye. MediaPipe: LandmarksRefinementCalculator.

    Args:
        mesh: float32 (N, 468, 3).
        refinements: float32 (N, 80, 71, 71, 5 and 5, 2): lips, right eye, left eye, right iris, left iris.
    """
    xp = array_namespace(mesh)
    xy = xp.concat([mesh[:, :, :2], *refinements], axis=1)
    irises = [
        xp.broadcast_to(_mean_depth(mesh, contour), (mesh.shape[0], IRIS_POINTS))
        for contour in (RIGHT_EYE_CONTOUR, LEFT_EYE_CONTOUR)
    ]
    z = xp.concat([mesh[:, :, 2], *irises], axis=1)
    return xp.concat([xp.take(xy, xp.asarray(_SOURCE_OF_POINT), axis=1), z[:, :, None]], axis=2)


def _mean_depth(mesh: Array, contour: Sequence[int]) -> Array:
    xp = array_namespace(mesh)
    depth = xp.astype(xp.take(mesh[:, :, 2], xp.asarray(contour), axis=1), xp.float64)
    return xp.astype(xp.mean(depth, axis=1, keepdims=True), mesh.dtype)


def _source_of_point() -> list[int]:
    """Return, for each of the 478 points, its index among mesh and refinements one after the other."""
    vertices = (*range(MESH_POINTS), *LIPS, *RIGHT_EYE, *LEFT_EYE, *range(MESH_POINTS, MESH_POINTS + 2 * IRIS_POINTS))
    last = {vertex: position for position, vertex in enumerate(vertices)}
    return [last[vertex] for vertex in range(MESH_POINTS + 2 * IRIS_POINTS)]


_SOURCE_OF_POINT = _source_of_point()
