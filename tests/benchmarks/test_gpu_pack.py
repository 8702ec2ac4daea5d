from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import gpu_pack, gpu_start
from benchmarks.gpu_cases import CASES, Case
from benchmarks.gpu_frames import GpuFrames, load
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.weight_files import WeightFile
from phoenix_ray.models.weights import WeightStatus

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# Packages that a machine with torch has, with those that they need.
MACHINE = (
    *("torch", "triton", "numpy", "opencv-python-headless", "click", "rich", "pillow", "flatbuffers"),
    *("filelock", "fsspec", "jinja2", "markdown-it-py", "markupsafe", "mdurl", "mpmath", "networkx", "pygments"),
    *("setuptools", "sympy", "typing-extensions"),
)
# Refuses every other package, such as Ray, MediaPipe, PyAV and what the package must bring itself.
HOOK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {permitted!r} and top not in sys.stdlib_module_names and not top.startswith("_sysconfig"):
            raise ModuleNotFoundError(name + " is not on this machine", name=name)

sys.meta_path.insert(0, Refuse())
sys.path[:0] = {first!r}
sys.path.append({last!r})
import benchmarks.gpu, benchmarks.gpu_probe, benchmarks.gpu_parity, benchmarks.gpu_speed, benchmarks.gpu_profile
import benchmarks.gpu_chains, ai_edge_litert, pydantic, platformdirs
for module in (benchmarks, ai_edge_litert, pydantic, platformdirs):
    print(module.__file__)
