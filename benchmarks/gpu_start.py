"""Starts the benchmark of a GPU from its package: python3 run.py OUT [OPTION]...

`benchmarks.gpu_pack` packs this file as `run.py`. It needs Python alone: the package holds what is missing on a machine
with torch, Triton, NumPy, OpenCV, click, rich, pillow and flatbuffers. Results are written to the folder OUT;
options are those of `benchmarks.gpu`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# Modules that the package expects on the machine, with the distributions that bring them.
EXPECTED = {
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "click": "click",
    "rich": "rich",
    "PIL": "pillow",
    "flatbuffers": "flatbuffers",
}


def environment(package: Path) -> dict[str, str]:
    """Return the environment variables with which Python finds the package's modules before those of the machine."""
    paths = [str(package / "site"), str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def objection(package: Path) -> str:
    """Return why the benchmark cannot run with this Python, empty if it can."""
    from importlib.util import find_spec

    wanted = json.loads((package / "package.json").read_text(encoding="utf-8"))["python"]
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running != wanted:
        return f"This package was made for Python {wanted}, and this is {running}: pack again with --python {running}."
    if missing := [name for module, name in EXPECTED.items() if find_spec(module) is None]:
        return f"{sys.executable} lacks {', '.join(missing)}, which this package expects on the machine."
    return ""


def main() -> int:
    """Run the benchmark with the package's weights, pictures and landmarks; return its exit code."""
    package = Path(__file__).resolve().parent
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    if reason := objection(package):
        print(f"Error: {reason}", file=sys.stderr)
        return 2
    made = json.loads((package / "package.json").read_text(encoding="utf-8"))
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--out", str(Path(sys.argv[1]).resolve())),
        *("--weights", str(package / "weights"), "--frames", str(package / "pictures")),
        *("--references", str(package / "references"), "--commit", made["commit"]),
    ]
    for case in made["cases"] if "--case" not in sys.argv else ():
        command += ["--case", case]
    return subprocess.run([*command, *sys.argv[2:]], env=environment(package), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
