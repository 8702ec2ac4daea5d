"""What every source shares when it is listed: turning places into videos, and reporting the files it does not read.

A source knows its layout and says where each video should lie (`Candidate`). `list_videos` selects the candidates,
examines their files in parallel, and yields `Video`s and `SourceProblem`s in the order of the dataset. No file is left
out silently: a source adds the files it does not read to a `LeftOutFiles`; `phoenix-ray plan` and `run` print
`describe_left_out`, and a run keeps the names beside its status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import PurePath

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.object_stores import is_object_store
from phoenix_ray.sources.base import LeftOut, SourceProblem, Video
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.examined import ExaminedSource, SegmentedSources
from phoenix_ray.sources.files import ContainerError, UnavailableError, lookahead
from phoenix_ray.sources.folders import sign_frames
from phoenix_ray.sources.formats import FRAME_SUFFIXES, is_video_name
from phoenix_ray.sources.locations import source_path
from phoenix_ray.sources.object_paths import FOLDERS_TOGETHER, ObjectPath
from phoenix_ray.sources.paths import FrameSizes, SourcePath
from phoenix_ray.sources.segments import Segment, SegmentError, Span, sign_segment
from phoenix_ray.sources.timing import Timeline
from phoenix_ray.text import counted, storable_text, without_secrets

# Enough to hide the round trips of a network file system.
LISTING_THREADS = 16
LISTED_AHEAD = 256

# The ending of folders that are left out without looking inside, and that of columns of a table.
FOLDER, COLUMN = "folder", "column"
# Names kept for each ending and reason: a tree may hold millions of files that are not videos.
MOST_NAMES = 10_000
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a video should lie.

    Attributes:
        split, video_id, fps, annotation: As in `Video`.
        location: Absolute path or URI of a frame folder or a video file, which may not exist.
        named_by: The file or folder that names the video; the message says so when there is no such video.
        refusal: Why the location is not used; empty where it is.
        span: Start and end of the segment that the video is; None for a whole file or folder.
    """

    split: str
    video_id: str
    location: str
    named_by: str
    fps: float | None = None
    annotation: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""
    span: Span | None = None


def list_videos(candidates: Iterable[Candidate], settings: SourceSettings) -> Iterator[Video | SourceProblem]:
    """Yield the selected videos sorted by (split, video_id), and a problem in place of each bad video.

    Raises:
        SourceError: `settings.splits` names a split that has no video.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.split, candidate.video_id))
    check_splits(settings.splits, {candidate.split for candidate in ordered})
    segmented = SegmentedSources(((each.location, each.fps), each.span) for each in ordered if each.span)
    blocks = _blocks(_select(ordered, settings))
    examine = partial(_examine, settings=settings, segmented=segmented)
    for block in lookahead(examine, blocks, LISTING_THREADS, LISTED_AHEAD):
        yield from block


def check_splits(wanted: Iterable[str], found: Iterable[str]) -> None:
    """Raise SourceError when a wanted split is not among those found."""
    known = sorted(found)
    for split in wanted:
        if split not in known:
            raise SourceError(
                f"There is no video in split '{split}' (source.splits).{did_you_mean(split, known)} "
                f"Splits with videos: {', '.join(known) or 'none'}."
            )


class LeftOutFiles:
    """Collects the files that a source leaves out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._names: dict[tuple[str, str], list[str]] = {}

    def add(self, reason: str, name: PurePath | str, ending: str | None = None, count: int = 1) -> None:
        """Add a file, or a folder that holds `count` files of an ending."""
        key = (reason, ending_of(PurePath(name).name) if ending is None else ending)
        self._counts[key] += count
        names = self._names.setdefault(key, [])
        if len(names) < MOST_NAMES:
            names.append(storable_text(str(name)))

    def groups(self) -> tuple[LeftOut, ...]:
        """Return the files by reason, the most frequent endings first."""
        order = sorted(self._counts, key=lambda key: (key[0], -self._counts[key], not key[1], key[1]))
        return tuple(LeftOut(*key, self._counts[key], tuple(self._names[key])) for key in order)


def ending_of(name: str) -> str:
    """Return the ending of a file name in lower case, empty where there is none."""
    return storable_text(PurePath(name).suffix.lower())


