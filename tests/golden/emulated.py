"""The few golden frames on an emulated processor without AVX-512, from the first instruction to the last.

    make portability

Switches of single libraries (`tests/models/test_portability.py`) do not reach LiteRT, which has none; under emulation
all of them see another processor. A frame takes about 10 s. QEMU's user mode is a package of the system.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.golden.fingerprint import EXPECTED

ROOT = Path(__file__).parents[2]
EMULATOR = "qemu-x86_64"
# AVX2 and FMA, as all processors for servers have had since 2013 (Intel) and 2015 (AMD).
PROCESSOR = "Haswell"


def main() -> int:
    """Compare and return the exit code: 0 if all fingerprints agree."""
    if shutil.which(EMULATOR) is None:
        print(f"There is no {EMULATOR} here. Install QEMU's user mode: apt install qemu-user")
        return 2
    wrong = 0
    for face_points in ("468", "478"):
        program = [sys.executable, "-m", "tests.golden.fingerprint", "litert", face_points, "few"]
        command = [EMULATOR, "-cpu", PROCESSOR, *program]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = done.stdout.strip() or f"failed with exit code {done.returncode}"
        expected = EXPECTED["few", face_points]
        outcome = "as expected" if found == expected else f"({expected} expected)"
        wrong += found != expected
        print(f"litert, {face_points} face points, on an emulated {PROCESSOR}: {found} {outcome}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
