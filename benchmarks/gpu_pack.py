"""Packs the benchmark of a GPU for a machine with little installed and no network.

    python -m benchmarks.gpu_pack OUT.tar.gz|FOLDER [--pictures FOLDER] [--most-pictures N]

The package holds this code, the Python packages that are missing there, weights, pictures, and the CPU engine's
landmarks of these pictures, which LiteRT computes here. There, `python3 run.py RESULTS` runs `benchmarks.gpu` with
them. What matters most is packed first; what does not fit is listed with its size.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import click

from benchmarks import gpu_start
from benchmarks.gpu_cases import CASES, Case, cases_named, cpu_landmarks, store_landmarks
from benchmarks.gpu_conditions import describe_commit
from benchmarks.gpu_frames import GpuFrames, fair_share, list_pictures, load
from phoenix_ray.errors import ModelError, OutputError, PhoenixRayError, SourceError
from phoenix_ray.models.weights import check_weights, weights_folder

# Distributions that the code needs and a machine with torch may lack.
WHEELS = (
    *("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "platformdirs"),
    "array-api-compat",
)
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
PYTHON = "3.12"
MOST_MB = 60.0
MOST_PICTURES = 512
# The checkout that is packed, its folders, and what in them is not code.
CHECKOUT = Path(__file__).resolve().parents[1]
CODE = ("phoenix_ray", "benchmarks")
NOT_CODE = ("__pycache__", "*.pyc", "*.mp4", "*.npz")


@dataclass(frozen=True, slots=True)
class Item:
    """A part of the package and its bytes, or a part that does not fit."""

    name: str
    size: int
    packed: bool = True


class PackageMaker:
    """Makes a package in a folder.

    Args:
        folder: The folder; it is empty.
        most_bytes: Most bytes of the package.
        is_compressed: Whether bytes are counted as an archive will have them.
    """

    def __init__(self, folder: Path, most_bytes: float, is_compressed: bool) -> None:
        self.folder = folder
        self.items: list[Item] = []
        self._most_bytes = most_bytes
        self._is_compressed = is_compressed
        self._compressed: dict[Path, int] = {}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._weigh(self.folder)

    def _weigh(self, path: Path) -> int:
        """Return the bytes that a file, or all files of a folder, have in the package."""
        if path.is_dir():
            return sum(self._weigh(file) for file in path.rglob("*") if file.is_file())
        if not path.exists():
            return 0
        if not self._is_compressed:
            return path.stat().st_size
        if path not in self._compressed:
            self._compressed[path] = len(zlib.compress(path.read_bytes()))
        return self._compressed[path]

    def add_code(self) -> None:
        """Copy the code, and what starts it."""
        for name in CODE:
            shutil.copytree(CHECKOUT / name, self.folder / name, ignore=shutil.ignore_patterns(*NOT_CODE))
        shutil.copyfile(gpu_start.__file__, self.folder / "run.py")
        shutil.copyfile(CHECKOUT / "LICENSE", self.folder / "LICENSE")
        self.items.append(Item("code", self.size))

    def add_wheels(self, python: str, wheels: Path | None) -> None:
        """Unpack wheels in the versions that are installed here.

        Args:
            python: Version of the Python there, as 3.12.
            wheels: Folder that has them; None downloads them with pip.

        Raises:
            OutputError: One is not available.
        """
        site = self.folder / "site"
        with tempfile.TemporaryDirectory(prefix="phoenix-ray-") as scratch:
            _download(Path(scratch), python, wheels)
            for wheel in sorted(Path(scratch).glob("*.whl")):
                before = self._weigh(site)
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(site)
                self.items.append(Item(f"package {wheel.name}", self._weigh(site) - before))

    def add_schema(self) -> None:
        """Copy LiteRT's description of `.tflite` files, with its licence, into an otherwise empty package.

        Raises:
            ModelError: LiteRT is not installed.
        """
        try:
            litert = distribution("ai-edge-litert")
        except PackageNotFoundError:
            raise ModelError("LiteRT is not installed here: pip install ai-edge-litert, and pack again.") from None
        stub = self.folder / "site" / "ai_edge_litert"
        stub.mkdir(parents=True)
        (stub / "__init__.py").write_text(
            f'"""The description of .tflite files alone, from ai-edge-litert {litert.version}."""\n', encoding="utf-8"
        )
        wanted = ("schema_py_generated.py", "LICENSE")
        for file in litert.files or ():
            if file.name in wanted:
                shutil.copyfile(str(litert.locate_file(file)), stub / file.name)
        if missing := [name for name in wanted if not (stub / name).exists()]:
            raise ModelError(f"ai-edge-litert {litert.version} has no file {' or '.join(missing)}: install another.")
        self.items.append(Item("LiteRT's schema", self._weigh(stub)))

    def add_pictures(self, paths: Sequence[Path]) -> GpuFrames:
        """Copy pictures, in a folder for each video, and return their frames.

        Raises:
            SourceError: A picture cannot be read.
        """
        target = self.folder / "pictures"
        homes = {home: target / f"{number:03}" for number, home in enumerate(dict.fromkeys(p.parent for p in paths))}
        try:
            for path in paths:
                homes[path.parent].mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, homes[path.parent] / path.name)
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be packed: {error.strerror}.") from None
        self.items.append(Item(f"{len(paths)} pictures", self._weigh(target)))
        return load(sorted(path for path in target.rglob("*") if path.is_file()))

    def add_case(self, case: Case, weights: Path, frames: GpuFrames) -> bool:
        """Copy a case's weights and compute the CPU engine's landmarks; return False where they do not fit.

        Raises:
            ModelError: Weights are missing or damaged.
        """
        needed = [weight for weight in case.weights() if not (self.folder / "weights" / weight.file_name).exists()]
        for status in check_weights(weights, needed):
            if status.state != "ok":
                raise ModelError(f"{status.path} is {status.state}: run `phoenix-ray models install`, and pack again.")
        size = sum(self._weigh(weights / weight.file_name) for weight in needed)
        if self.size + size > self._most_bytes:
            self.items.append(Item(f"{case.name}: weights", size, packed=False))
            return False
        found = cpu_landmarks(case, weights, frames)
        target = case.file(self.folder / "references")
        target.parent.mkdir(exist_ok=True)
        store_landmarks(target, frames, found)
        if self.size + size > self._most_bytes:
            self.items.append(Item(f"{case.name}: landmarks", self._weigh(target), packed=False))
            target.unlink()
            return False
        self.items.append(Item(f"{case.name}: landmarks", self._weigh(target)))
        for weight in needed:
            (self.folder / "weights").mkdir(exist_ok=True)
            shutil.copyfile(weights / weight.file_name, self.folder / "weights" / weight.file_name)
            self.items.append(Item(f"{case.name}: {weight.file_name}", self._weigh(weights / weight.file_name)))
        return True

    def finish(self, python: str, cases: Sequence[Case]) -> None:
        """Write the package's description.

        Raises:
            OutputError: The package is too large.
        """
        made = {"python": python, "commit": describe_commit(), "cases": [case.name for case in cases]}
        (self.folder / "package.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        if self.size > self._most_bytes:
            raise OutputError(
                f"The package has {self.size / 1e6:.1f} MB, more than --most-mb {self._most_bytes / 1e6:g}: take fewer "
                "pictures (--most-pictures)."
            )

    def table(self) -> list[str]:
        """Return a line for each part."""
        lines = [
            f"{item.size / 1e6:8.2f} MB  {item.name}{'' if item.packed else ' (left out: does not fit)'}"
            for item in self.items
        ]
        return [*lines, f"{self.size / 1e6:8.2f} MB  in all"]


def _download(folder: Path, python: str, wheels: Path | None) -> None:
    names = [f"{name}=={version(name)}" for name in WHEELS]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    kind = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    done = subprocess.run([*pip, *kind, *platforms, *source, *names], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputError(
            f"pip cannot bring {', '.join(names)} for Python {python}: {done.stderr.strip()[-500:]}. Without a network "
            "give a folder that has these wheels: --wheels."
        )


def pack(
    out: Path,
    pictures: Path | None,
    most_pictures: int,
    weights: Path,
    cases: Sequence[Case],
    python: str,
    wheels: Path | None,
    most_mb: float,
) -> list[str]:
    """Write a package and return its table.

    Args:
        out: A folder that does not exist or is empty, or a file that does not exist and ends in .tar.gz.
        pictures: Folder tree of pictures; None for the samples.
        most_pictures: Most pictures.
        weights: Folder of the `.tflite` files.
        cases: Cases to pack, as far as they fit; the first must.
        python: Version of the Python there.
        wheels: Folder of wheels; None downloads them.
        most_mb: Most megabytes of the package.

    Raises:
        OutputError: `out` exists or cannot be written, a wheel is not available, or the package is too large.
        SourceError: There is no picture, or one cannot be read.
        ModelError: Weights or LiteRT are missing.
    """
    is_archive = out.name.endswith(".tar.gz")
    try:
        # Before anything is computed.
        out.parent.mkdir(parents=True, exist_ok=True)
        is_taken = out.exists() and (is_archive or not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from None
    if is_taken:
        raise OutputError(f"{out} exists{'' if is_archive else ' and is not an empty folder'}: choose another name.")
    with tempfile.TemporaryDirectory(prefix="phoenix-ray-") as scratch:
        maker = PackageMaker(Path(scratch), 1e6 * most_mb, is_archive)
        maker.add_code()
        maker.add_wheels(python, wheels)
        maker.add_schema()
        frames = maker.add_pictures(fair_share(list_pictures(pictures), most_pictures))
        packed = [case for case in cases if maker.add_case(case, weights, frames)]
        if not packed or packed[0] != cases[0]:
            listed = "\n".join(maker.table())
            raise OutputError(f"{cases[0].name} does not fit: take fewer pictures (--most-pictures).\n{listed}")
        maker.finish(python, packed)
        try:
            if is_archive:
                with tarfile.open(out, "x:gz") as archive:
                    archive.add(scratch, arcname=out.name.removesuffix(".tar.gz"))
                return [*maker.table(), f"{out.stat().st_size / 1e6:8.2f} MB  {out}"]
            shutil.copytree(scratch, out, dirs_exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out} cannot be written: {error}.") from None
        return maker.table()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, exists=True),
    help="Folder tree of pictures; pictures of one folder are a video. Default: the samples.",
)
@click.option(
    "--most-pictures",
    type=click.IntRange(min=1),
    default=MOST_PICTURES,
    show_default=True,
    help="Most pictures.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Folder of the .tflite files. Default: the installed.")
@click.option(
    "--case", "cases", multiple=True, type=click.Choice([case.name for case in CASES]), help="Repeatable. Default: all."
)
@click.option("--python", default=PYTHON, show_default=True, help="Version of the Python on the other machine.")
@click.option(
    "--wheels", type=click.Path(path_type=Path, exists=True), help="Folder of wheels. Default: pip downloads."
)
@click.option("--most-mb", type=float, default=MOST_MB, show_default=True, help="Most megabytes of the package.")
def main(
    out: Path,
    pictures: Path | None,
    most_pictures: int,
    weights: Path | None,
    cases: tuple[str, ...],
    python: str,
    wheels: Path | None,
    most_mb: float,
) -> None:
    """Pack the benchmark of a GPU into OUT, a folder or a file that ends in .tar.gz."""
    chosen = cases_named(cases)
    try:
        folder = weights or weights_folder()
        for line in pack(out, pictures, most_pictures, folder, chosen, python, wheels, most_mb):
            click.echo(line)
    except PhoenixRayError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
