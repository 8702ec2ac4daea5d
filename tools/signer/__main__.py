"""Makes the demo's videos and the benchmark's clips: `python -m tools.signer STEP [CLIP …]`.

Steps: `bodies` (once), `skins`, `render` (a second or more for each frame) and `pack`; README.md says what they write.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from tools.signer.cast import SIGNERS, Clip, all_clips
from tools.signer.figure import MESH_FILE, REFERENCE, Figure
from tools.signer.motion import make_poses


def make_skins(folder: Path) -> None:
    """Write the texture of each signer."""
    from tools.signer.skin import Painter

    painter = Painter(Figure(folder / f"{REFERENCE}.npz"))
    for signer in SIGNERS.values():
        cv2.imwrite(str(folder / f"{signer.name}.png"), painter.paint(signer.palette)[..., ::-1])


def render_clip(folder: Path, clip: Clip, samples: int, only: list[int] | None) -> None:
    """Write the frames of one clip as PNG, and its true points as truth.npz, both in `folder`/clip name."""
    from tools.signer.studio import Studio

    figure, reference = (Figure(folder / f"{body}.npz") for body in (clip.signer.body, REFERENCE))
    studio = Studio(clip.signer, figure, reference, folder / f"{clip.signer.name}.png", folder / MESH_FILE, samples)
    frames = make_poses(figure, clip.signs, clip.seed, clip.pace, clip.blur)
    pictures = folder / clip.name
    pictures.mkdir(exist_ok=True)
    seen, hidden, names = [], [], []
    for number, moments in enumerate(frames):
        if only and number not in only:
            continue
        began = time.monotonic()
        light = []
        for moment, pose in enumerate(moments):
            points, vertices = studio.pose(pose)
            if moment == len(moments) // 2:
                names = list(points)
                pixels, behind = studio.see(points, vertices)
                seen.append(pixels)
                hidden.append(behind)
            file = pictures / f"{number:04}.png"
            studio.render(file)
            light.append((cv2.imread(str(file)) / 255.0) ** 2.2)
        if len(light) > 1:
            cv2.imwrite(str(file), np.rint(np.mean(light, axis=0) ** (1 / 2.2) * 255).astype(np.uint8))
        print(f"{clip.name} {number + 1}/{len(frames)}: {time.monotonic() - began:.1f} s", flush=True)
    np.savez_compressed(pictures / "truth.npz", names=np.array(names), points=np.stack(seen), hidden=np.stack(hidden))


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["bodies", "skins", "render", "pack"])
    parser.add_argument("clips", nargs="*", help="names of clips to render; none: all that have no truth.npz yet")
    parser.add_argument("--folder", type=Path, default=Path("build/signer"), help="where everything is made")
    parser.add_argument("--samples", type=int, default=8, help="rays for each pixel")
    parser.add_argument("--only", type=lambda text: [int(number) for number in text.split(",")], help="frames, for a try")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.step == "bodies":
        from tools.signer.bodies import save_bodies

        save_bodies(options.folder)
    elif options.step == "skins":
        make_skins(options.folder)
    elif options.step == "render":
        for clip in all_clips():
            wanted = clip.name in options.clips if options.clips else not (options.folder / clip.name / "truth.npz").exists()
            if wanted:
                render_clip(options.folder, clip, options.samples, options.only)
    else:
        from tools.signer.pack import pack

        pack(options.folder)


if __name__ == "__main__":
    main()
