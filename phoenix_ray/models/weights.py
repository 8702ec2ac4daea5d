"""The networks' weights on this machine: the folder in which they lie, whether they are whole, and their installation.

`weight_files` lists the files; their bytes are checked against it whenever a model is created. `holistic.entry` calls
`ensure_installed` for what a run's settings need; the command line calls `install_weights` and `check_weights`.

Any number of processes may install into a shared folder at once: each writes the same bytes under a temporary name and
renames them, so a file under its final name is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.weight_files import WEIGHTS, WeightFile
from phoenix_ray.models.weight_sources import Announce, fetch, take

FOLDER_VARIABLE = "PHOENIX_RAY_MODELS"

_OTHER_FOLDER = f"Choose another folder with model.weights_path or ${FOLDER_VARIABLE}."


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


def check_weights(folder: Path, weights: Sequence[WeightFile] | None = None) -> list[WeightStatus]:
    """Read weight files of a folder and compare their sha256, in the order of `WEIGHTS`, which is the default.

    Raises:
        ModelError: A file exists but cannot be read.
    """
    return [_check_file(folder, weight) for weight in (WEIGHTS if weights is None else weights)]


def ensure_installed(settings: ModelSettings | None = None, announce: Announce = print) -> Path:
    """Return the folder of checked weights, and install first what is missing.

    Args:
        settings: The model that will run, by default Holistic; `weights_path` is the folder (`weights_folder`).
        announce: Receives a line for each download.

    Raises:
        ModelError: A file is damaged (only `install_weights` replaces it), or the installation failed.
    """
    settings = settings or ModelSettings()
    folder = weights_folder(settings.weights_path)
    statuses = check_weights(folder, required_weights([settings.complexity]))
    for status in statuses:
        if status.state == "damaged":
            raise ModelError(
                f"{status.path} is damaged: its sha256 is {status.found_sha256}, expected {status.weight.sha256}. "
                "Replace it with `phoenix-ray models install`."
            )
    if any(status.state == "missing" for status in statuses):
        install_weights(folder, complexities=[settings.complexity], announce=announce)
    return folder


def required_weights(complexities: Sequence[int] = ()) -> list[WeightFile]:
    """Return the files of MediaPipe's wheel, and those of pose networks of some complexities that it lacks."""
    return [weight for weight in WEIGHTS if not weight.url or weight.complexity in complexities]


def install_weights(
    folder: Path, sources: Sequence[str] = (), complexities: Sequence[int] = (), announce: Announce = print
) -> Path:
    """Put weight files that are missing or damaged into a folder and return the folder.

    Args:
        folder: The folder, created if it does not exist; nodes that install at the same time may share it.
        sources: Where to take files from, as `weight_sources.take` understands it; all that they hold is installed.
            Without any, `weight_sources.fetch` brings what must be there.
        complexities: Pose networks that must be there beside the wheel's, which has complexity 1.
        announce: Receives a line for each source.

    Raises:
        ModelError: A file could not be fetched, is another than expected or is still missing; or the folder cannot be
            written.
    """
    statuses = check_weights(folder)
    absent = [status.weight for status in statuses if status.state != "ok"]
    damaged = {status.weight for status in statuses if status.state == "damaged"}
    required = [weight for weight in absent if weight in damaged or weight in required_weights(complexities)]
    with tempfile.TemporaryDirectory(prefix="phoenix-ray-") as scratch:
        if absent and sources:
            for source in sources:
                _write(folder, absent, take(source, WEIGHTS, Path(scratch), announce))
        elif required:
            _write(folder, absent, fetch(required, Path(scratch), announce))
    if missing := [status.path.name for status in check_weights(folder, required) if status.state != "ok"]:
        raise ModelError(
            f"{folder} still lacks {', '.join(missing)}: give another source (--from may be repeated), or fetch them "
            "with `phoenix-ray models install`."
        )
    return folder


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


def _write(folder: Path, absent: Sequence[WeightFile], contents: Mapping[WeightFile, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for weight in absent:
            if weight in contents:
                write_whole(folder / weight.file_name, contents[weight])
    except OSError as error:
        raise ModelError(f"The weights cannot be written to {folder}: {error}. {_OTHER_FOLDER}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under its name once it is whole; raise OSError if it cannot be written."""
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