benchmarks.gpu.main(["--help"], standalone_mode=False)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels for this Python, made of the packages that are installed."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in gpu_pack.WHEELS:
        found = distribution(name)
        tags = (found.read_text("WHEEL") or "").split("Tag: ")[1].split()[0]
        file = folder / f"{name.replace('-', '_')}-{found.version}-{tags}.whl"
        with zipfile.ZipFile(file, "w") as wheel:
            for member in found.files or ():
                if ".." not in member.parts and "__pycache__" not in member.parts:
                    wheel.write(str(found.locate_file(member)), str(member))
    return folder


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights that are a few bytes each, and an engine that finds nothing in no time."""
    folder = tmp_path / "stand-in weights"
    folder.mkdir()
    for case in CASES:
        for weight in case.weights():
            (folder / weight.file_name).write_bytes(weight.name.encode() * 1000)

    def check(where: Path, some: list[WeightFile]) -> list[WeightStatus]:
        return [
            WeightStatus(weight, path, "ok" if path.exists() else "missing", None)
            for weight in some
            for path in [where / weight.file_name]
        ]

    def find(case: Case, weights: Path, frames: GpuFrames) -> LandmarkBatch:
        import numpy as np

        points = np.full((len(frames.pictures), 33, 4), len(case.name), np.float32)
        return LandmarkBatch({"pose": points}, {})

    monkeypatch.setattr(gpu_pack, "check_weights", check)
    monkeypatch.setattr(gpu_pack, "cpu_landmarks", find)
    monkeypatch.setattr(GpuFrames, "digest", "of the frames")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for video in ("a", "b"):
        (folder / video).mkdir(parents=True)
        for number in range(3):
            (folder / video / f"{number}.png").write_bytes(f"{video}{number}".encode() * 500)
    return folder


def pack(out: Path, pictures: Path, weights: Path, wheels: Path, *options: str) -> Result:
    given = ["--pictures", str(pictures), "--weights", str(weights), "--wheels", str(wheels), "--python", PYTHON]
    return CliRunner().invoke(gpu_pack.main, [str(out), *given, *options])


def test_a_package_holds_all_that_is_missing_on_the_machine(
    tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path
) -> None:
    result = pack(tmp_path / "out", pictures, stand_ins, wheels, "--most-pictures", "4")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    for name in (
        *("run.py", "LICENSE", "phoenix_ray/models/holistic/pipeline.py", "benchmarks/gpu.py", "benchmarks/bars.yaml"),
        *("site/pydantic/__init__.py", "site/platformdirs/__init__.py", "site/array_api_compat/__init__.py"),
        *("site/ai_edge_litert/schema_py_generated.py", "site/ai_edge_litert/LICENSE"),
        *("weights/hand_recrop.tflite", "weights/pose_landmark_heavy.tflite"),
    ):
        assert (out / name).is_file(), name
    assert not (out / "site" / "ai_edge_litert" / "interpreter.py").exists()
    assert not [path for path in out.rglob("*") if path.name in ("__pycache__", ".git") or path.suffix == ".mp4"]
    frames = load(sorted((out / "pictures").rglob("*.png")))
    assert [len(video) for video in frames.videos] == [2, 2]
    assert frames.pictures[2] == b"b0" * 500
    assert sorted(path.stem for path in (out / "references").iterdir()) == sorted(case.name for case in CASES)
    made = json.loads((out / "package.json").read_text(encoding="utf-8"))
    assert made["python"] == PYTHON
    assert made["cases"] == [case.name for case in CASES]
    assert "MB  4 pictures\n" in result.output
    assert float(result.output.splitlines()[-1].split()[0]) < gpu_pack.MOST_MB


def test_an_archive_holds_the_same(tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path) -> None:
    result = pack(tmp_path / "gpu.tar.gz", pictures, stand_ins, wheels, "--case", "static-468")
    assert result.exit_code == 0, result.output
    with tarfile.open(tmp_path / "gpu.tar.gz") as archive:
        names = archive.getnames()
    assert {"gpu/run.py", "gpu/references/static-468.npz", "gpu/pictures/001/2.png"} <= set(names)
    size = (tmp_path / "gpu.tar.gz").stat().st_size
    in_all = float(result.output.splitlines()[-2].split()[0])
    assert in_all == pytest.approx(size / 1e6, rel=0.1)


def test_what_does_not_fit_is_left_out_and_listed(
    tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path
) -> None:
    (stand_ins / "pose_landmark_heavy.tflite").write_bytes(bytes(60_000_000))
    result = pack(tmp_path / "out", pictures, stand_ins, wheels)
    assert result.exit_code == 0, result.output
    assert "60.00 MB  static-468-heavy: weights (left out: does not fit)" in result.output
    assert "static-468-heavy" not in (tmp_path / "out" / "package.json").read_text(encoding="utf-8")
    (stand_ins / "pose_detection.tflite").write_bytes(bytes(60_000_000))
    result = pack(tmp_path / "other", pictures, stand_ins, wheels)
    assert result.exit_code == 6
    assert "static-468 does not fit: take fewer pictures (--most-pictures)." in result.output
    assert not (tmp_path / "other").exists()


def test_nothing_is_overwritten_and_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path
) -> None:
    file = tmp_path / "earlier.tar.gz"
    file.write_text("of an earlier measurement")
    (tmp_path / "folder.tar.gz").mkdir()
    for out in (file, tmp_path / "folder.tar.gz", pictures, file / "below", file / "below.tar.gz"):
        result = pack(out, pictures, stand_ins, wheels)
        assert result.exit_code == 6, result.output
        assert str(out) in result.output
    assert file.read_text() == "of an earlier measurement"


def test_what_is_missing_is_named(tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path) -> None:
    (stand_ins / "hand_recrop.tflite").unlink()
    result = pack(tmp_path / "out", pictures, stand_ins, wheels)
    assert result.exit_code == 5
    assert "hand_recrop.tflite is missing: run `phoenix-ray models install`" in result.output
    assert pack(tmp_path / "out", stand_ins, stand_ins, wheels).exit_code == 4
    (tmp_path / "empty").mkdir()
    result = pack(tmp_path / "out", pictures, stand_ins, tmp_path / "empty")
    assert result.exit_code == 6
    assert f"for Python {PYTHON}" in result.output
    assert "--wheels" in result.output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "is not an empty folder" in pack(tmp_path / "full", pictures, stand_ins, wheels).output


@pytest.mark.slow
def test_it_starts_on_a_machine_that_has_little(tmp_path: Path, pictures: Path, stand_ins: Path, wheels: Path) -> None:
    """Python sees the standard library, the package, and what such a machine has."""
    pytest.importorskip("torch")
    assert pack(tmp_path / "out", pictures, stand_ins, wheels, "--case", "static-468").exit_code == 0
    out = tmp_path / "out"
    permitted = {path.name.partition(".")[0] for path in [*out.iterdir(), *(out / "site").iterdir()]}
    for name in MACHINE:
        permitted |= {member.parts[0].partition(".")[0] for member in distribution(name).files or ()}
    code = HOOK.format(
        permitted=permitted, first=[str(out / "site"), str(out)], last=str(distribution("torch").locate_file(""))
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env={}
    )
    assert done.returncode == 0, done.stderr
    assert [line.startswith(str(out)) for line in done.stdout.splitlines()[:4]] == [True] * 4


def test_the_entry_gives_the_package_to_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *, env: dict[str, str], check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        assert env["PYTHONPATH"].split(":")[:2] == [str(tmp_path / "site"), str(tmp_path)]
        return subprocess.CompletedProcess(command, 3)

    (tmp_path / "package.json").write_text(
        json.dumps({"python": PYTHON, "commit": "abc", "cases": ["static-468", "static-478"]}), encoding="utf-8"
    )
    monkeypatch.setattr(gpu_start, "__file__", str(tmp_path / "run.py"))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path / "results"), "--device", "cpu"])
    assert gpu_start.main() == 3
    (command,) = asked
    assert command[1:3] == ["-m", "benchmarks.gpu"]
    given = dict(zip(command[3::2], command[4::2], strict=True))
    assert given["--weights"] == str(tmp_path / "weights")
    assert given["--out"] == str(tmp_path / "results")
    assert given["--commit"] == "abc"
    assert given["--device"] == "cpu"
    assert command.count("--case") == 2


def test_the_entry_names_what_the_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_start, "__file__", str(tmp_path / "run.py"))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert gpu_start.main() == 2
    assert "python3 run.py OUT" in capsys.readouterr().out
    (tmp_path / "package.json").write_text(json.dumps({"python": "3.9"}), encoding="utf-8")
    assert "made for Python 3.9" in gpu_start.objection(tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"python": PYTHON}), encoding="utf-8")
    assert gpu_start.objection(tmp_path) == ""
    monkeypatch.setitem(gpu_start.EXPECTED, "no_such_module", "no-such-package")
    assert "lacks no-such-package" in gpu_start.objection(tmp_path)
