"""Pythons of this machine, and environments with the wheel for each of them, made by uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Resolution = Literal["newest", "lowest"]


class StepError(Exception):
    """A command failed; the message holds the command and the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and a cache of its own, so that nothing of an earlier run serves a later one.

    Attributes:
        folder: Holds the environment, the cache, and what commands write.
        resolution: Which of the versions that pyproject admits are installed.
    """

    folder: Path
    resolution: Resolution

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "venv" / "bin" / "python"

    def create(self, interpreter: Path) -> None:
        """Make it anew.

        Raises:
            StepError: uv cannot make it.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        run_step([find_uv(), "venv", "--quiet", "--python", str(interpreter), str(self.folder / "venv")], self.folder)

    def install(self, *requirements: str) -> None:
        """Install requirements without constraints; what is installed already stays.

        Raises:
            StepError: The resolver or a build fails.
        """
        mode = "lowest-direct" if self.resolution == "lowest" else "highest"
        command = [find_uv(), "pip", "install", "--quiet", "--python", str(self.python), "--resolution", mode]
        run_step([*command, *requirements], self.folder)

    def phoenix_ray(self, *words: str) -> str:
        """Run the installed command and return what it prints.

        Raises:
            StepError: It ends with a code other than 0.
        """
        return run_step([str(self.python.with_name("phoenix-ray")), *words], self.folder, self._variables())

    def refuse(self, *words: str) -> str:
        """Run a command that must end with the code of a usage error and return what it prints.

        Raises:
            StepError: It ends otherwise.
        """
        return run_step([str(self.python.with_name("phoenix-ray")), *words], self.folder, self._variables(), wanted=2)

    def run_script(self, script: Path, *words: str) -> str:
        """Run a Python file with the environment's interpreter and return what it prints."""
        return run_step([str(self.python), str(script), *words], self.folder, self._variables())

    def _variables(self) -> dict[str, str]:
        # Nothing of the checkout may serve in the place of the wheel; weights and the demo's frames are made afresh.
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PHOENIX_RAY_MODELS")}
        return kept | {"XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONNOUSERSITE": "1"}


def run_step(command: list[str], folder: Path, variables: dict[str, str] | None = None, wanted: int = 0) -> str:
    """Run a command in a folder and return its standard output and error.

    Raises:
        StepError: Its exit code is not `wanted`, or it takes more than fifteen minutes.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepError(f"{shown}\n{error}") from None
    if done.returncode != wanted:
        raise StepError(f"{shown}\nended with {done.returncode}, not {wanted}:\n{done.stdout[-4000:]}")
    return done.stdout


def find_uv() -> str:
    """Return the path of uv, which `make setup` installs.

    Raises:
        StepError: There is none.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise StepError("uv is missing: pip install uv")
    return found


def find_python(version: str) -> Path | None:
    """Return an interpreter of a version ("3.12"): from PATH, pyenv, or uv, which may download it; None without one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    name = f"python{version}"
    candidates = [shutil.which(name), *sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"), reverse=True)]
    for candidate in candidates:
        # A shim of pyenv exists for each version that is installed, and refuses those that are not chosen.
        if candidate is not None and _reports(Path(candidate), version):
            return Path(candidate)
    install = [find_uv(), "python", "install", "--quiet", version]
    find = [find_uv(), "python", "find", version]
    for command in (find, install, find):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and (path := done.stdout.strip()) and _reports(Path(path), version):
            return Path(path)
    return None


def _reports(interpreter: Path, version: str) -> bool:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(interpreter), "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version
