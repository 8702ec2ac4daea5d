"""Movements that look like signing and are none: each hand goes from place to place, in one hand shape after another.

A clip is a list of `Sign`s. `make_poses` turns it into one pose per frame; `gloss` and `translate` say in words what
the hands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tools.signer.figure import Array, Figure, Rotations, rotation, unit

# Degrees, as `Figure.bend_fingers` takes them: thumb across and bent; (knuckle, outer joints) of index, middle, ring
# and little finger; spread.
SHAPES: dict[str, tuple[float, ...]] = {
    "flat hand": (5, 5, 5, 6, 5, 6, 5, 6, 5, 6, 1),
    "open hand": (-8, 0, 0, 4, 0, 4, 0, 4, 0, 4, 9),
    "fist": (38, 38, 78, 88, 80, 92, 80, 92, 78, 88, 0),
    "index": (38, 36, 4, 6, 78, 90, 80, 92, 78, 90, 0),
    "two fingers": (40, 36, 2, 5, 2, 5, 78, 92, 76, 90, 10),
    "round hand": (18, 14, 38, 34, 38, 34, 38, 34, 38, 34, 3),
    "round fingers": (34, 22, 52, 46, 54, 46, 54, 46, 54, 46, 0),
    "thumb": (-18, -6, 76, 90, 78, 92, 78, 92, 76, 90, 0),
    "thumb and little finger": (-16, 0, 74, 88, 76, 92, 76, 92, 4, 6, 6),
    "pinch": (30, 20, 50, 40, 10, 12, 8, 10, 5, 8, 6),
    "claw": (4, 22, 12, 48, 12, 48, 12, 48, 12, 48, 8),
    "relaxed hand": (6, 10, 20, 22, 24, 24, 26, 26, 28, 28, 3),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a left hand is; a right hand is its mirror image.

    Attributes:
        wrist: Metres from the middle of the shoulders, for an arm of `ARM_LENGTH`.
        fingers: Direction of the stretched fingers.
        palm: Direction out of the palm.
        words: As a translation says it.
    """

    wrist: tuple[float, float, float]
    fingers: tuple[float, float, float]
    palm: tuple[float, float, float]
    words: str


ARM_LENGTH = 0.522
PLACES = {
    "chest": Place((0.15, -0.32, -0.20), (-0.40, -0.40, 0.80), (-0.45, 0.75, 0.05), "at the chest"),
    "front": Place((0.17, -0.40, -0.16), (0.05, -0.35, 0.95), (-0.15, -0.95, -0.30), "in front"),
    "face": Place((0.19, -0.28, -0.04), (-0.15, -0.25, 0.95), (-0.25, -0.90, -0.20), "beside the face"),
    "side": Place((0.205, -0.32, -0.12), (0.10, -0.35, 0.92), (-0.35, -0.90, -0.20), "at the side"),
    "low": Place((0.15, -0.36, -0.26), (-0.15, -0.75, 0.55), (-0.55, 0.05, 0.75), "low"),
    "inward": Place((0.15, -0.38, -0.18), (-0.12, -0.50, 0.85), (-0.95, 0.05, -0.35), "with the palm inward"),
    "chin": Place((0.18, -0.27, -0.03), (-0.35, -0.15, 0.90), (-0.55, -0.75, -0.05), "at the chin"),
    "high": Place((0.20, -0.34, -0.08), (0.00, -0.20, 1.00), (-0.55, -0.80, -0.10), "high"),
    "waist": Place((0.12, -0.31, -0.29), (-0.75, -0.35, 0.50), (-0.30, 0.90, 0.15), "at the waist"),
    # For the benchmark of accuracy: difficult to find.
    "across": Place((-0.07, -0.30, -0.17), (-0.55, -0.25, 0.80), (-0.35, 0.85, 0.20), "across the body"),
    "before": Place((0.08, -0.30, 0.05), (-0.25, -0.10, 0.95), (-0.20, 0.95, 0.10), "before the face"),
}
EASY_SHAPES = tuple(name for name in SHAPES if name not in ("relaxed hand", "round fingers"))
EASY_PLACES = ("chest", "front", "face", "side", "low", "inward", "chin", "high")
# The hand that does nothing waits here.
REST = ("relaxed hand", "waist")


