"""Draws docs/images/modes.png: a wrist of the rendered signer, static and tracked. Needs the extra [plots].

Run it from the root of the repository: `python tools/plot_modes.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from phoenix_ray.estimation import first_state  # noqa: E402
from phoenix_ray.model_settings import ModelSettings  # noqa: E402 - from this checkout
from phoenix_ray.models import registry  # noqa: E402
from phoenix_ray.models.base import TrackingModel  # noqa: E402
from tests.golden import read_signer  # noqa: E402

RIGHT_WRIST, HEIGHT = 16, 260
CURVES = {
    "static": ModelSettings(),
    "tracking, not smoothed": ModelSettings(mode="tracking", smooth_landmarks=False),
    "tracking, smoothed": ModelSettings(mode="tracking"),
}


def wrist(settings: ModelSettings, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the height of the wrist in pixels from the top, float32 (frames,); NaN where there is no pose."""
    model = registry.create(settings)
    if not isinstance(model, TrackingModel):
        pose = model.estimate(frames).points["pose"]
        return np.asarray(pose[:, RIGHT_WRIST, 1] * HEIGHT, np.float32)
    state = first_state(model)[np.newaxis]
    heights = []
    for frame in frames:
        batch, state = model.track([frame], state)
        heights.append(batch.points["pose"][0, RIGHT_WRIST, 1] * HEIGHT)
    return np.array(heights, np.float32)


def main() -> None:
    """Compute the curves and write the picture."""
    frames = read_signer()
    figure, axes = pyplot.subplots(figsize=(8, 3.4), layout="constrained")
    for (name, settings), style in zip(CURVES.items(), ("o-", "-", "-"), strict=True):
        axes.plot(wrist(settings, frames), style, label=name, markersize=3, linewidth=1.4)
    axes.invert_yaxis()
    axes.set(xlabel="frame", ylabel="right wrist, px from the top", title="One wrist of the rendered signer, 210 x 260")
    axes.axvspan(23.5, 28.5, color="0.9", label="black frames")
    axes.legend(loc="lower left", fontsize=8)
    figure.savefig(ROOT / "docs" / "images" / "modes.png", dpi=110)


if __name__ == "__main__":
    main()
