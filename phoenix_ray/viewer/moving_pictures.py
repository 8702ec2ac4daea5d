"""A video of a dataset as a moving picture: landmarks over the frames, or the skeleton alone.

Called by `phoenix-ray view --mp4` and `--gif`, and by `player`. Every row of the video gives one picture, also one
whose frame cannot be read or on which the model failed. Rows, frames and pictures are read, drawn and written one after
another, so memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError
from phoenix_ray.sources.base import Video
from phoenix_ray.text import ShowProgress
from phoenix_ray.viewer.chosen_videos import describe_changes, find_source_videos, find_video
from phoenix_ray.viewer.encoders import TimedPicture, complete_file, write_gif, write_mp4
from phoenix_ray.viewer.film import FORMATS, BlockSource, Film, Form, PictureLimits
from phoenix_ray.viewer.shown_rows import ALL_FRAMES, ASSUMED_RATE, FrameSpan, Overview

# Pictures from which the colours of a GIF are chosen.
_SAMPLED = 24
_WAY_OUT = "To show the landmarks without frames: --no-frames."


@dataclass(frozen=True, slots=True)
class MovingPicture:
    """What was written.

    Attributes:
        pictures: Their number, one for each row.
        seconds: How long they play.
        width: In pixels.
        height: In pixels, with the caption.
        remark: What a user should know, empty where there is nothing.
    """

    pictures: int
    seconds: float
    width: int
    height: int
    remark: str


def write_moving_picture(
    output: str,
    file: Path,
    name: str,
    source: SourceSettings,
    form: Form = "overlay",
    beside: str | None = None,
    span: FrameSpan = ALL_FRAMES,
    show: ShowProgress | None = None,
) -> MovingPicture:
    """Write a video of a dataset as an MP4 file or a GIF.

    Args:
        output: The dataset's folder or URI.
        file: The file to write, `.mp4` or `.gif`.
        name: The video, as its ID or as `split/ID`.
        source: Where the frames lie; with an empty path, where the dataset says they lay. The form "skeleton" never
            opens it.
        form: What is drawn.
        beside: Another dataset with this video, to the right of the first; not for the form "side by side".
        span: The frames to show.
        show: Called with the number of pictures written.

    Raises:
        ConfigError: There is no such video, or several; it has no row in the span; or the file's ending is unknown.
        OutputError: There is no dataset, or the file cannot be written.
        SourceError: The frames cannot be found.
    """
    check_ending(file)
    datasets = [Dataset.open(path) for path in ((output,) if beside is None else (output, beside))]
    key = find_video(datasets[0], output, name)
    if beside is not None and find_video(datasets[1], beside, "/".join(key)) != key:
        raise ConfigError(f"{beside} has no video {key[1]!r} in the split {key[0]!r}.")
    overview = datasets[0].select(parts=()).load_blocks(*key, lambda blocks: Overview.of(blocks, span))
    if not overview.rows:
        raise ConfigError(f"{output} has no row of {key[0]}/{key[1]}{span}.")
    # Without the rows that a run adds meanwhile.
    shown = FrameSpan(span.first, overview.last + 1)
    video = None if form == "skeleton" else find_source_videos(datasets[0], {key: overview.last}, source, _WAY_OUT)[key]
    names = () if beside is None else _short_names(output, beside)
    made = write_film(file, datasets, names, key, overview, shown, form, video, show)
    changes = "" if video is None else describe_changes(datasets[0], [video])
    return replace(made, remark="; ".join(filter(None, (changes, made.remark))))


def check_ending(file: Path) -> None:
    """Raise ConfigError unless a file's name says that it is a moving picture."""
    if file.suffix.lower() not in FORMATS:
        raise ConfigError(f"{file} ends with '{file.suffix}': give a name that ends with .mp4 or .gif.")


def write_film(
    file: Path,
    datasets: Sequence[BlockSource],
    names: Sequence[str],
    key: VideoKey,
    overview: Overview,
    span: FrameSpan,
    form: Form,
    video: Video | None,
    show: ShowProgress | None = None,
    limits: PictureLimits | None = None,
) -> MovingPicture:
    """Draw a video and write it as an MP4 file or a GIF; its remark says what is special about its speed.

    Args:
        file: The file to write, `.mp4` or `.gif`.
        datasets: As for `Film`, and so are the arguments that follow.
        names: Of the datasets where there are two.
        key: The video's split and ID.
        overview: What its rows in the span have in common; there is at least one.
        span: The frames to show.
        form: What is drawn.
        video: Where the frames lie; None draws no frames.
        show: Called with the number of pictures written.
        limits: How large the pictures may be; None means as large as the file's format allows.

    Raises:
        OutputError: The rows cannot be read, or the file cannot be written.
    """
    ending = file.suffix.lower()
    film = Film(datasets, names, key, overview, span, form, video, limits or FORMATS[ending])

    def noted(pictures: Iterator[TimedPicture]) -> Iterator[TimedPicture]:
        for done, picture in enumerate(pictures, 1):
            yield picture
            if show is not None:
                show(done, overview.rows)

    timing = overview.timing
    with complete_file(file) as path:
        if ending == ".mp4":
            seconds = film.play(lambda pictures: write_mp4(path, noted(pictures), timing.rate, timing.is_even))
        else:
            step = -(-overview.rows // _SAMPLED)
            sample = film.play(lambda pictures: [picture.image for picture in pictures], step)
            seconds = film.play(lambda pictures: write_gif(path, noted(pictures), sample, timing.rate))
    remarks = []
    if timing.is_assumed:
        remarks.append(f"the source has no clock, {ASSUMED_RATE} frames/s are assumed")
    if seconds > 1.05 * overview.seconds:
        remarks.append(f"{seconds / overview.seconds:.1f} times slower than it was, as browsers limit a GIF's speed")
    return MovingPicture(overview.rows, seconds, film.width, film.height, "; ".join(remarks))


def _short_names(path: str, other: str) -> tuple[str, str]:
    names = (Path(path).name, Path(other).name)
    return names if names[0] != names[1] else (path, other)
