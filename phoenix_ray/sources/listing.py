"""From the places where videos should be to `Video`s and `SourceProblem`s: the common half of every source.

A source knows its layout and says where each video should lie (`Candidate`); `list_videos` chooses, looks at the files
in parallel, and gives the result in the order of the dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError, did_you_mean
from phoenix_ray.sources.base import LeftOut, SourceProblem, Video
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.files import lookahead
from phoenix_ray.sources.folders import FRAME_SUFFIXES, examine_folder
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
        folder = examine_folder(candidate.location, settings.signature, settings.limit_frames)
    except FileNotFoundError:
        return _problem(candidate, f"{candidate.named_by} names '{candidate.location}', which does not exist.")
    except (OSError, ValueError, ContainerError) as error:
        # ValueError: a location that can be no path, with a null byte.
        return _problem(candidate, f"{candidate.location} cannot be read: {error}")
    if folder.frame_count == 0:
        suffixes = " ".join(FRAME_SUFFIXES)
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
    container = examine_container(candidate.location, settings.limit_frames)
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


# Of one ending and reason; a tree may hold millions of files that are not videos.
MOST_NAMES = 10_000
# In the place of an ending, for folders that are left out as they are.
FOLDER = "folder"
_NAMES_SHOWN = 3


class LeftOutFiles:
    """Collects what a source leaves out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._names: dict[tuple[str, str], list[str]] = {}

    def add(self, reason: str, name: PurePath | str, ending: str | None = None, count: int = 1) -> None:
        """Note a file, or a folder with `count` files of an ending."""
        key = (reason, ending_of(PurePath(name).name) if ending is None else ending)
        self._counts[key] += count
        names = self._names.setdefault(key, [])
        if len(names) < MOST_NAMES:
            names.append(str(name).encode("utf-8", "backslashreplace").decode())

    def groups(self) -> tuple[LeftOut, ...]:
        """Return what was noted, by reason, the most frequent endings first."""
        order = sorted(self._counts, key=lambda key: (key[0], -self._counts[key], not key[1], key[1]))
        return tuple(LeftOut(*key, self._counts[key], tuple(self._names[key])) for key in order)


def ending_of(name: str) -> str:
    """Return the ending of a file name in lower case, empty where there is none."""
    return PurePath(name).suffix.lower().encode("utf-8", "backslashreplace").decode()


def count_endings(groups: Iterable[LeftOut]) -> str:
    """Return counts by ending: `3 .txt, 1 .eaf, 2 without an ending`."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.ending] += group.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], not item[0], item[0]))
    return ", ".join(f"{count:,} {_name_ending(ending, count)}" for ending, count in ordered)


def _name_ending(ending: str, count: int) -> str:
    return "folders" if ending == FOLDER and count != 1 else ending or "without an ending"


def describe_left_out(groups: Sequence[LeftOut]) -> list[str]:
    """Return one line a reason: counts by ending, the reason, a few names."""
    lines = []
    for reason in dict.fromkeys(group.reason for group in groups):
        of_reason = [group for group in groups if group.reason == reason]
        names = [name for group in of_reason for name in group.names[:_NAMES_SHOWN]][:_NAMES_SHOWN]
        more = ", …" if sum(group.count for group in of_reason) > len(names) else ""
        lines.append(f"Left out: {count_endings(of_reason)} ({', '.join(names)}{more}): {reason}.")
    return lines
