"""Makes the demo's videos and the benchmark's clips: `python -m tools.signer STEP [CLIP …]`.

Steps: `bodies`, `skins`, `render` (seconds for each frame), `cut` and `pack`; README.md says what they write.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tools.signer.cast import SIGNERS, TRUTH, Clip, all_clips
from tools.signer.figure import MESH_FILE, REFERENCE, Figure
from tools.signer.motion import Pose, make_poses
from tools.signer.pack import pack, read_frame

if TYPE_CHECKING:
    from tools.signer.studio import Studio

# Of a picture's brightness, about that of sRGB.
GAMMA = 2.2


def make_skins(folder: Path) -> None:
    """Write the texture of each signer."""
    from tools.signer.skin import Painter

    painter = Painter(Figure(folder / f"{REFERENCE}.npz"))
    for signer in SIGNERS.values():
        cv2.imwrite(str(folder / f"{signer.name}.png"), painter.paint(signer.palette)[..., ::-1])


def render_clip(folder: Path, clip: Clip, samples: int, only: list[int] | None) -> None:
    """Write the frames of one clip as PNG, and its true points as truth.npz, both in `folder`/clip name.

    Frames that are there are kept, so that rendering can be stopped and goes on; truth.npz says that all are there.
    """
    from tools.signer.studio import WIDTH, Studio

    figure, reference = (Figure(folder / f"{body}.npz") for body in (clip.signer.body, REFERENCE))
    studio = Studio(clip.signer, figure, reference, folder / f"{clip.signer.name}.png", folder / MESH_FILE, samples)
    frames = make_poses(figure, clip.signs, clip.seed, clip.pace, clip.blur)
    pictures = folder / clip.name
    pictures.mkdir(exist_ok=True)
    seen, hidden, names = [], [], []
    for number, moments in enumerate(frames):
        points, vertices = studio.pose(moments[len(moments) // 2])
        pixels, behind = studio.see(points, vertices)
        names = list(points)
        seen.append(pixels)
        hidden.append(behind)
        file = pictures / f"{number:04}.png"
        if file.exists() or (only and number not in only):
            continue
        began = time.monotonic()
        _render_frame(studio, file, moments)
        print(f"{clip.name} {number + 1}/{len(frames)}: {time.monotonic() - began:.1f} s", flush=True)
    if all((pictures / f"{number:04}.png").exists() for number in range(len(frames))):
        np.savez_compressed(
            pictures / TRUTH,
            names=np.array(names),
            points=np.stack(seen),
            hidden=np.stack(hidden),
            width=np.array(WIDTH),
        )


def _render_frame(studio: Studio, file: Path, moments: list[Pose]) -> None:
    """Write one frame: the mean, in linear light, of the moments while the shutter is open."""
    light = []
    for pose in moments:
        studio.pose(pose)
        # The ending stays .png, which Blender and OpenCV go by.
        scratch = file.with_name(f"new-{file.name}")
        studio.render(scratch)
        light.append((read_frame(scratch) / 255.0) ** GAMMA)
    cv2.imwrite(str(scratch), np.rint(np.mean(light, axis=0) ** (1 / GAMMA) * 255).astype(np.uint8))
    scratch.replace(file)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["bodies", "skins", "render", "cut", "pack"])
    parser.add_argument("clips", nargs="*", help="names of clips to render; none: all that are not complete")
    parser.add_argument("--folder", type=Path, default=Path("build/signer"), help="where everything is made")
    parser.add_argument("--videos", type=Path, help="folder of figure_a.mp4 and its like, for `cut`")
    parser.add_argument("--samples", type=int, default=3, help="rays for each pixel")
    parser.add_argument(
        "--only", type=lambda text: [int(number) for number in text.split(",")], help="frames, for a try"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.step == "bodies":
        from tools.signer.bodies import save_bodies

        save_bodies(options.folder)
    elif options.step == "skins":
        make_skins(options.folder)
    elif options.step == "render":
        for clip in all_clips():
            if clip.name in options.clips or not (options.clips or (options.folder / clip.name / TRUTH).exists()):
                render_clip(options.folder, clip, options.samples, options.only)
    elif options.step == "cut":
        from tools.signer.cut import cut_clips

        cut_clips(options.videos, options.folder)
    else:
        pack(options.folder)


if __name__ == "__main__":
    main()