@dataclass(frozen=True, slots=True)
class Sign:
    """What both hands do at one time: (shape, place) of each."""

    right: tuple[str, str]
    left: tuple[str, str] = REST


@dataclass(frozen=True, slots=True)
class Pace:
    """Frames that a sign is held, and frames that the hands take to the next."""

    hold: int = 5
    move: int = 8


@dataclass(frozen=True, slots=True)
class Pose:
    """One moment: bone rotations for `Figure.transforms`, and how much of each shape of the face."""

    local: Rotations = field(default_factory=dict)
    actions: dict[str, float] = field(default_factory=dict)


def random_signs(seed: int, count: int) -> list[Sign]:
    """Return signs in which both hands are in the picture; half of them two-handed, with both hands alike."""
    rng = np.random.default_rng(seed)
    signs: list[Sign] = []
    while len(signs) < count:
        shape, place = str(rng.choice(EASY_SHAPES)), str(rng.choice(EASY_PLACES))
        if signs and (shape == signs[-1].right[0] or place == signs[-1].right[1]):
            continue
        kind = rng.random()
        if kind < 0.5:
            signs.append(Sign((shape, place), (shape, place)))
        elif kind < 0.8:
            signs.append(Sign((shape, place)))
        else:
            signs.append(Sign((shape, place), (str(rng.choice(EASY_SHAPES)), str(rng.choice(EASY_PLACES[:2])))))
    return signs


def gloss(signs: Sequence[Sign]) -> str:
    """Return upper-case words like "BOTH FLAT-HAND CHEST RIGHT INDEX CHIN"."""

    def name(hand: tuple[str, str]) -> str:
        return f"{hand[0].replace(' ', '-')} {hand[1]}".upper()

    words = []
    for sign in signs:
        if sign.left == sign.right:
            words.append(f"BOTH {name(sign.right)}")
        else:
            words.append(f"RIGHT {name(sign.right)}" + (f" LEFT {name(sign.left)}" if sign.left != REST else ""))
    return " ".join(words)


def translate(signs: Sequence[Sign]) -> str:
    """Return the same as a sentence: "both hands flat hand at the chest, then …"."""

    def words(hand: tuple[str, str]) -> str:
        return f"{hand[0]} {PLACES[hand[1]].words}"

    parts = []
    for sign in signs:
        if sign.left == sign.right:
            parts.append(f"both: {words(sign.right)}")
        else:
            parts.append(f"right: {words(sign.right)}" + (f", left: {words(sign.left)}" if sign.left != REST else ""))
    return "; ".join(parts)


