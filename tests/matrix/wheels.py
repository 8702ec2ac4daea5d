"""The wheel: building it, what it requires, and which versions that admits of those that the registry has."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.matrix.environments import StepError, find_uv, run_step

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build the package's wheel from the checkout into a fresh folder and return it.

    Raises:
        StepError: The build fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run_step([find_uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], folder)
    return next(folder.glob("*.whl"))


def requirements(wheel: Path, python: str | None = None) -> Iterator[Requirement]:
    """Yield what a wheel requires, that of its extras included.

    Args:
        wheel: The file.
        python: Leave out what is not required on this Python ("3.12").
    """
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    extras = ["", *metadata.get_all("Provides-Extra", [])]
    environments = [{"python_version": python or "", "extra": extra} for extra in extras]
    for requirement in map(Requirement, metadata.get_all("Requires-Dist", [])):
        marker = requirement.marker
        if python is None or marker is None or any(map(marker.evaluate, environments)):
            yield requirement


def admitted_versions(wheel: Path, library: str, python: str, interpreter: Path) -> list[str]:
    """Return the versions of a library, oldest first, that the wheel admits and the registry has for a Python.

    Raises:
        StepError: The library is not a dependency, or pip cannot list its versions.
    """
    found = next((one for one in requirements(wheel, python) if one.name == library), None)
    if found is None:
        raise StepError(f"{library} is not a dependency of {wheel.name} on Python {python}.")
    command = [str(interpreter), "-m", "pip", "index", "versions", library, "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    listed = next((line for line in done.stdout.splitlines() if line.startswith("Available versions:")), None)
    if listed is None:
        raise StepError(f"pip cannot list the versions of {library}: {done.stderr[-500:]}")
    versions = (Version(text.strip()) for text in listed.partition(":")[2].split(","))
    return [str(version) for version in sorted(versions) if version in found.specifier]
