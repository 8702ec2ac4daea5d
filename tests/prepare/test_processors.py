"""What `prepare` writes does not depend on the processor: the same in processes whose libraries use other instructions.

numpy chooses by the processor between loops that may round differently, OpenBLAS between kernels that add in another
order. Both can be made to choose otherwise for a process; what a processor lacks, numpy leaves out with a warning.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROCESSORS = {
    "as it is": {},
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "numpy and OpenBLAS of 2013": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "numpy and OpenBLAS of 2008": {
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
SCRIPT = """
import hashlib
import numpy as np
from phoenix_ray.prepare import *
from tests.prepare.made_up import make_video, prepare

steps = {
    "fill": (FillGaps(),),
    "one euro": (OneEuro(),),
    "savitzky-golay 3": (SavitzkyGolay(3, 1),),
    "savitzky-golay 7": (SavitzkyGolay(7, 2),),
    "savitzky-golay 15": (SavitzkyGolay(15, 4),),
    "rate": (ToFrameRate(29.97),),
    "length": (ToLength(77),),
    "image": (ImageHeights(64 / 45),),
    "shoulders": (ImageHeights(), ShoulderWidth()),
    "shoulders of frames": (ImageHeights(), ShoulderWidth("frame")),
    "boxes": (ImageHeights(), PartBoxes()),
    "wrists": (ImageHeights(), WristCentred()),
    "motion": (ImageHeights(), Mirror(), AddMotion(acceleration=True)),
}
videos = [make_video(frames, {"left_hand": [3, 4, 9]}, seed=frames) for frames in range(20, 60)]
for name, transforms in steps.items():
    digest = hashlib.sha256()
    for video in videos:
        prepared = prepare(video, *transforms)
        placement = prepared.placement()
        for array in (prepared.points, prepared.confidence, prepared.times, placement.scale, placement.origin):
            digest.update(np.nan_to_num(array, nan=1e9).tobytes())
    print(name, digest.hexdigest())
"""


def digests(environment: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.slow
def test_every_step_gives_the_same_bits_on_every_processor() -> None:
    found = {name: digests(environment) for name, environment in PROCESSORS.items()}
    assert len(found["as it is"]) == 13
    for name, theirs in found.items():
        assert theirs == found["as it is"], name
