"""The PHOENIX-2014-T tree: a frame folder for each video, three splits, and annotations if the user has them.

    PHOENIX-2014-T/features/fullFrame-210x260px/{train,dev,test}/<video>/images0001.png ...
    PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv

Folders and rows of the CSV files are joined by name: a folder without a row is a video without annotation, a row
without a folder is a `SourceProblem`. Other files beside the frames, and other CSV files, are ignored.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError, did_you_mean
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.listing import FOLDER, Candidate, LeftOutFiles, check_splits, list_videos
from phoenix_ray.sources.paths import SourcePath

SPLITS = ("train", "dev", "test")
FRAMES_PER_SECOND = 25.0
DATASET_FOLDER = "PHOENIX-2014-T"
FRAMES_FOLDER = PurePath("features", "fullFrame-210x260px")
ANNOTATIONS_FOLDER = PurePath("annotations", "manual")
ANNOTATION_COLUMNS = {"speaker": "signer", "orth": "gloss", "translation": "translation"}


@dataclass(frozen=True, slots=True)
class PhoenixSource:
    """A PHOENIX-2014-T tree; `dataset` is its `PHOENIX-2014-T` folder."""

    dataset: SourcePath
    settings: SourceSettings

    @property
    def root(self) -> str:
        """The `PHOENIX-2014-T` folder, whichever folder around or inside it was given."""
        return str(self.dataset)

    @property
    def description(self) -> str:
        """What was found, in one line."""
        annotated = [split for split in SPLITS if (self.dataset / annotation_path(split)).is_file()]
        found = f"annotations of {', '.join(annotated)} found" if annotated else "no annotations found"
        return f"PHOENIX-2014-T at {self.dataset} ({found})"

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        places = {split: (self._frames(split), self.dataset / annotation_path(split)) for split in SPLITS}
        present = [
            split for split, (frames, annotations) in places.items() if frames.is_folder() or annotations.is_file()
        ]
        check_splits(self.settings.splits, present)
        wanted = [split for split in present if not self.settings.splits or split in self.settings.splits]
        if not wanted:
            raise SourceError(f"{self.dataset / FRAMES_FOLDER} holds none of the folders {', '.join(SPLITS)}.")
        for group in self._left_out().groups():
            note_left_out(group)
        candidates = [candidate for split in wanted for candidate in self._candidates(split)]
        return list_videos(candidates, self.settings)

    def _candidates(self, split: str) -> list[Candidate]:
        frames, annotations = self._frames(split), self.dataset / annotation_path(split)
        rows = read_annotations(annotations) if annotations.is_file() else {}
        names = {name for name, is_video in _entries(frames).items() if is_video} | rows.keys()
        if not names:
            raise SourceError(
                f"Split '{split}' is empty: {frames} holds no video folders. Unpack the dataset again, or leave the "
                f"split out with source.splits."
            )
        return [
            Candidate(
                split=split,
                video_id=name,
                location=str(frames / name),
                named_by=annotations.name if name in rows else str(frames),
                fps=FRAMES_PER_SECOND,
                annotation=rows.get(name, {}),
            )
            for name in names
        ]

    def _left_out(self) -> LeftOutFiles:
        """Return what lies among splits and videos but is neither. Frame folders are not searched."""
        left_out = LeftOutFiles()
        splits = _entries(self.dataset / FRAMES_FOLDER)
        for name, nested in sorted(splits.items()):
            if not nested:
                left_out.add("files where the folders of splits lie", name)
            elif name not in SPLITS:
                reason = f"folders beside {', '.join(SPLITS)}; source.kind=folders reads any tree of frame folders"
                left_out.add(reason, f"{name}/", ending=FOLDER)
            else:
                for inner, is_video in sorted(_entries(self._frames(name)).items()):
                    if not is_video:
                        left_out.add("files where the folders of videos lie", f"{name}/{inner}")
        return left_out

    def _frames(self, split: str) -> SourcePath:
        return self.dataset / FRAMES_FOLDER / split


def find_dataset(path: SourcePath) -> SourcePath | None:
    """Return the `PHOENIX-2014-T` folder that `path` is, contains, or lies in at `features/…`; None without one."""
    places = [path, path / DATASET_FOLDER]
    for folder, below in zip(path.parents, (FRAMES_FOLDER.parent, FRAMES_FOLDER), strict=False):
        if str(folder / below) == str(path):
            places.append(folder)
    return next((folder for folder in places if (folder / FRAMES_FOLDER).is_folder()), None)


def open_phoenix(path: SourcePath, settings: SourceSettings) -> PhoenixSource:
    """Return the PHOENIX-2014-T tree at `path`.

    Raises:
        SourceError: There is no such tree.
    """
    dataset = find_dataset(path)
    if dataset is None:
        raise SourceError(
            f"{path} is not a PHOENIX-2014-T tree: give the folder that holds {FRAMES_FOLDER}, or use "
            "source.kind=folders for frame folders of another layout."
        )
    return PhoenixSource(dataset, settings)


def annotation_path(split: str) -> PurePath:
    """Return the path of the annotations of a split, relative to the dataset."""
    return ANNOTATIONS_FOLDER / f"PHOENIX-2014-T.{split}.corpus.csv"


def read_annotations(path: SourcePath) -> dict[str, dict[str, str]]:
    """Return video name → {signer, gloss, translation}.

    Values are separated by `|` and never quoted, so a quotation mark is text. The columns `video`, `start` and `end`
    are not used: frames do not lie where `video` says, and the other two are always -1.

    Raises:
        SourceError: The file cannot be read, or lacks a column.
    """
    try:
        with path.open() as file:
            text = io.TextIOWrapper(file.stream(), encoding="utf-8-sig", newline="")
            rows = csv.DictReader(text, delimiter="|", quoting=csv.QUOTE_NONE, restval="")
            for column in ("name", *ANNOTATION_COLUMNS):
                if column not in (rows.fieldnames or ()):
                    hint = did_you_mean(column, rows.fieldnames or ())
                    raise SourceError(f"{path} has no column '{column}' (separated by '|').{hint}")
            return {
                row["name"]: {ours: row[theirs] for theirs, ours in ANNOTATION_COLUMNS.items()}
                for row in rows
                if row["name"]
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def _entries(folder: SourcePath) -> dict[str, bool]:
    """Return name → whether it is a folder, without hidden names; nothing if the folder does not exist."""
    try:
        return folder.entries()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error}") from None
