from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_configs_and_types_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {f"phoenix_ray/configs/{file.name}" for file in (ROOT / "configs").glob("*.yaml")} <= names
    assert "phoenix_ray/py.typed" in names
    assert "phoenix-ray = phoenix_ray.cli:main" in entry_points


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"phoenix_ray"}
    assert wheel.stat().st_size < 1_000_000, "weights or samples slipped in"


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


def test_opencv_is_the_one_whose_crops_equal_mediapipes() -> None:
    """4.14 rounds some pixels of a warp differently, which moves landmarks."""
    import cv2

    version = tuple(int(number) for number in cv2.__version__.split(".")[:2])
    assert (4, 10) <= version < (4, 14)


@pytest.mark.parametrize(
    "module", ["phoenix_ray.sources.catalog", "phoenix_ray.dataset.reader", "phoenix_ray.models.registry"]
)
def test_layers_below_the_cluster_know_no_ray(module: str) -> None:
    program = f"import sys, {module}; print([name for name in ('ray', 'torch', 'mediapipe') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
