"""A video file, or a tree of video files and frame folders: the sources `videos`, `folders` and, by default, both.

videos/train/monday/clip one.mp4         → split "train", ID "monday/clip one"
videos/clip2.mov                         → split "all", ID "clip2"
frames/train/monday/clip one/frame1.jpg  → split "train", ID "monday/clip one"

A folder that holds pictures is one video. Where there are video files too, pictures may also be thumbnails, or frames
of these same videos; `_why_left_out` leaves out every folder that is not certainly a video of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.folders import frame_names, split_and_id, walk
from phoenix_ray.sources.formats import FRAME_SUFFIXES, is_frame_name, is_video_name
from phoenix_ray.sources.listing import FOLDER, Candidate, LeftOutFiles, count_endings, ending_of, list_videos
from phoenix_ray.sources.paths import SourcePath

Reads = Literal["both", "videos", "folders"]
NEITHER = "neither video files nor pictures of a format that is read"
_FRAMES_ONLY = "to read them as frames, start another run with source.kind=folders; it may have the same output"
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _PictureFolder:
    """A folder of pictures, which may or may not be a video; `relative` is its path below the root of the tree."""

    path: SourcePath
    relative: PurePath
    beside_videos: bool


@dataclass(frozen=True, slots=True)
class MediaTree:
    """The video file `path`, or what lies anywhere below the folder `path`.

    Attributes:
        path: The path that the user gave.
        settings: The source's settings.
        reads: Whether video files, frame folders, or both are read.
    """

    path: SourcePath
    settings: SourceSettings
    reads: Reads = "both"

    @property
    def root(self) -> str:
        """The path that was given."""
        return str(self.path)

    @property
    def description(self) -> str:
        """What is read, in one line."""
        if not self.path.is_folder():
            return f"the video file {self.path}"
        what = {"both": "video files and frame folders", "videos": "video files", "folders": "frame folders"}
        return f"{what[self.reads]} in {self.path}"

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        if not self.path.is_folder():
            return list_videos([self._candidate(self.path, PurePath(PurePath(self.path.name).stem))], self.settings)
        left_out = LeftOutFiles()
        candidates = self._candidates(left_out)
        for group in left_out.groups():
            note_left_out(group)
        if not candidates:
            raise SourceError(self._nothing_found(left_out))
        return list_videos(candidates, self.settings)

    def _candidates(self, left_out: LeftOutFiles) -> list[Candidate]:
        found: list[Candidate] = []
        picture_folders: list[_PictureFolder] = []
        video_stems: set[str] = set()
        for folder in walk(self.path):
            if not folder.listed:
                # It may hold videos. As a candidate it becomes a problem with the reason.
                found.append(self._candidate(folder.path, folder.relative))
            if folder.is_dataset:
                left_out.add("datasets of phoenix_ray", f"{folder.relative}/", FOLDER)
            pictures, clips = 0, 0
            for name in folder.files:
                if is_frame_name(name):
                    pictures += 1
                elif not is_video_name(name):
                    left_out.add(NEITHER, folder.relative / name)
                elif self.reads == "folders":
                    left_out.add("video files, and source.kind is folders", folder.relative / name)
                else:
                    clips += 1
                    video_stems.add(PurePath(name).stem)
                    found.append(self._candidate(folder.path / name, (folder.relative / name).with_suffix("")))
            if pictures:
                picture_folders.append(_PictureFolder(folder.path, folder.relative, beside_videos=clips > 0))
        for pictured in picture_folders:
            if not self._leave_out(pictured, video_stems, left_out):
                # Pictures directly in the root are one video, named after the root.
                relative = pictured.relative if pictured.relative.parts else PurePath(self.path.name)
                found.append(self._candidate(pictured.path, relative))
        return found

    def _leave_out(self, folder: _PictureFolder, video_stems: Collection[str], left_out: LeftOutFiles) -> bool:
        """Add the pictures of a folder to `left_out` if they are not read as a video; return whether that is so."""
        # Names are listed only where there is doubt, so that the names of millions of frames are not kept.
        doubtful = self.reads == "videos" or (self.reads == "both" and video_stems)
        names = _picture_names(folder.path) if doubtful else []
        reason = self._why_left_out(folder, names, video_stems) if names else None
        if reason is None:
            return False
        place = folder.relative / names[0] if len(names) == 1 else f"{folder.relative}/"
        for ending, count in Counter(map(ending_of, names)).items():
            left_out.add(reason, place, ending, count)
        return True

    def _why_left_out(self, folder: _PictureFolder, names: Sequence[str], video_stems: Collection[str]) -> str | None:
        """Return why the pictures of a folder are not read as a video; None if they are."""
        if self.reads == "videos":
            return "pictures, and source.kind is videos"
        if folder.beside_videos:
            return f"pictures in the same folder as video files; {_FRAMES_ONLY}"
        if not {PurePath(names[0]).stem, PurePath(names[-1]).stem, folder.path.name}.isdisjoint(video_stems):
            return f"pictures named like a video file; {_FRAMES_ONLY}"
        if not _are_numbered(names):
            return f"pictures without numbers that put them in order, among video files; {_FRAMES_ONLY}"
        return None

    def _candidate(self, path: SourcePath, relative: PurePath) -> Candidate:
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
    """Return sentences that say what a path holds in place of videos."""
    groups = left_out.groups()
    if not groups:
        return "It and the folders in it hold no files; hidden files and folders do not count."
    reasons = {group.reason for group in groups} - {NEITHER}
    left_out_for = "".join(f"Left out are {reason}. " for reason in sorted(reasons))
    return f"There are: {count_endings(groups)}. {left_out_for}Formats that are read: docs/sources.md."


def open_media_tree(path: SourcePath, settings: SourceSettings) -> MediaTree:
    """Return the video files and frame folders at `path`."""
    return MediaTree(path, settings)


def open_videos(path: SourcePath, settings: SourceSettings) -> MediaTree:
    """Return the video files at `path`, a file or a folder."""
    return MediaTree(path, settings, "videos")


def open_folders(path: SourcePath, settings: SourceSettings) -> MediaTree:
    """Return the frame folders in `path`.

    Raises:
        SourceError: `path` is not a folder.
    """
    if not path.is_folder():
        raise SourceError(
            f"{path} is not a folder, so it cannot hold frame folders: check source.path and source.kind."
        )
    return MediaTree(path, settings, "folders")


def _picture_names(folder: SourcePath) -> list[str]:
    """Return the pictures of a folder in order; none if the folder has since gone, which becomes a problem later."""
    with suppress(OSError):
        return frame_names(folder)
    return []


def _are_numbered(names: Sequence[str]) -> bool:
    """Return whether there are several pictures whose names differ only in a number."""
    numbers = [_NUMBERED.fullmatch(PurePath(name).stem) for name in names]
    return len(names) > 1 and all(numbers) and len({match[1] for match in numbers if match}) == 1