def count_endings(groups: Iterable[LeftOut]) -> str:
    """Return counts by ending: `3 .txt, 2 without an ending, 1 folder`."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.ending] += group.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], not item[0], item[0]))
    return ", ".join(
        counted(count, ending) if ending in (FOLDER, COLUMN) else f"{count:,} {ending or 'without an ending'}"
        for ending, count in ordered
    )


def describe_left_out(groups: Sequence[LeftOut]) -> list[str]:
    """Return one line for each reason: counts by ending, a few names, the reason."""
    lines = []
    for reason in dict.fromkeys(group.reason for group in groups):
        of_reason = [group for group in groups if group.reason == reason]
        names = [name for group in of_reason for name in group.names[:_NAMES_SHOWN]][:_NAMES_SHOWN]
        more = ", …" if sum(group.count for group in of_reason) > len(names) else ""
        lines.append(f"Left out: {count_endings(of_reason)} ({', '.join(names)}{more}): {reason}.")
    return lines


def _select(ordered: Iterable[Candidate], settings: SourceSettings) -> Iterator[Candidate | SourceProblem]:
    """Yield the first videos of each wanted split; a second video of the same name becomes a problem."""
    taken: Counter[str] = Counter()
    previous: Candidate | None = None
    for candidate in ordered:
        if settings.splits and candidate.split not in settings.splits:
            continue
        if previous and (previous.split, previous.video_id) == (candidate.split, candidate.video_id):
            way_out = "Give each segment an ID of its own." if candidate.span else "Rename one of them."
            # Of two segments of one file, only their rows differ.
            used = previous.named_by if previous.location == candidate.location else previous.location
            yield _problem(
                candidate,
                f"{candidate.named_by} names a second video of this split and ID, {candidate.location}; "
                f"{used} is used. {way_out}",
            )
            continue
        previous = candidate
        taken[candidate.split] += 1
        if settings.max_videos_per_split is None or taken[candidate.split] <= settings.max_videos_per_split:
            yield candidate


def _blocks(selected: Iterable[Candidate | SourceProblem]) -> Iterator[list[Candidate | SourceProblem]]:
    """Yield candidates in order: frame folders beside each other in a bucket together, all others one by one."""
    block: list[Candidate | SourceProblem] = []
    around = None
    for candidate in selected:
        previous, around = around, _bucket_folder(candidate)
        if block and (around is None or around != previous or len(block) == FOLDERS_TOGETHER):
            yield block
            block = []
        block.append(candidate)
    if block:
        yield block


def _bucket_folder(candidate: Candidate | SourceProblem) -> str | None:
    """Return the folder in a bucket that a frame folder lies in; None if it lies elsewhere, or looks like a file.

    Folders of which only segments are wanted are listed one by one, each once for all its segments.
    """
    if isinstance(candidate, SourceProblem) or candidate.span or not is_object_store(candidate.location):
        return None
    around, _, name = candidate.location.rpartition("/")
    return None if is_video_name(name) else around


def _examine(
    block: Sequence[Candidate | SourceProblem], settings: SourceSettings, segmented: SegmentedSources
) -> list[Video | SourceProblem]:
    """Return the videos of candidates, of which several lie in one folder of a bucket.

    Raises:
        SourceError: The bucket does not answer, refuses its credentials, or cannot be listed.
    """
    frames: Mapping[str, FrameSizes] = {}
    try:
        around = _bucket_folder(block[0])
        if around and len(block) > 1:
            names = [candidate.location.rpartition("/")[2] for candidate in block if isinstance(candidate, Candidate)]
            frames = ObjectPath(around).frames_of(names, sizes=settings.signature == "sizes")
        return [_examine_candidate(candidate, frames, settings, segmented) for candidate in block]
    except OSError as error:
        named_by = next(f"{candidate.named_by}: " for candidate in block if isinstance(candidate, Candidate))
        raise SourceError(f"{named_by}{error.filename} cannot be read: {error}.") from None


def _examine_candidate(
    candidate: Candidate | SourceProblem,
    listed: Mapping[str, FrameSizes],
    settings: SourceSettings,
    segmented: SegmentedSources,
) -> Video | SourceProblem:
    """Return the video of a candidate; `listed` has folders that are listed already, by name."""
    if isinstance(candidate, SourceProblem):
        return candidate
    if not candidate.video_id:
        return _problem(candidate, f"{candidate.named_by} gives no video ID.")
    if candidate.refusal:
        return _problem(candidate, f"{candidate.named_by}: {candidate.refusal}")
    if storable_text(candidate.video_id) != candidate.video_id:
        return _problem(candidate, "The name is not valid UTF-8. Rename it.")
    try:
        path = source_path(candidate.location)
        if candidate.span is not None:
            key = (candidate.location, candidate.fps)
            whole = settings.model_copy(update={"limit_frames": None})
            examined, segment = segmented.find(
                key, candidate.span, lambda: _examine_source(candidate, path, None, whole)
            )
            return _to_video(candidate, examined, segment, settings)
        examined, _ = _examine_source(candidate, path, listed.get(path.name), settings)
        return _to_video(candidate, examined, None, settings)
    except FileNotFoundError:
        return _problem(candidate, f"{candidate.named_by} names '{candidate.location}', which does not exist.")
    except UnavailableError:
        raise
    except (ConfigError, SourceError) as error:
        return _problem(candidate, str(error))
    except SegmentError as error:
        return _problem(candidate, f"{candidate.named_by}: {error}.")
    except (OSError, ValueError, ContainerError) as error:
        # ValueError: the location cannot be a path because it holds a null byte.
        return _problem(candidate, f"{candidate.location} cannot be read: {error}")


def _examine_source(
    candidate: Candidate, path: SourcePath, listed: FrameSizes | None, settings: SourceSettings
) -> tuple[ExaminedSource, Timeline]:
    """Return what there is at a location, and when its frames are shown; `listed` are the files of a folder, if known.

    Raises:
        SourceError: It is a folder without frames.
        ContainerError: It is not a video file that can be opened.
        OSError: It cannot be read.
    """
    frames = listed or path.frames(sizes=settings.signature == "sizes")
    if frames is not None:
        folder = sign_frames(frames, settings.signature, settings.limit_frames)
        if folder.frame_count == 0:
            raise SourceError(f"{candidate.location} holds no frames ({' '.join(FRAME_SUFFIXES)}).")
        examined = ExaminedSource("frame_folder", folder.frame_count, folder.signature, candidate.fps)
        return examined, Timeline((), Fraction(1), candidate.fps)
    container = examine_container(path, settings.limit_frames)
    examined = ExaminedSource(
        "video_file",
        container.frame_count,
        container.signature,
        container.rate.fps,
        container.rate.varies,
        container.pixel_aspect_ratio,
    )
    return examined, container.timeline


def _to_video(candidate: Candidate, source: ExaminedSource, segment: Segment | None, settings: SourceSettings) -> Video:
    """Return the video that a source is, or a segment of it."""
    ratio = source.pixel_aspect_ratio or settings.pixel_aspect_ratio
    first, last, signature = 0, source.frame_count, source.signature
    if segment is not None:
        first = segment.first
        last = min(segment.last, first + (settings.limit_frames or source.frame_count))
        signature = sign_segment(signature, segment)
    if settings.square_pixels and ratio not in (None, 1):
        # The landmarks of a frame depend on its shape. What shape it has may come from a setting.
        signature = f"{signature}@{ratio}"
    return Video(
        split=candidate.split,
        video_id=candidate.video_id,
        kind=source.kind,
        location=candidate.location,
        frame_count=last - first,
        signature=signature,
        fps=source.fps,
        annotation=_annotation(candidate),
        fps_varies=source.fps_varies,
        is_segment=segment is not None,
        start_frame=first,
        start_seconds=segment.start_seconds if segment else 0.0,
        is_clipped=segment is not None and segment.is_clipped,
        pixel_aspect_ratio=ratio,
        square_pixels=settings.square_pixels,
    )


def _problem(candidate: Candidate, message: str) -> SourceProblem:
    return SourceProblem(
        storable_text(candidate.split),
        storable_text(candidate.video_id),
        without_secrets(storable_text(message)),
        _annotation(candidate),
    )


def _annotation(candidate: Candidate) -> dict[str, str]:
    return {name: without_secrets(text) for name, text in candidate.annotation.items()}
