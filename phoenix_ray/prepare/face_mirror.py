"""Which face point lies on the other side of the face: read by `point_sets`.

MediaPipe's canonical face model (`mediapipe/modules/face_geometry/data/canonical_face_model.obj`) is symmetric about
x = 0 to the last digit: for each of its 468 vertices (x, y, z) there is exactly one at (-x, y, z), and the mirror image
of each of its 898 triangles is one of its triangles. 28 vertices lie on the middle. The others are numbered so that the
first half, in order, are the mirror images of the second half.
"""

FACE_POINTS = 468
FACE_MIDDLE = (
    *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 94, 151, 152, 164, 168, 175, 195, 197, 199, 200),
)
# The attention model's irises: the centre, then what in the image is right, up, left and down of it. The signer's left
# iris (473..477) changes places with the right one (468..472), and right and left of the image do.
IRIS_MIRROR = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)


def _mirror_face() -> tuple[int, ...]:
    sides = [point for point in range(FACE_POINTS) if point not in FACE_MIDDLE]
    half = len(sides) // 2
    other = dict(zip(sides, sides[half:] + sides[:half], strict=True))
    return tuple(other.get(point, point) for point in range(FACE_POINTS))


# The counterpart of each point of the face, 468 or 478 with irises.
FACE_MIRROR = (*_mirror_face(), *IRIS_MIRROR)
