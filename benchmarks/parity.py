"""Compares an engine with MediaPipe itself, frame by frame, in the environment that has both.

    make parity SOURCE=…
    python -m benchmarks.parity [SOURCE…] [--set model.complexity=2] [--every 3] [--json FILE]

Without SOURCE it compares them on the built-in sample dataset. It prints the table to standard output and its progress
to standard error. It exits with 0 if the engine is at parity (`models.holistic.parity`), with 1 if it is not, and with
the codes of `phoenix_ray.errors` if it fails.

With `--set model.mode=tracking`, MediaPipe begins each video as a fresh instance would. There, a region that differs in
its last bit moves all later ones, so the first frame that differs is named for each video.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.parity_report import ParityReport
from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.config_files import load
from phoenix_ray.errors import ConfigError, PhoenixRayError, SourceError
from phoenix_ray.estimation import first_state
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.agreement import PartAgreement, add_up, agree_all
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel
from phoenix_ray.sources.base import SourceProblem
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.text import counted

FRAMES_TOGETHER = 16
# Wide enough for a whole row of the table: in narrower terminals numbers would be cut.
TABLE_WIDTH = 140


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame, RGB uint8 (height, width, 3), with its video as `split/ID` and its index there."""

    video: str
    index: int
    image: NDArray[np.uint8]


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--face-points", type=click.Choice(["468", "478"]), default="468", show_default=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting for both, as model.complexity=2."
)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, show_default=True, help="Compare only every N-th frame."
)
@click.option("--engine", default="litert", show_default=True, help="The engine to compare with MediaPipe.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report to this file."
)
def main(
    sources: tuple[str, ...],
    face_points: str,
    overrides: tuple[str, ...],
    every: int,
    engine: str,
    json_file: Path | None,
) -> None:
    """Compare an engine with MediaPipe 0.10.21 (fresh for each image or tracked video) on datasets, folders or videos.

    Without SOURCE, compare them on the built-in sample dataset.
    """
    try:
        settings = load(overrides=(f"model.engine={engine}", f"model.face_points={face_points}", *overrides)).model
        chosen = [SourceSettings(path=path) for path in sources] or [SourceSettings(kind="sample")]
        if settings.mode == "tracking" and every > 1:
            raise ConfigError("--every leaves frames out, but in mode tracking a frame depends on all before it.")
        report = compare_engines(settings, list_frames(chosen, every))
    except PhoenixRayError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    Console(width=TABLE_WIDTH).print(report.to_table())
    for line in (*report.first_differences(), *report.failures()):
        click.echo(line, err=True)
    if json_file:
        json_file.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    sys.exit(report.exit_code)


def list_frames(sources: Iterable[SourceSettings], every: int) -> Iterator[VideoFrame]:
    """Yield each `every`-th frame of all videos if it is readable; print videos and problems to standard error.

    Raises:
        SourceError: A source cannot be read as a whole.
    """
    for settings in sources:
        for video in open_source(settings).videos():
            if isinstance(video, SourceProblem):
                click.echo(f"left out {video.split}/{video.video_id}: {video.message}", err=True)
                continue
            click.echo(f"{video.split}/{video.video_id}: {counted(video.frame_count, 'frame')}", err=True)
            for frame in read_frames(video, 0, video.frame_count, DecodeSettings()):
                if frame.index % every == 0 and frame.image is not None:
                    yield VideoFrame(f"{video.split}/{video.video_id}", frame.index, frame.image)


def compare_engines(settings: ModelSettings, frames: Iterator[VideoFrame]) -> ParityReport:
    """Compare the engine of the settings with engine `mediapipe` on frames; those of a video follow each other.

    Raises:
        MissingExtraError: MediaPipe is not installed.
        SourceError: There are no frames.
    """
    reference_settings = settings.model_copy(update={"engine": "mediapipe", "device": "auto", "precision": "exact"})
    reference, candidate = registry.create(reference_settings), registry.create(settings)
    compared: list[tuple[PartAgreement, ...]] = []
    first_different: dict[str, int | None] = {}
    try:
        expect, find = _by_frames(reference), _by_frames(candidate)
        together_at_most = 1 if settings.mode == "tracking" else FRAMES_TOGETHER
        while together := list(islice(frames, together_at_most)):
            sizes = np.array([(frame.image.shape[1], frame.image.shape[0]) for frame in together], np.int32)
            expected, found = expect(together), find(together)
            compared = [add_up([*compared, agree_all(candidate.layout, sizes, expected, found)])]
            for row, frame in enumerate(together):
                different = first_different.setdefault(frame.video, None) is None and not _are_equal(
                    expected, found, row
                )
                if different:
                    first_different[frame.video] = frame.index
    finally:
        reference.close()
        candidate.close()
    if not compared:
        raise SourceError("There is no readable frame to compare.")
    (parts,) = compared
    return ParityReport("mediapipe", settings.engine, candidate.layout.name, parts, first_different)


def _by_frames(model: PoseModel) -> Callable[[list[VideoFrame]], LandmarkBatch]:
    """Return a function that gives the landmarks of the next frames; of a `TrackingModel`, one frame at a time."""
    if not isinstance(model, TrackingModel):
        return lambda frames: model.estimate([frame.image for frame in frames])
    begin = first_state(model)[np.newaxis]
    current, state = "", begin

    def track(frames: list[VideoFrame]) -> LandmarkBatch:
        nonlocal current, state
        (frame,) = frames
        if frame.video != current:
            current, state = frame.video, begin
        batch, state = model.track([frame.image], state)
        return batch

    return track


def _are_equal(expected: LandmarkBatch, found: LandmarkBatch, row: int) -> bool:
    return all(
        np.array_equal(points[row], found.points[part][row], equal_nan=True) for part, points in expected.points.items()
    )


if __name__ == "__main__":
    main()
