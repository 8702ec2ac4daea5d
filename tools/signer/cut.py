"""Cuts clips from three longer videos that the first version of these scripts rendered, of the reference body.

`figure_a.mp4`, `figure_b.mp4` and `figure_c.mp4` (640x480) and their `.truth.json` are not in this repository; what was
cut from them is. `cut_clips` writes what `render` writes for a clip, so that `pack` takes both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from tools.signer.cast import TRUTH
from tools.signer.motion import Sign

FRAMES = 25
# The part of a picture that has the shape of the demo's frames.
CROP_WIDTH, HEIGHT = 388, 480
MIDDLE = 126
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Cut:
    """25 frames of a video.

    Attributes:
        name, signer_name, split, condition: As those of a `cast.Clip`.
        source: The video's name.
        first: Its first frame.
        signs: What the hands do in it.
        left: The first column of the picture that is kept.
        whole: Keep the whole width, with wall above: the figure is then half as large.
    """

    name: str
    signer_name: str
    source: str
    first: int
    signs: tuple[Sign, ...]
    split: str = ""
    condition: str = ""
    left: int = MIDDLE
    whole: bool = False


def both(shape: str, place: str) -> Sign:
    """Return a sign in which both hands do the same."""
    return Sign((shape, place), (shape, place))


CUTS = (
    Cut("signer01-a", "Signer01", "figure_a", 18,
        (both("fist", "low"), Sign(("claw", "chest"), ("flat hand", "face"))), "train"),
    Cut("signer01-b", "Signer01", "figure_a", 54,
        (both("flat hand", "chest"), Sign(("round fingers", "inward"), ("thumb and little finger", "front"))), "train"),
    Cut("signer01-c", "Signer01", "figure_a", 90,
        (both("claw", "inward"), Sign(("round fingers", "inward"), ("round fingers", "low"))), "dev"),
    Cut("signer02-a", "Signer02", "figure_b", 0,
        (Sign(("claw", "low"), ("flat hand", "chin")), Sign(("fist", "high"), ("fist", "front"))), "train"),
    Cut("signer02-b", "Signer02", "figure_b", 36,
        (Sign(("round fingers", "low"), ("thumb and little finger", "front")),
         Sign(("index", "front"), ("round fingers", "chin"))), "train"),
    Cut("signer02-c", "Signer02", "figure_b", 72,
        (Sign(("thumb and little finger", "side"), ("open hand", "chest")),
         Sign(("thumb", "face"), ("two fingers", "face"))), "test", left=100),
    Cut("signer03-a", "Signer03", "figure_c", 18,
        (both("index", "low"), Sign(("two fingers", "face"), ("two fingers", "high"))), "train"),
    Cut("signer03-b", "Signer03", "figure_c", 54,
        (both("two fingers", "inward"), Sign(("claw", "low"), ("claw", "side"))), "test"),
    Cut("leaving", "Signer01", "figure_a", 0,
        (Sign(("round hand", "side"), ("thumb", "chin")), both("fist", "low")), condition="a hand leaves the picture"),
    Cut("small", "Signer02", "figure_b", 12,
        (Sign(("claw", "low"), ("flat hand", "chin")), Sign(("fist", "high"), ("fist", "front"))),
        condition="small hands", whole=True),
)  # fmt: skip


def cut_clips(videos: Path, folder: Path) -> None:
    """Write the frames of each cut as PNG, and its true points as truth.npz, both in `folder`/clip name.

    Args:
        videos: Folder with the three videos and their truth.
        folder: Where the clips go.
    """
    for cut in CUTS:
        clip = folder / cut.name
        clip.mkdir(exist_ok=True)
        with av.open(str(videos / f"{cut.source}.mp4")) as container:
            pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        for number, picture in enumerate(pictures[cut.first : cut.first + FRAMES]):
            if cut.whole:
                wall = picture.shape[1] * HEIGHT // CROP_WIDTH - HEIGHT
                picture = cv2.copyMakeBorder(picture, wall, 0, 0, 0, cv2.BORDER_REPLICATE)
            else:
                picture = picture[:, cut.left : cut.left + CROP_WIDTH]
            cv2.imwrite(str(clip / f"{number:04}.png"), picture)
        truth = json.loads((videos / f"{cut.source}.truth.json").read_text())["frames"]
        frames = [truth[str(number)] for number in range(cut.first, cut.first + FRAMES)]
        names = sorted(frames[0])
        points = np.array([[frame[name] for name in names] for frame in frames])
        points[..., 1 if cut.whole else 0] += wall if cut.whole else -cut.left
        np.savez_compressed(
            clip / TRUTH,
            names=np.array(names),
            points=points,
            hidden=np.full(points.shape[:2], UNKNOWN, np.int8),
            width=np.array(picture.shape[1]),
        )
