"""Who is seen and how: signers with clothes, hair, light, wall and camera, and the clips that they play in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tools.signer.motion import Pace, Sign, random_signs
from tools.signer.skin import Palette

# The file beside a clip's frames that holds its true points.
TRUTH = "truth.npz"
# Linear RGB, 0 to 1, as Blender takes it.
Linear = tuple[float, float, float]
HairStyle = Literal["knot", "bob", "short", "cropped"]


@dataclass(frozen=True, slots=True)
class Outfit:
    """A knitted top.

    Attributes:
        stripes: Colour of every other stripe; None: no stripes.
        sleeve: Where sleeves end along the forearm: 0 at the elbow, 1 at the wrist.
        neckline: Metres from the throat to the collar.
    """

    colour: Linear
    stripes: Linear | None = None
    sleeve: float = 0.7
    neckline: float = 0.108


@dataclass(frozen=True, slots=True)
class Panel:
    """A rectangle on the wall, metres from its middle: a window, a picture, a door."""

    left: float
    right: float
    bottom: float
    top: float
    colour: Linear


@dataclass(frozen=True, slots=True)
class Room:
    """The room: the wall's colours from the bottom to the top, what is on it, and the lights.

    Attributes:
        key, fill, rim: Power of the lights, watts; the key light comes from the signer's right.
        warmth: From -1 (blue) to 1 (orange).
    """

    bottom: Linear
    top: Linear
    panels: tuple[Panel, ...] = ()
    key: float = 54
    fill: float = 26
    rim: float = 14
    ambient: float = 0.28
    warmth: float = 0.0


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        half_height: Metres: half of what the picture's height shows of the plane in which the hands move.
        height: Metres of the picture's middle above the middle of the shoulders.
        distance: Metres from the hands.
        yaw, pitch: Degrees that the camera goes around the figure, to the signer's left, and up.
    """

    half_height: float = 0.43
    height: float = -0.03
    distance: float = 3.0
    yaw: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True, slots=True)
class Signer:
    """One figure in its surroundings; `body` is a name in `bodies.PHENOTYPES`, `iris` a linear colour."""

    name: str
    body: str
    palette: Palette
    hair: HairStyle
    outfit: Outfit
    room: Room
    camera: Camera = field(default_factory=Camera)
    iris: Linear = (0.16, 0.09, 0.045)


@dataclass(frozen=True, slots=True)
class Clip:
    """One video.

    Attributes:
        split: Of the demo; "" for a clip that only the benchmark of accuracy has.
        condition: What makes it difficult; "" if nothing does.
        blur: Moments that are averaged into a frame, through half of its duration; 1: a frame is one moment.
    """

    name: str
    signer: Signer
    signs: tuple[Sign, ...]
    seed: int
    split: str = ""
    condition: str = ""
    pace: Pace = field(default_factory=Pace)
    blur: int = 1

    @property
    def signer_name(self) -> str:
        """As the annotation has it."""
        return self.signer.name


