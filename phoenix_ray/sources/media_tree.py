"""A video file, or a folder tree of video files and of frame folders.

videos/train/monday/clip one.mp4         → split "train", ID "monday/clip one"
videos/clip2.mov                         → split "all", ID "clip2"
frames/train/monday/clip one/frame1.jpg  → split "train", ID "monday/clip one"

A folder that holds pictures is one video. Beside video files pictures may as well be thumbnails, or frames of these
very videos; `_why_not` decides which folders are videos of their own beyond doubt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.frame_files import FRAME_SUFFIXES, is_frame_name
from phoenix_ray.sources.left_out import FOLDER, LeftOutFiles, count_endings, ending_of
from phoenix_ray.sources.listing import Candidate, list_videos
from phoenix_ray.sources.streams import is_video_name
from phoenix_ray.sources.tree import Folder, split_and_id, walk

Reads = Literal["both", "videos", "folders"]
NEITHER = "neither video files nor pictures of a format that is read"
_FRAMES_ONLY = "to read them as frames, give a run of its own source.kind=folders; it may go into the same output"
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The pictures of a folder.

    Attributes:
        folder: Where they lie.
        name: What to call them: the folder, or the picture where it is one.
        counts: How many of each ending.
        first: Name of the first, without its ending.
        last: As `first`.
        numbered: Whether they are several that are named alike but for a number.
        beside_videos: Whether video files lie in the same folder.
    """

    folder: Folder
    name: str
    counts: Counter[str]
    first: str
    last: str
    numbered: bool
    beside_videos: bool


@dataclass(frozen=True, slots=True)
class MediaTree:
    """The video file `path`, or what lies anywhere below the folder `path`.

    Attributes:
        path: As given.
        settings: Of the source.
        reads: Video files, frame folders, or both.
    """

    path: Path
    settings: SourceSettings
    reads: Reads = "both"

    @property
    def root(self) -> str:
        """The path that was given."""
        return str(self.path)

    @property
    def description(self) -> str:
        """What is read, in one line."""
        if not self.path.is_dir():
            return f"the video file {self.path}"
        what = {"both": "video files and frame folders", "videos": "video files", "folders": "frame folders"}
        return f"{what[self.reads]} in {self.path}"

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        if not self.path.is_dir():
            return list_videos([self._candidate(self.path, PurePath(self.path.stem))], self.settings)
        left_out = LeftOutFiles()
        candidates = self._candidates(left_out)
        for group in left_out.groups():
            note_left_out(group)
        if not candidates:
            raise SourceError(self._nothing_found(left_out))
        return list_videos(candidates, self.settings)

    def _candidates(self, left_out: LeftOutFiles) -> list[Candidate]:
        found: list[Candidate] = []
        picture_folders: list[_Pictures] = []
        stems: set[str] = set()
        for folder in walk(self.path):
            if not folder.listed:
                # It may hold videos: as a candidate it becomes a problem with the reason.
                found.append(self._candidate(folder.path, folder.relative))
            if folder.is_dataset:
                left_out.add("datasets of phoenix_ray", f"{folder.relative}/", FOLDER)
            clips = [name for name in folder.files if is_video_name(name)]
            pictures = [name for name in folder.files if is_frame_name(name)]
            for name in folder.files:
                if not is_video_name(name) and not is_frame_name(name):
                    left_out.add(NEITHER, folder.relative / name)
            if self.reads == "folders":
                for name in clips:
                    left_out.add("video files, and source.kind is folders", folder.relative / name)
            else:
                stems.update(PurePath(name).stem for name in clips)
                found += [
                    self._candidate(folder.path / name, (folder.relative / name).with_suffix("")) for name in clips
                ]
            if pictures:
                picture_folders.append(_describe(folder, pictures, beside_videos=bool(clips)))
        for one in picture_folders:
            reason = self._why_not(one, stems)
            if reason is None:
                # Pictures right in the root make it one video, named after it.
                relative = one.folder.relative
                found.append(self._candidate(one.folder.path, relative if relative.parts else PurePath(self.path.name)))
                continue
            for ending, count in one.counts.items():
                left_out.add(reason, one.name, ending, count)
        return found

    def _why_not(self, pictures: _Pictures, stems: Collection[str]) -> str | None:
        """Return why the pictures of a folder are not read as a video; None when they are."""
        if self.reads == "videos":
            return "pictures, and source.kind is videos"
        if self.reads == "folders" or not stems:
            return None
        if pictures.beside_videos:
            return f"pictures in one folder with video files; {_FRAMES_ONLY}"
        if not {pictures.first, pictures.last, pictures.folder.path.name}.isdisjoint(stems):
            return f"pictures named as a video file is; {_FRAMES_ONLY}"
        if not pictures.numbered:
            return f"pictures that no number puts in order, among video files; {_FRAMES_ONLY}"
        return None

    def _candidate(self, path: Path, relative: PurePath) -> Candidate:
        split, video_id = split_and_id(relative)
        return Candidate(split, video_id, str(path), named_by=str(self.path))

    def _nothing_found(self, left_out: LeftOutFiles) -> str:
        wanted = {
            "both": f"no video files and no frames ({' '.join(FRAME_SUFFIXES)})",
            "videos": "no video files",
            "folders": f"no frames ({' '.join(FRAME_SUFFIXES)})",
        }
        return f"{self.path} holds {wanted[self.reads]}. {describe_content(left_out)}"


def describe_content(left_out: LeftOutFiles) -> str:
    """Return a sentence that says what is there instead of a source."""
    groups = left_out.groups()
    if not groups:
        return "There is no file in it or below; hidden files and folders do not count."
    reasons = {group.reason for group in groups} - {NEITHER}
    return (
        f"There are: {count_endings(groups)}. "
        + "".join(f"Left out are {reason}. " for reason in sorted(reasons))
        + ("Formats that are read: docs/sources.md.")
    )


def open_media_tree(path: Path, settings: SourceSettings) -> MediaTree:
    """Return the video files and frame folders at `path`."""
    return MediaTree(path, settings)


def open_videos(path: Path, settings: SourceSettings) -> MediaTree:
    """Return the video files at `path`, a file or a folder."""
    return MediaTree(path, settings, "videos")


def open_folders(path: Path, settings: SourceSettings) -> MediaTree:
    """Return the frame folders in `path`.

    Raises:
        SourceError: `path` is no folder.
    """
    if not path.is_dir():
        raise SourceError(f"{path} is no folder, so it cannot hold frame folders: check source.path and source.kind.")
    return MediaTree(path, settings, "folders")


def _describe(folder: Folder, pictures: Sequence[str], beside_videos: bool) -> _Pictures:
    stems = [PurePath(name).stem for name in pictures]
    numbers = [_NUMBERED.fullmatch(stem) for stem in stems]
    numbered = len(stems) > 1 and all(numbers) and len({match[1] for match in numbers if match}) == 1
    counts = Counter(map(ending_of, pictures))
    name = str(folder.relative / pictures[0]) if len(pictures) == 1 else f"{folder.relative}/"
    return _Pictures(folder, name, counts, stems[0], stems[-1], numbered, beside_videos)
