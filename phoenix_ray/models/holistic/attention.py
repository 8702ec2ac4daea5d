"""What the attention network adds to the face: refined lips, eyes and irises.

`refine_face` merges its outputs into 478 points. The other functions are MediaPipe's custom operators that its
`.tflite` file calls (mediapipe/util/tflite/operations), for engines that lack them. All work on arrays with a leading
batch axis (see `arrays`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_ray.models.holistic.arrays import Array, constant, divide, indices, namespace, sum_in_order
from phoenix_ray.models.holistic.elementary import atan2, cosine_and_sine
from phoenix_ray.models.holistic.geometry import rotate

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
    """Return 478 points from the outputs of the attention network.

    A vertex takes x and y from the last refinement that contains it, and z from the mesh. The irises follow the mesh;
    their z is the mean over the contour of their eye. MediaPipe: LandmarksRefinementCalculator.

    Args:
        mesh: float32 (N, 468, 3).
        refinements: float32 (N, 80, 71, 71, 5 and 5, 2): lips, right eye, left eye, right iris, left iris.
    """
    xp = namespace(mesh)
    xy = xp.concat([mesh[:, :, :2], *refinements], axis=1)
    irises = [
        xp.broadcast_to(_mean_depth(mesh, contour), (mesh.shape[0], IRIS_POINTS))
        for contour in (RIGHT_EYE_CONTOUR, LEFT_EYE_CONTOUR)
    ]
    z = xp.concat([mesh[:, :, 2], *irises], axis=1)
    return xp.concat([xp.take(xy, constant(SOURCE_OF_POINT, like=mesh), axis=1), z[:, :, None]], axis=2)


@dataclass(frozen=True, slots=True)
class RegionOfFace:
    """Options of Landmarks2TransformMatrix: a part of the face, and the grid it is sampled on.

    Attributes:
        left_rotation_idx: Vertex at which the horizontal line of the region starts.
        right_rotation_idx: Vertex at which it ends.
        target_rotation_radians: Angle of this line on the grid.
        subset_idxs: Vertices that bound the region.
        scale_x: Width of the region in widths of these bounds.
        scale_y: Height of the region in heights of these bounds.
        output_width: Columns of the grid.
        output_height: Rows of the grid.
    """

    left_rotation_idx: int
    right_rotation_idx: int
    target_rotation_radians: float
    subset_idxs: Sequence[int]
    scale_x: float
    scale_y: float
    output_width: int
    output_height: int


def landmarks_to_transform(landmarks: Array, region: RegionOfFace) -> Array:
    """Return float32 matrices (N, 4, 4) from the grid of a region to the coordinates of landmarks (N, 468, 3).

    MediaPipe: Landmarks2TransformMatrix.
    """
    xp = namespace(landmarks)
    right, left = landmarks[:, region.right_rotation_idx, :], landmarks[:, region.left_rotation_idx, :]
    rotation = region.target_rotation_radians - atan2(right[:, 1] - left[:, 1], right[:, 0] - left[:, 0])
    cosine, sine = cosine_and_sine(rotation)

    subset = xp.take(landmarks[:, :, :2], constant(region.subset_idxs, like=landmarks), axis=1)
    turned = xp.concat(rotate(subset[:, :, 0:1], subset[:, :, 1:2], rotation), axis=2)
    lowest, highest = xp.min(turned, axis=1), xp.max(turned, axis=1)
    center, extent = 0.5 * (lowest + highest), highest - lowest
    x = cosine * center[:, 0] + sine * center[:, 1]
    y = -sine * center[:, 0] + cosine * center[:, 1]

    column = divide(region.scale_x * extent[:, 0], region.output_width)
    row = divide(region.scale_y * extent[:, 1], region.output_height)
    x_by_column, x_by_row, y_by_column, y_by_row = cosine * column, sine * row, -sine * column, cosine * row
    x = x_by_column * (-region.output_width / 2) + x_by_row * (-region.output_height / 2) + x
    y = y_by_column * (-region.output_width / 2) + y_by_row * (-region.output_height / 2) + y
    zero, ones = xp.zeros_like(x), xp.ones_like(x)
    rows = (
        (x_by_column, x_by_row, zero, x),
        (y_by_column, y_by_row, zero, y),
        (zero, zero, ones, zero),
        (zero, zero, zero, ones),
    )
    return xp.stack([xp.stack(row, axis=1) for row in rows], axis=1)


def sample_bilinear(features: Array, transform: Array, rows: int, columns: int) -> Array:
    """Return features (N, H, W, C) at the points of a grid, float32 (N, rows, columns, C); 0 outside of the map.

    MediaPipe: TransformTensorBilinear. Single and double precision alternate here as in its C++.
    """
    xp = namespace(features)
    batch, height, width, channels = features.shape
    double = xp.float64

    def coordinate(axis: int) -> Array:
        by_column, by_row = transform[:, axis, 0], transform[:, axis, 1]
        shift = xp.astype(by_column, double) * 0.5 + xp.astype(by_row, double) * 0.5 - 0.5
        offset = xp.astype(xp.astype(transform[:, axis, 3], double) + shift, features.dtype)
        column = xp.astype(indices(columns, like=features), features.dtype)[None, None, :]
        row = xp.astype(indices(rows, like=features), features.dtype)[None, :, None]
        return by_column[:, None, None] * column + by_row[:, None, None] * row + offset[:, None, None]

    x, y = coordinate(0), coordinate(1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = xp.where(inside, x, 0.0), xp.where(inside, y, 0.0)
    left, top = xp.floor(x), xp.floor(y)
    rightwards, downwards = (x - left)[:, :, :, None], (y - top)[:, :, :, None]
    cells = xp.reshape(features, (batch * height * width, channels))

    def at(row: Array, column: Array) -> Array:
        # A point on the last row or column has no weight beyond it, so the value read there does not matter.
        row, column = xp.where(row < height, row, row - 1), xp.where(column < width, column, column - 1)
        index = (indices(batch, like=features)[:, None, None] * height + row) * width + column
        return xp.reshape(xp.take(cells, xp.reshape(index, (-1,)), axis=0), (batch, rows, columns, channels))

    def mix(first: Array, second: Array, share: Array) -> Array:
        rest = 1.0 - xp.astype(share, double)
        return xp.astype(rest * xp.astype(first, double) + xp.astype(share * second, double), features.dtype)

    column, row = xp.astype(left, xp.int64), xp.astype(top, xp.int64)
    upper = mix(at(row, column), at(row, column + 1), rightwards)
    lower = mix(at(row + 1, column), at(row + 1, column + 1), rightwards)
    return xp.where(inside[:, :, :, None], mix(upper, lower, downwards), 0.0)


def transform_landmarks(landmarks: Array, transform: Array) -> Array:
    """Return points (N, K, 2) moved by matrices (N, 4, 4). MediaPipe: TransformLandmarks."""
    xp = namespace(landmarks)
    x, y = landmarks[:, :, 0], landmarks[:, :, 1]
    entry = transform[:, :, :, None]
    return xp.stack(
        [
            entry[:, 0, 0, :] * x + entry[:, 0, 1, :] * y + entry[:, 0, 3, :],
            entry[:, 1, 0, :] * x + entry[:, 1, 1, :] * y + entry[:, 1, 3, :],
        ],
        axis=2,
    )


def _mean_depth(mesh: Array, contour: Sequence[int]) -> Array:
    xp = namespace(mesh)
    depth = xp.astype(xp.take(mesh[:, :, 2], constant(contour, like=mesh), axis=1), xp.float64)
    return xp.astype(divide(sum_in_order(depth), len(contour)), mesh.dtype)[:, None]


def _source_of_point() -> list[int]:
    """Return the index of each of the 478 points in the concatenation of mesh and refinements."""
    vertices = (*range(MESH_POINTS), *LIPS, *RIGHT_EYE, *LEFT_EYE, *range(MESH_POINTS, MESH_POINTS + 2 * IRIS_POINTS))
    last = {vertex: position for position, vertex in enumerate(vertices)}
    return [last[vertex] for vertex in range(MESH_POINTS + 2 * IRIS_POINTS)]


# Index of each of the 478 points in the concatenation of mesh and refinements.
SOURCE_OF_POINT = tuple(_source_of_point())
