"""An export from start to end: `phoenix-ray export` calls `export_videos`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.output import atomic_output, check_output
from phoenix_ray.exports.registry import FORMATS, IN_PLACE, find_writer
from phoenix_ray.exports.selection import ExportSelection, select_for_export


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        path: The output.
        videos: Number of videos.
        frames: Number of frames.
        bytes: Size of all files.
        uneven_videos: How many videos have a frame rate that varies, which the format cannot say.
    """

    path: Path
    videos: int
    frames: int
    bytes: int
    uneven_videos: int = 0


def export_videos(
    source: str,
    output: Path,
    format_name: str,
    splits: Sequence[str] | None = None,
    videos: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write some videos of a dataset, or of anything that `open_collection` opens, in another format.

    Raises:
        ConfigError: The format, a split or a video does not exist, or the format cannot hold these landmarks.
        MissingExtraError: The format needs a package that is not installed.
        OutputError: The source cannot be read; or the output exists, cannot be written, or holds files of no export.
    """
    if format_name == IN_PLACE:
        raise ConfigError(f"The format '{IN_PLACE}' has no output: it is written into the dataset.")
    writer = find_writer(format_name)
    check_output(source, output, overwrite)
    selection = select_for_export(open_collection(source), splits, videos)
    with atomic_output(output, overwrite) as temporary, export_progress(format_name, len(selection.keys)) as progress:
        writer(replace(selection, finished=progress.advance), temporary)
    timed = any(known.timed for known in FORMATS if known.name == format_name)
    uneven = 0 if timed else _count_uneven(selection)
    return Exported(output, len(selection.keys), progress.frames, _size(output), uneven)


def _count_uneven(selection: ExportSelection) -> int:
    """Return how many videos have a frame rate that varies, as far as it is recorded."""
    if not isinstance(selection.collection, Dataset):
        return 0
    videos = selection.collection.videos()
    uneven = videos.filter(videos.column("fps_varies")).select(["split", "video_id"]).to_pylist()
    return len({(row["split"], row["video_id"]) for row in uneven}.intersection(selection.keys))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


@dataclass(slots=True)
class ExportProgress:
    """Counts what is done.

    Attributes:
        show: Moves the bar by one video, given all frames so far.
        frames: Frames of the videos that are done.
    """

    show: Callable[[int], None]
    frames: int = 0

    def advance(self, frames: int) -> None:
        """Count a video of so many frames."""
        self.frames += frames
        self.show(self.frames)


@contextmanager
def export_progress(label: str, videos: int) -> Iterator[ExportProgress]:
    """Show a bar for as long as the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("videos, {task.fields[frames]:,} frames"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=videos, frames=0)
        yield ExportProgress(lambda frames: bar.update(task, advance=1, frames=frames))
