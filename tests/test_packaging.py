from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from phoenix_ray.viewer.server import PAGE_FILES
from tests.matrix.wheels import PYTHONS, requirements

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_configs_and_data_and_types_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {f"phoenix_ray/configs/{file.name}" for file in (ROOT / "configs").glob("*.yaml")} <= names
    demo = ROOT / "phoenix_ray" / "sources" / "demo_videos"
    assert {str(file.relative_to(ROOT)) for file in demo.rglob("*") if file.is_file()} <= names
    assert {"phoenix_ray/py.typed", "phoenix_ray/exports/face_triangles.txt"} <= names
    assert {f"phoenix_ray/viewer/page/{name}" for name in PAGE_FILES} <= names
    assert "phoenix-ray = phoenix_ray.cli:main" in entry_points


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"phoenix_ray"}
    assert wheel.stat().st_size < 1_300_000, "weights or other samples than the demo slipped in"


def test_an_installed_wheel_finds_its_configs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import phoenix_ray.config_files as config; from pathlib import Path\n"
        "assert config.__file__.startswith(sys.argv[1]), config.__file__\n"
        "print(config.load(config.find_config(Path('phoenix'))).source.kind)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "phoenix"


def test_every_requirement_ends_below_a_version_that_nobody_ran(wheel: Path) -> None:
    for requirement in requirements(wheel):
        operators = {bound.operator for bound in requirement.specifier}
        assert operators in ({">=", "<"}, {"=="}), str(requirement)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pinned_environment_is_one_that_the_wheel_admits(wheel: Path, python: str) -> None:
    pinned = {pin.name.lower(): pin for pin in pins(python)}
    for requirement in requirements(wheel, python):
        # The one comes with every environment, the other has an environment of its own.
        if (name := requirement.name.lower()) in ("pip", "mediapipe"):
            continue
        assert name in pinned, f"constraints.txt lacks {requirement.name} on Python {python}"
        (pin,) = pinned[name].specifier
        assert pin.version in requirement.specifier, f"{pinned[name]} is not {requirement}"


def pins(python: str) -> Iterator[Requirement]:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                yield pin


def make_setup(folder: Path, python: Path, **variables: str) -> str:
    """Run `make setup` for an environment that cannot be made, and return what it says."""
    # What `make test` was called with must not reach this make.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES")}
    command = ["make", "setup", f"VENV={folder / 'venv'}", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert not (folder / "venv" / ".installed").exists()
    return done.stderr


def test_setup_with_a_python_that_is_absent_or_too_old_says_how_to_name_another(tmp_path: Path) -> None:
    old = tmp_path / "python2.7"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 2.7.18\nexit 1\n')
    old.chmod(0o755)
    for python, reason in ((tmp_path / "absent", "There is no"), (old, "Python 2.7.18")):
        said = make_setup(tmp_path, python)
        assert reason in said
        assert "make setup PYTHON=python3.12" in said


@pytest.mark.slow
def test_setup_without_a_network_says_how_to_do_without(tmp_path: Path) -> None:
    empty = tmp_path / "wheels"
    empty.mkdir()
    said = make_setup(tmp_path, Path(sys.executable), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(empty))
    assert re.search("PIP_INDEX_URL.*PIP_NO_INDEX=1 and PIP_FIND_LINKS", said)


def test_opencv_is_the_one_whose_crops_equal_mediapipes() -> None:
    """4.14 rounds some pixels of a warp differently, which moves landmarks."""
    import cv2

    version = tuple(int(number) for number in cv2.__version__.split(".")[:2])
    assert (4, 10) <= version < (4, 14)


@pytest.mark.parametrize(
    "module", ["phoenix_ray.sources.registry", "phoenix_ray.dataset.reader", "phoenix_ray.models.registry"]
)
def test_layers_below_the_cluster_know_no_ray(module: str) -> None:
    program = f"import sys, {module}; print([name for name in ('ray', 'torch', 'mediapipe') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
