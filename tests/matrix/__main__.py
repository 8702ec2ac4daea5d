"""`make matrix`: install the wheel on every Python, with the newest and the lowest libraries, and compare landmarks.

Exit code 1 when a cell failed, or its landmarks are not those of `tests/golden/demo_digest.txt`. A Python that is
neither on the machine nor to be had is reported and left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from phoenix_ray.sources.sample import demo_videos
from tests.matrix.cell import Cell, Outcome
from tests.matrix.demo_digest import read_expected, write_expected
from tests.matrix.environments import Environment, Resolution, StepError, find_python
from tests.matrix.report import problems, to_table
from tests.matrix.wheels import PYTHONS, admitted_versions, build_wheel

FOLDER = Path(".venv-matrix")


@click.command()
@click.option("--python", "pythons", multiple=True, default=PYTHONS, show_default=True, help="Versions of Python.")
@click.option(
    "--resolution",
    "resolutions",
    multiple=True,
    type=click.Choice(get_args(Resolution)),
    default=get_args(Resolution),
    show_default=True,
    help="Which of the versions that pyproject.toml admits.",
)
@click.option("--vary", metavar="LIBRARY", help="Instead, each version of this library that pyproject.toml admits.")
@click.option("--pin", "pins", multiple=True, metavar="REQUIREMENT", help="Install this beside the wheel.")
@click.option("--torch", is_flag=True, help="Try engine torch as well; torch is a large download.")
@click.option(
    "--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Instead of one of the demo's."
)
@click.option("--record", is_flag=True, help="Write the digests that are expected, if all cells agree.")
def main(
    pythons: tuple[str, ...],
    resolutions: tuple[Resolution, ...],
    vary: str | None,
    pins: tuple[str, ...],
    torch: bool,
    video: Path | None,
    record: bool,
) -> None:
    """Try every Python with every resolution."""
    folder = FOLDER.resolve()
    expected = {} if record else read_expected()
    outcomes: list[Outcome] = []
    try:
        wheel = build_wheel(folder / "wheel")
        clips = _one_clip(folder / "clips", video)
        for version in pythons:
            interpreter = find_python(version)
            for resolution, pin in _variations(wheel, version, interpreter, resolutions, vary):
                if interpreter is None:
                    outcomes.append(Outcome(version, resolution, absent="not on this machine, and uv cannot get it"))
                    continue
                environment = Environment(folder / f"{version}-{resolution}", resolution)
                cell = Cell(version, environment, wheel, clips, (*pins, *pin), torch)
                outcomes.append(cell.run(interpreter, lambda text: print(text, flush=True)))
                (folder / "matrix.json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    except StepError as error:
        sys.exit(f"The matrix cannot be run. {error}")
    print(*to_table(outcomes, expected).lines(), sep="\n")
    found = list(problems(outcomes, expected))
    print(*found, sep="\n")
    if record and not found:
        write_expected(next(outcome.demo for outcome in outcomes if outcome.demo))
    sys.exit(bool(found))


def _one_clip(folder: Path, video: Path | None) -> Path:
    """Return a folder with one video file: a copy of `video`, or of the demo's first."""
    folder.mkdir(exist_ok=True)
    clip = folder / "clip.mp4"
    clip.unlink(missing_ok=True)
    clip.write_bytes((video or Path(demo_videos()[0].location)).read_bytes())
    return folder


def _variations(
    wheel: Path, version: str, interpreter: Path | None, resolutions: tuple[Resolution, ...], vary: str | None
) -> Iterator[tuple[Resolution, tuple[str, ...]]]:
    """Yield each resolution, or with `vary` the newest of all else beside each version of one library."""
    if vary is None or interpreter is None:
        for resolution in resolutions:
            yield resolution, ()
        return
    for found in admitted_versions(wheel, vary, version, interpreter):
        yield "newest", (f"{vary}=={found}",)


if __name__ == "__main__":
    main()