def make_poses(figure: Figure, signs: Sequence[Sign], seed: int, pace: Pace, steps: int = 1) -> list[list[Pose]]:
    """Return for each frame `steps` poses, evenly through the half frame in which a shutter is open.

    The middle one is the moment of the frame. The hands also tremble a little, and the body sways, nods and blinks.
    """
    rng = np.random.default_rng(seed)
    frames = pace.hold * len(signs) + pace.move * (len(signs) - 1)
    tracks = {side: _keys(rng, [_hand(sign, side) for sign in signs]) for side in "LR"}
    drift = {side: _wander(rng, frames, 0.005, 7) for side in "LR"}
    nod, sway, face = _wander(rng, frames, 4.0, 16), _wander(rng, frames, 1.5, 25), _wander(rng, frames, 0.45, 8)
    blink = float(rng.uniform(0.2, 0.8) * frames)
    shutter = (np.arange(steps) - (steps - 1) / 2) / steps * 0.5

    def pose(time: float) -> Pose:
        step, since = divmod(time, pace.hold + pace.move)
        now = min(int(step), len(signs) - 1)
        after = min(now + 1, len(signs) - 1)
        done = float(_ease(np.clip((since - pace.hold) / pace.move, 0, 1)))
        local = _torso(_at(nod, time), _at(sway, time))
        for side, sign in (("L", 1.0), ("R", -1.0)):
            key = tracks[side][now] * (1 - done) + tracks[side][after] * done
            # Hands go forward and outward on their way, not through the body.
            detour = 4 * done * (1 - done) * np.array([0.02, -0.04, 0.0])
            scale = figure.arm_length / ARM_LENGTH
            mirror = np.array([sign, 1.0, 1.0])
            wrist = figure.neck + scale * (key[:3] + detour + _at(drift[side], time)) * mirror
            raised = float(np.clip((key[2] + 0.21) / 0.25, 0, 1))
            local[f"clavicle.{side}"] = rotation(np.array([0.0, 1.0, 0.0]), -sign * 4 * raised)
            elbow = np.array([0.55 * sign, 0.35, -1.0])
            figure.reach(local, side, wrist, unit(key[3:6]) * mirror, unit(key[6:9]) * mirror, elbow)
            figure.bend_fingers(local, side, key[9:])
        return Pose(local, _expression(np.abs(_at(face, time)), abs(time - blink)))

    return [[pose(float(np.clip(frame + offset, 0, frames - 1))) for offset in shutter] for frame in range(frames)]


def _hand(sign: Sign, side: str) -> tuple[str, str]:
    return sign.left if side == "L" else sign.right


def _keys(rng: np.random.Generator, hands: Sequence[tuple[str, str]]) -> Array:
    """Return one row for each sign: wrist, fingers' and palm's direction, hand shape; (signs, 20)."""
    rows = []
    for shape, name in hands:
        place = PLACES[name]
        wrist = np.array(place.wrist) + rng.normal(size=3) * [0.012, 0.015, 0.015]
        rows.append(np.concatenate([wrist, place.fingers, place.palm, SHAPES[shape]]))
    return np.array(rows)


def _torso(nod: Array, sway: Array) -> Rotations:
    x, y, z = np.eye(3)
    local = {"spine02": rotation(z, sway[0] * 2) @ rotation(y, sway[1] * 0.6)}
    for bone, share in (("neck01", 0.3), ("neck03", 0.3), ("head", 0.4)):
        local[bone] = (
            rotation(z, nod[0] * 1.6 * share) @ rotation(x, nod[1] * share) @ rotation(y, nod[2] * 0.6 * share)
        )
    return local


def _expression(mood: Array, from_blink: float) -> dict[str, float]:
    smile, closed = float(0.15 + min(0.4, mood[2])), float(np.clip(1.2 - from_blink / 2.5, 0, 1))
    return {
        "jawOpen": float(np.clip(mood[0] * 0.4 - 0.08, 0, 0.14)),
        "mouthPucker": float(min(0.4, 0.7 * mood[1])),
        "mouthSmileLeft": smile,
        "mouthSmileRight": smile,
        "browInnerUp": float(min(0.2, mood[1] / 3)),
        "eyeBlinkLeft": closed,
        "eyeBlinkRight": closed,
    }


def _ease(time: Array) -> Array:
    """Minimum jerk from 0 to 1."""
    return np.asarray(time**3 * (10 - 15 * time + 6 * time * time))


def _wander(rng: np.random.Generator, frames: int, scale: float, every: int) -> tuple[Array, int]:
    """Return the knots of a slow random walk around 0, one in `every` frames."""
    return rng.normal(size=(frames // every + 3, 3)) * scale, every


def _at(walk: tuple[Array, int], time: float) -> Array:
    """Return where a walk is, (3,)."""
    knots, every = walk
    knot = int(time / every)
    done = float(_ease(np.asarray(time / every - knot)))
    return np.asarray(knots[knot] * (1 - done) + knots[knot + 1] * done)