SIGNERS = {
    signer.name: signer
    for signer in (
        Signer(
            "Signer01", "reference", Palette(), "knot",
            Outfit((0.010, 0.014, 0.030)),
            Room((0.30, 0.34, 0.39), (0.42, 0.48, 0.55)),
        ),
        Signer(
            "Signer04", "broad",
            Palette(
                skin=(112, 72, 50), palm=(168, 122, 98), lips=(112, 62, 56), nails=(180, 138, 120), blush=(108, 58, 42),
                brows=(22, 16, 14), hair=(24, 18, 16), stubble=0.35, grain=0.8,
            ),
            "cropped",
            Outfit((0.52, 0.26, 0.035), sleeve=0.8, neckline=0.098),
            Room((0.52, 0.46, 0.39), (0.66, 0.61, 0.54), warmth=0.3, key=70, fill=36, rim=22),
            Camera(yaw=6),
            iris=(0.06, 0.03, 0.015),
        ),
        Signer(
            "Signer05", "older",
            Palette(
                skin=(226, 182, 160), palm=(230, 182, 164), lips=(184, 108, 104), nails=(236, 198, 186),
                blush=(214, 128, 114), brows=(132, 122, 114), hair=(150, 144, 138), grain=1.15,
            ),
            "knot",
            Outfit((0.24, 0.018, 0.035), sleeve=0.85, neckline=0.100),
            Room((0.13, 0.26, 0.27), (0.22, 0.38, 0.39), key=50, fill=28),
            Camera(yaw=-7),
            iris=(0.10, 0.16, 0.22),
        ),
        Signer(
            "Signer06", "slim",
            Palette(
                skin=(222, 176, 140), palm=(226, 182, 152), lips=(182, 112, 100), nails=(232, 196, 178),
                blush=(206, 134, 110), brows=(34, 27, 26), hair=(26, 22, 22), stubble=0.12,
            ),
            "short",
            Outfit((0.62, 0.62, 0.60), stripes=(0.035, 0.075, 0.20), sleeve=0.75, neckline=0.100),
            Room((0.06, 0.08, 0.12), (0.13, 0.16, 0.22), key=58, fill=24, rim=34),
            Camera(yaw=9, pitch=-3),
            iris=(0.05, 0.028, 0.016),
        ),
        Signer(
            "Signer07", "young",
            Palette(
                skin=(164, 112, 82), palm=(196, 146, 120), lips=(146, 74, 72), nails=(206, 160, 142),
                blush=(158, 84, 66), brows=(30, 21, 18), hair=(30, 21, 18),
            ),
            "bob",
            Outfit((0.012, 0.16, 0.10), sleeve=0.65, neckline=0.112),
            Room(
                (0.60, 0.58, 0.55), (0.74, 0.73, 0.71),
                panels=(Panel(-0.62, -0.27, -0.02, 1.2, (0.86, 0.93, 1.00)),),
                key=48, fill=30, warmth=-0.1,
            ),
            Camera(half_height=0.42, yaw=-4, pitch=2),
            iris=(0.07, 0.04, 0.02),
        ),
    )
}  # fmt: skip


def demo_clips() -> Iterable[Clip]:
    """Yield the demo's videos that are rendered; `cut` has the others. Both hands are in every frame."""
    pace = Pace(hold=6, move=9)
    for number, seed, split in ((4, 21, "dev"), (5, 31, "train"), (6, 41, "test"), (7, 51, "train")):
        signer = SIGNERS[f"Signer{number:02}"]
        yield Clip(f"signer{number:02}-a", signer, tuple(random_signs(seed, 2)), seed, split, pace=pace)


def hard_clips() -> Iterable[Clip]:
    """Yield clips that only the benchmark of accuracy has, one for each thing that makes a hand hard to find."""
    low = ("fist", "low")
    crossing = (
        Sign(("flat hand", "chest"), ("flat hand", "chest")),
        Sign(("open hand", "across"), ("flat hand", "across")),
        Sign(("index", "front"), ("index", "front")),
    )
    before = (
        Sign(("open hand", "chest"), low),
        Sign(("open hand", "before"), low),
        Sign(("two fingers", "before"), low),
    )
    for name, signer, signs, seed, condition, pace, blur in (
        ("crossing", "Signer01", crossing, 101, "hands cross", Pace(2, 4), 1),
        ("before-the-face", "Signer04", before, 102, "a hand before the face", Pace(4, 6), 1),
        ("blur", "Signer07", tuple(random_signs(104, 4)), 104, "fast hands, blurred", Pace(2, 4), 3),
    ):
        yield Clip(name, SIGNERS[signer], signs, seed, "", condition, pace, blur)


def all_clips() -> list[Clip]:
    """Return the demo's clips and the hard ones."""
    return [*demo_clips(), *hard_clips()]
