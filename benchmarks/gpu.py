"""Measures Holistic in torch on a device: how fast it is, how near to the device's limits, and to the CPU's landmarks.

    python -m benchmarks.gpu --weights DIR [--frames FOLDER] [--minutes 8] --out DIR

The suite `gpu` of `python -m benchmarks` measures the same. This program is for machines with little else installed: it
needs torch and LiteRT's description of `.tflite` files, but neither Ray nor MediaPipe. The landmarks to compare with
come from LiteRT, or from the file `--reference`, which a machine with LiteRT has written. The report lists what there
was no time for. docs/engines.md says how to read it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import get_args

import click

from benchmarks.gpu_benchmark import (
    CPU_BATCH_SIZES,
    GPU_BATCH_SIZES,
    LEAST_SECONDS,
    MINUTES,
    MOST_FRAMES,
    GpuBenchmark,
)
from benchmarks.gpu_report import to_json, to_markdown
from benchmarks.machine import this_machine
from phoenix_ray.errors import PhoenixRayError, SourceError
from phoenix_ray.models.holistic.torch_engine.engine import choose_device
from phoenix_ray.setting_types import Precision

PICTURES = (".png", ".jpg", ".jpeg")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--weights", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the .tflite files."
)
@click.option(
    "--frames", "folder", type=click.Path(path_type=Path), help="Folder tree of pictures. Default: the samples."
)
@click.option("--limit", type=click.IntRange(min=1), default=MOST_FRAMES, show_default=True, help="Most frames to use.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for gpu.md and gpu.json.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    help="The CPU engine's landmarks: read if the file exists, else written.",
)
@click.option("--minutes", type=float, default=MINUTES, show_default=True, help="After these, no measurement is begun.")
@click.option("--seconds", type=float, default=LEAST_SECONDS, show_default=True, help="Least time for one measurement.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, mps or cpu.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(get_args(Precision)), help="Repeatable.")
@click.option("--batch-size", "batch_sizes", multiple=True, type=click.IntRange(min=1), help="Repeatable.")
@click.option("--face-points", type=click.Choice(["468", "478"]), default="468", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Decoding threads. Default: one for each core.")
def main(
    weights: Path,
    folder: Path | None,
    limit: int,
    out: Path,
    reference: Path | None,
    minutes: float,
    seconds: float,
    device: str,
    precisions: tuple[Precision, ...],
    batch_sizes: tuple[int, ...],
    face_points: str,
    threads: int | None,
) -> None:
    """Measure Holistic in torch on this machine."""
    try:
        chosen = choose_device(device)
        on_gpu = chosen.type == "cuda"
        points, threads = 468 if face_points == "468" else 478, threads or this_machine().cores
        deadline = time.monotonic() + 60 * minutes
        benchmark = GpuBenchmark(weights, chosen, points, read_pictures(folder, limit), threads, seconds, deadline)
        out.mkdir(parents=True, exist_ok=True)
        page = ""
        for report in benchmark.run(
            precisions or (get_args(Precision) if on_gpu else ("exact",)),
            batch_sizes or (GPU_BATCH_SIZES if on_gpu else CPU_BATCH_SIZES),
            reference,
        ):
            # Written after each step, so that an interrupted program leaves what it has measured.
            page = to_markdown(report)
            (out / "gpu.md").write_text(page, encoding="utf-8")
            (out / "gpu.json").write_text(to_json(report), encoding="utf-8")
    except PhoenixRayError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(page)


def read_pictures(folder: Path | None, limit: int) -> list[bytes]:
    """Return the bytes of the first pictures below a folder in order of their paths; without a folder, of the samples.

    Raises:
        SourceError: There is no picture.
    """
    if folder is None:
        from benchmarks.frames import choose_source, list_frames

        paths = [Path(picture) for picture in list_frames(choose_source(None)).pictures]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise SourceError(f"There is no picture ({', '.join(PICTURES)}) below {folder}.")
    return [path.read_bytes() for path in paths[:limit]]


if __name__ == "__main__":
    main()
