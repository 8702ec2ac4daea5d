"""From the places where videos should be to `Video`s and `SourceProblem`s: the common half of every source.

A source knows its layout and says where each video should lie (`Candidate`); `list_videos` chooses, looks at the files
in parallel, and gives the result in the order of the dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError, did_you_mean
from phoenix_ray.sources import containers, frame_files
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.lookahead import lookahead
from phoenix_ray.sources.streams import ContainerError
from phoenix_ray.text import without_secrets

# Enough to hide the round trips of a network file system.
LISTING_THREADS = 16
LISTED_AHEAD = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a video should lie.

    Attributes:
        split, video_id, fps, annotation: As in `Video`.
        location: Absolute path of a frame folder or a video file, which may not exist.
        named_by: What says that there is such a video, for the message when there is none.
    """

    split: str
    video_id: str
    location: str
    named_by: str
    fps: float | None = None
    annotation: Mapping[str, str] = field(default_factory=dict)


def list_videos(candidates: Iterable[Candidate], settings: SourceSettings) -> Iterator[Video | SourceProblem]:
    """Yield the selected videos sorted by (split, video_id), and a problem in the place of each bad one.

    Raises:
        SourceError: `settings.splits` names a split that has no video.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.split, candidate.video_id))
    check_splits(settings.splits, {candidate.split for candidate in ordered})
    selected = _select(ordered, settings)
    yield from lookahead(partial(_look_at, settings=settings), selected, LISTING_THREADS, LISTED_AHEAD)


def check_splits(wanted: Iterable[str], found: Iterable[str]) -> None:
    """Raise SourceError when a wanted split is not among those found."""
    known = sorted(found)
    for split in wanted:
        if split not in known:
            raise SourceError(
                f"There is no video in split '{split}' (source.splits).{did_you_mean(split, known)} "
                f"Splits with videos: {', '.join(known) or 'none'}."
            )


def _select(ordered: Iterable[Candidate], settings: SourceSettings) -> Iterator[Candidate | SourceProblem]:
    """Keep the wanted splits and the first videos of each; a second video of the same name becomes a problem."""
    taken: Counter[str] = Counter()
    previous: Candidate | None = None
    for candidate in ordered:
        if settings.splits and candidate.split not in settings.splits:
            continue
        if previous and (previous.split, previous.video_id) == (candidate.split, candidate.video_id):
            yield _problem(
                candidate,
                f"{candidate.named_by} names a second video of this split and ID, {candidate.location}; "
                f"{previous.location} is used. Rename one of them.",
            )
            continue
        previous = candidate
        taken[candidate.split] += 1
        if settings.max_videos_per_split is None or taken[candidate.split] <= settings.max_videos_per_split:
            yield candidate


def _look_at(candidate: Candidate | SourceProblem, settings: SourceSettings) -> Video | SourceProblem:
    if isinstance(candidate, SourceProblem):
        return candidate
    if not candidate.video_id:
        return _problem(candidate, f"{candidate.named_by} gives no video ID.")
    if _storable(candidate.video_id) != candidate.video_id:
        return _problem(candidate, "The name is no valid UTF-8. Rename it.")
    try:
        if not Path(candidate.location).is_dir():
            return _look_at_container(candidate, settings)
        folder = frame_files.examine(candidate.location, settings.signature, settings.limit_frames)
    except FileNotFoundError:
        return _problem(candidate, f"{candidate.named_by} names '{candidate.location}', which does not exist.")
    except (OSError, ValueError, ContainerError) as error:
        # ValueError: a location that can be no path, with a null byte.
        return _problem(candidate, f"{candidate.location} cannot be read: {error}")
    if folder.frame_count == 0:
        suffixes = " ".join(frame_files.FRAME_SUFFIXES)
        return _problem(candidate, f"{candidate.location} holds no frames ({suffixes}).")
    return Video(
        split=candidate.split,
        video_id=candidate.video_id,
        kind="frame_folder",
        location=candidate.location,
        frame_count=folder.frame_count,
        signature=folder.signature,
        fps=candidate.fps,
        annotation=_without_secrets(candidate.annotation),
    )


def _look_at_container(candidate: Candidate, settings: SourceSettings) -> Video:
    container = containers.examine(candidate.location, settings.limit_frames)
    return Video(
        split=candidate.split,
        video_id=candidate.video_id,
        kind="video_file",
        location=candidate.location,
        frame_count=container.frame_count,
        signature=container.signature,
        fps=container.rate.fps,
        annotation=_without_secrets(candidate.annotation),
        fps_varies=container.rate.varies,
    )


def _problem(candidate: Candidate, message: str) -> SourceProblem:
    return SourceProblem(_storable(candidate.split), _storable(candidate.video_id), without_secrets(_storable(message)))


def _without_secrets(annotation: Mapping[str, str]) -> dict[str, str]:
    return {name: without_secrets(text) for name, text in annotation.items()}


def _storable(text: str) -> str:
    """Return `text` with what is no UTF-8, as in some file names, written as an escape: a dataset stores no other."""
    return text.encode("utf-8", "backslashreplace").decode()
