"""The wheel: building it, what it requires, and which versions that admits of those that the registry has."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.matrix.environments import StepError, find_uv, run_step

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def build_wheel(folder: Path) -> Path:
    """Build the package's wheel from the checkout into a fresh folder and return it.

    Raises:
        StepError: The build fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run_step([find_uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], folder)
    return next(folder.glob("*.whl"))


def requirements(wheel: Path, python: str | None = None, extras: Iterable[str] | None = None) -> Iterator[Requirement]:
    """Yield what a wheel requires.

    Args:
        wheel: The file.
        python: Leave out what is not required on this Python ("3.12").
        extras: Leave out what none of these extras requires either; None means all of them.
    """
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    chosen = ["", *(metadata.get_all("Provides-Extra", []) if extras is None else extras)]
    pythons = PYTHONS if python is None else (python,)
    environments = [{"python_version": version, "extra": extra} for version in pythons for extra in chosen]
    for requirement in map(Requirement, metadata.get_all("Requires-Dist", [])):
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
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
