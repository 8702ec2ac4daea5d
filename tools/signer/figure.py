"""One body: poses its skeleton, bends the mesh with it, and knows where its joints are.

World coordinates are metres: x to the figure's left, y to its back, z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rotations = dict[str, Array]

# Skin, hair and clothes are placed on the rest pose of this body, and follow the mesh to the others.
REFERENCE = "reference"
# MakeHuman's mesh, which names the groups of faces: the body, and helpers for clothes, lashes, teeth, …
MESH_FILE = "base.obj"
SIDES = {"L": "left", "R": "right"}
# The bones of a hand: finger 1 is the thumb; joint 1 is nearest to the wrist.
FINGERS = (1, 2, 3, 4, 5)
JOINTS = (1, 2, 3)
# The pose points that are joints, and the bones that begin there.
POSE_BONES = {"shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "hip": "upperleg01", "eye": "eye"}
# Vertices of the mesh at MediaPipe's face points: nose tip, chin, upper and lower lip, between the eyes, forehead.
FACE_VERTICES = {"1": 294, "152": 5296, "13": 520, "14": 523, "168": 132, "10": 983}
# How much of the forearm's turn its lower half takes, and of the upper arm's turn its upper half.
FOREARM_SHARE, UPPER_ARM_SHARE = 0.65, 0.5


def unit(vector: Array) -> Array:
    """Return a vector of length 1."""
    return np.asarray(vector / np.linalg.norm(vector))


def rotation(axis: Array, degrees: float) -> Array:
    """Return the matrix that turns about an axis (Rodrigues)."""
    x, y, z = unit(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def axes(first: Array, second: Array) -> Array:
    """Return orthonormal columns: along `first`, then along what of `second` is perpendicular to it."""
    a = unit(first)
    b = unit(second - a * (second @ a))
    return np.stack([a, b, np.cross(a, b)], axis=1)


def swing(start: Array, end: Array) -> Array:
    """Return the smallest rotation that takes one direction to another."""
    normal = np.cross(unit(start), unit(end))
    sine = float(np.linalg.norm(normal))
    if sine < 1e-9:
        return np.eye(3)
    return rotation(normal, float(np.degrees(np.arctan2(sine, unit(start) @ unit(end)))))


def twist(turn: Array, axis: Array) -> float:
    """Return by how many degrees a rotation turns about an axis."""
    sine = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) @ unit(axis)
    return float(np.degrees(2 * np.arctan2(sine, 1 + np.trace(turn))))


class Figure:
    """A body that `bodies` saved.

    Attributes:
        rest: Vertices at rest, (vertices, 3).
        weights: Share of each bone in each vertex, (vertices, bones).
        faces: Vertices of each quad of the body, (faces, 4).
        uv, face_uv: Texture coordinates, (n, 2), and those of each quad, (faces, 4).
    """

    def __init__(self, file: Path) -> None:
        saved = np.load(file)
        self.rest: Array = saved["vertices"].astype(float)
        self.weights: Array = saved["weights"].astype(float)
        self.faces: NDArray[np.int64] = saved["faces"]
        self.uv: Array = saved["uv"]
        self.face_uv: NDArray[np.int64] = saved["face_uv"]
        self.bones: list[str] = saved["bones"].tolist()
        self._index = {name: index for index, name in enumerate(self.bones)}
        self._actions = dict(zip(saved["action_names"].tolist(), saved["actions"].astype(float), strict=True))
        self._parents: list[int] = saved["parents"].tolist()
        self._heads: Array = saved["heads"].astype(float)
        self._tails: Array = saved["tails"].astype(float)
        self._order = sorted(range(len(self.bones)), key=self._depth)

    def _depth(self, bone: int) -> int:
        return 0 if self._parents[bone] < 0 else 1 + self._depth(self._parents[bone])

    def head(self, bone: str) -> Array:
        """Return where a bone begins at rest."""
        return np.asarray(self._heads[self._index[bone]])

    def tail(self, bone: str) -> Array:
        """Return where a bone ends at rest."""
        return np.asarray(self._tails[self._index[bone]])

    @property
    def neck(self) -> Array:
        """The middle of the shoulders at rest."""
        return np.asarray((self.head("upperarm01.L") + self.head("upperarm01.R")) / 2)

    @property
    def arm_length(self) -> float:
        """From shoulder to wrist, metres."""
        shoulder, elbow, wrist = (self.head(f"{bone}.L") for bone in ("upperarm01", "lowerarm01", "wrist"))
        return float(np.linalg.norm(elbow - shoulder) + np.linalg.norm(wrist - elbow))

    def bone_share(self, *prefixes: str) -> Array:
        """Return how much of each vertex follows the bones whose names begin so, (vertices,)."""
        chosen = [index for index, name in enumerate(self.bones) if name.startswith(prefixes)]
        return np.asarray(self.weights[:, chosen].sum(axis=1))

    def transforms(self, local: Mapping[str, Array]) -> Array:
        """Return what takes rest positions to posed ones for each bone, (bones, 3, 4).

        Args:
            local: Rotations by bone in the axes of the rest pose, relative to the parent bone.
        """
        all_bones = np.zeros((len(self.bones), 3, 4))
        for bone in self._order:
            turn = local.get(self.bones[bone], np.eye(3))
            shift = self._heads[bone] - turn @ self._heads[bone]
            if (parent := self._parents[bone]) >= 0:
                above = all_bones[parent]
                turn, shift = above[:, :3] @ turn, above[:, :3] @ shift + above[:, 3]
            all_bones[bone] = np.hstack([turn, shift[:, None]])
        return all_bones

    def transform_of(self, transforms: Array, bone: str) -> Array:
        """Return one bone's transform, (3, 4)."""
        return np.asarray(transforms[self._index[bone]])

    def vertices(self, transforms: Array, actions: Mapping[str, float]) -> Array:
        """Return the posed vertices, (vertices, 3), with the face shaped by `actions`."""
        shaped = self.rest.copy()
        for action, amount in actions.items():
            shaped += amount * self._actions[action]
        points = np.hstack([shaped, np.ones((len(shaped), 1))])
        return np.asarray(np.einsum("vb,bij,vj->vi", self.weights, transforms, points, optimize=True))

    def joints(self, transforms: Array) -> dict[str, Array]:
        """Return the true joints by name: "pose/left_wrist", "left_hand/8", … (MediaPipe's numbers of hand points)."""

        def posed(point: Array, bone: str) -> Array:
            transform = self.transform_of(transforms, bone)
            return np.asarray(transform[:, :3] @ point + transform[:, 3])

        found = {}
        for side, word in SIDES.items():
            for joint, prefix in POSE_BONES.items():
                found[f"pose/{word}_{joint}"] = posed(self.head(f"{prefix}.{side}"), f"{prefix}.{side}")
            hand = [posed(self.head(f"wrist.{side}"), f"wrist.{side}")]
            for finger in FINGERS:
                bones = [f"finger{finger}-{joint}.{side}" for joint in JOINTS]
                hand += [posed(self.head(bone), bone) for bone in bones] + [posed(self.tail(bones[-1]), bones[-1])]
            found |= {f"{word}_hand/{number}": point for number, point in enumerate(hand)}
        return found

    def hand_directions(self, side: str) -> tuple[Array, Array]:
        """Return unit vectors of a hand at rest: from the wrist to the middle knuckle, and out of the palm."""
        wrist = self.head(f"wrist.{side}")
        index, middle, little = (self.head(f"finger{finger}-1.{side}") for finger in (2, 3, 5))
        along = unit(middle - wrist)
        normal = np.cross(index - wrist, little - wrist) * (-1 if side == "L" else 1)
        return along, unit(normal - along * (normal @ along))

    def reach(self, local: Rotations, side: str, wrist: Array, fingers: Array, palm: Array, elbow: Array) -> None:
        """Bend one arm so that its hand is at a place; adds to `local`, which holds the torso's rotations.

        Args:
            local: Rotations by bone.
            side: "L" or "R".
            wrist: Where the wrist goes; as near as the arm reaches.
            fingers: Direction of the stretched fingers.
            palm: Direction out of the palm.
            elbow: Direction to which the elbow points.
        """
        above = self.transform_of(self.transforms(local), f"shoulder01.{side}")
        shoulder0, elbow0, wrist0 = (self.head(f"{bone}.{side}") for bone in ("upperarm01", "lowerarm01", "wrist"))
        upper0, lower0 = elbow0 - shoulder0, wrist0 - elbow0
        a, b = float(np.linalg.norm(upper0)), float(np.linalg.norm(lower0))
        shoulder = above[:, :3] @ shoulder0 + above[:, 3]
        distance = float(np.clip(np.linalg.norm(wrist - shoulder), abs(a - b) + 1e-3, (a + b) * 0.995))
        ahead = unit(wrist - shoulder)
        outward = unit(elbow - ahead * (elbow @ ahead))
        along = (a * a + distance * distance - b * b) / (2 * distance)
        upper = ahead * along + outward * np.sqrt(max(a * a - along * along, 0.0))
        lower = ahead * distance - upper
        bend0, bend = np.cross(upper0, lower0), np.cross(upper, lower)
        upper_turn = axes(upper, bend) @ axes(upper0, bend0).T
        lower_turn = axes(lower, bend) @ axes(lower0, bend0).T
        hand_turn = axes(fingers, palm) @ axes(*self.hand_directions(side)).T
        # A forearm turns along its length, not at the elbow alone; so does the upper arm.
        half = swing(upper0, upper)
        chain = {
            "upperarm01": half @ rotation(upper0, UPPER_ARM_SHARE * twist(half.T @ upper_turn, upper0)),
            "upperarm02": upper_turn,
            "lowerarm01": lower_turn,
            "lowerarm02": lower_turn @ rotation(lower0, FOREARM_SHARE * twist(lower_turn.T @ hand_turn, lower0)),
            "wrist": hand_turn,
        }
        before = above[:, :3]
        for bone, turn in chain.items():
            local[f"{bone}.{side}"] = before.T @ turn
            before = turn

    def bend_fingers(self, local: Rotations, side: str, shape: Array) -> None:
        """Set the fingers of a hand; adds to `local`.

        Args:
            local: Rotations by bone.
            side: "L" or "R".
            shape: Degrees, (11,): the thumb across and bent; knuckle and outer joints of index, middle, ring and
                little finger; how far the fingers are spread.
        """
        _, palm = self.hand_directions(side)
        sign = 1.0 if side == "L" else -1.0
        to_little = unit(self.head(f"finger5-1.{side}") - self.head(f"finger2-1.{side}"))
        thumb = unit(self.tail(f"finger1-3.{side}") - self.head(f"finger1-1.{side}"))
        local[f"finger1-1.{side}"] = rotation(np.cross(thumb, unit(to_little * 0.55 + palm)), shape[0])
        for joint, share in ((2, 0.6), (3, 1.0)):
            local[f"finger1-{joint}.{side}"] = rotation(np.cross(thumb, to_little), shape[1] * share)
        for number, finger in enumerate(FINGERS[1:]):
            knuckle, outer = shape[2 + 2 * number], shape[3 + 2 * number]
            for joint, degrees in zip(JOINTS, (knuckle, outer, 0.65 * outer), strict=True):
                bone = f"finger{finger}-{joint}.{side}"
                along = unit(self.tail(bone) - self.head(bone))
                local[bone] = rotation(np.cross(along, palm), degrees)
            first = f"finger{finger}-1.{side}"
            local[first] = rotation(palm, sign * (1.5 - number) * shape[10]) @ local[first]
