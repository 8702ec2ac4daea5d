"""`phoenix-ray verify`: words in, report out; `phoenix_ray.verify` does the work."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phoenix_ray.commands.config import LocalPath, check_report_path, frame_size_option, write_report
from phoenix_ray.errors import ConfigError

if TYPE_CHECKING:
    from phoenix_ray.verify.report import VerificationReport
    from phoenix_ray.verify.tolerance import Tolerance
    from phoenix_ray.verify.verification import Verification

# Videos that are computed afresh unless --video or --sample names others: a few minutes on one core.
_RECOMPUTED = 5


@click.command()
@click.argument("result")
@click.argument("other", required=False)
@click.option("--recompute", is_flag=True, help="Compute videos of RESULT again, here and without Ray.")
@click.option("--reference", type=click.Choice(["mediapipe"]), help="Compute them with MediaPipe itself.")
@click.option("--splits", default="", help="Only these splits, separated by commas: train,dev.")
@click.option("--video", "videos", multiple=True, metavar="ID", help="Only this video (or split/ID); may be repeated.")
@click.option("--sample", type=click.IntRange(min=1), help="Only that many videos, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed for --sample: the same seed draws the same videos.")
@click.option("--full", is_flag=True, help="Compare everything: rows whose digests agree, too, and every video.")
@click.option("--atol", type=click.FloatRange(min=0), help="Largest difference of a value as stored (0: same bits).")
@click.option("--pixels", type=click.FloatRange(min=0), help="Largest difference of x, y, z in pixels of the frame.")
@click.option("--source", default="", help="Where the frames are (default: the path used when RESULT was computed).")
@frame_size_option
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="A setting of --recompute.")
@click.option("--json", "json_file", type=LocalPath(dir_okay=False), help="Write all differences here.")
@click.option("--markdown", type=LocalPath(dir_okay=False), help="Write the readable report here too.")
@click.option("--pictures", type=LocalPath(dir_okay=False), help="Draw the worst videos: .png or .jpg.")
def verify(
    result: str,
    other: str | None,
    recompute: bool,
    reference: str | None,
    splits: str,
    videos: tuple[str, ...],
    sample: int | None,
    seed: int,
    full: bool,
    atol: float | None,
    pixels: float | None,
    source: str,
    frame_size: tuple[int, int] | None,
    overrides: tuple[str, ...],
    json_file: Path | None,
    markdown: Path | None,
    pictures: Path | None,
) -> None:
    """Prove that landmarks are what they should be, or say where they are not.

    \b
    phoenix-ray verify A B                      two results: datasets, or files of other tools
    phoenix-ray verify A --recompute            a dataset against its computation in this process
    phoenix-ray verify A --reference mediapipe  a dataset against MediaPipe (.venv-reference/bin/phoenix-ray)

    Exits with 0 if they are equal, 1 when they differ, and the codes of `phoenix-ray run` for everything else.
    """
    from phoenix_ray.verify.report import gather, print_report, report_text
    from phoenix_ray.verify.verification import VideoFilter, against_mediapipe, against_recomputation, two_results

    if [other is not None, recompute, reference is not None].count(True) != 1:
        raise ConfigError("Say what to compare with, one of: another result, --recompute, --reference mediapipe.")
    for file in filter(None, (json_file, markdown, pictures)):
        check_report_path(file)
    afresh = other is None
    if afresh and sample is None and not videos and not full:
        sample = _RECOMPUTED
    selection = VideoFilter(tuple(filter(None, splits.split(","))), videos, sample, seed)
    tolerance = _tolerance(atol, pixels)
    if other is not None:
        verification = two_results(result, other, selection, tolerance, source, full=full, frame_size=frame_size)
    elif recompute:
        verification = against_recomputation(result, selection, tolerance, source, overrides)
    else:
        verification = against_mediapipe(result, selection, tolerance, source, overrides)
    with click.progressbar(
        verification.compare(), length=len(verification.keys), label="comparing", file=sys.stderr
    ) as comparisons:
        report = gather(verification.names, verification.criterion, comparisons)
    report = replace(report, remarks=verification.remarks())
    print_report(report)
    if json_file:
        write_report(json_file, json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
    if markdown:
        write_report(markdown, report_text(report))
    if pictures:
        _draw(report, verification, pictures)
    sys.exit(report.exit_code)


def _tolerance(atol: float | None, pixels: float | None) -> Tolerance | None:
    from phoenix_ray.verify.tolerance import BITS, Tolerance

    if atol is not None and pixels is not None:
        raise ConfigError("--atol and --pixels say the same thing in two ways: give one of them.")
    if pixels is not None:
        return Tolerance("pixels", pixels)
    if atol is None:
        return None
    return Tolerance("normalised", atol) if atol else BITS


def _draw(report: VerificationReport, verification: Verification, file: Path) -> None:
    from phoenix_ray.verify.pictures import write_worst_videos

    shown = write_worst_videos(report, verification, file)
    click.echo(f"{file}: {shown} videos" if shown else "No picture: no video that both sides have differs.", err=True)
