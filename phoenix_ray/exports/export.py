"""An export from start to end: `phoenix-ray export` calls `export_videos`.

The output is a file or folder that appears whole under its name, or not at all. Every format writes to a temporary
neighbour, which takes the name in one rename when all is written. Whatever stops an export leaves what was there
before, and a `.tmp-…` beside it at the worst.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.openpose_import import FrameSize
from phoenix_ray.exports.pickles import begins_like_a_pickle
from phoenix_ray.exports.registry import IN_PLACE, find_format, find_writer
from phoenix_ray.exports.selection import ExportSelection, ExportVideo, select_for_export
from phoenix_ray.text import counted, progress_bar

# Endings of what the formats write into folders, and how the files without an ending of their own begin (`mska`,
# `twostream`).
_WRITTEN_SUFFIXES = frozenset({".pose", ".npz", ".json", ".csv", ".parquet", ".tar", ".pkl"})
_WRITTEN_PREFIX = "phoenix-2014t"
_OF_THE_FILE_SYSTEM = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def check_output(source: str, output: Path, overwrite: bool) -> None:
    """Refuse an output that would replace a dataset, what is exported, or files that no export wrote.

    Raises:
        OutputError: `output` is or holds `source`, lies in a dataset, or (with `overwrite`) holds anything else than
            exports; or it cannot be listed.
    """
    target = output.resolve()
    if dataset := paths.enclosing_dataset(target):
        raise OutputError(
            f"{output} is, or lies in, the dataset {dataset}: write the export beside it, for instance to "
            f"{dataset.parent / f'{dataset.name}-export'}."
        )
    if "://" not in source:
        exported = Path(source).resolve()
        if target == exported or target in exported.parents:
            raise OutputError(f"{output} is what is exported, or holds it ({source}): give another OUTPUT.")
    if overwrite and target.is_dir() and (foreign := _find_foreign(target)):
        raise OutputError(
            f"{output} holds files that no export wrote ({foreign.relative_to(target)}, …), which --overwrite would "
            "delete: give another OUTPUT."
        )
    if overwrite and target.is_file() and not _is_pickle(target):
        raise OutputError(f"{output} is not a file that an export wrote, so it is not replaced: give another OUTPUT.")


def _find_foreign(folder: Path) -> Path | None:
    """Return a file below `folder` that no export wrote, if there is one."""

    def fail(error: OSError) -> None:
        raise OutputError(f"Cannot replace {folder}: {error.strerror} ({error.filename}).") from error

    for parent, _, names in os.walk(folder, onerror=fail):
        # A dataset that lost its `dataset.json` still has such folders and files.
        of_a_dataset = any(part.startswith("split=") for part in Path(parent).parts)
        for name in names:
            if of_a_dataset or paths.is_data_file_name(f"{paths.DATA}/{name}") or not _is_of_an_export(name):
                return Path(parent, name)
    return None


def _is_pickle(file: Path) -> bool:
    """Whether this may be a pickle, the one format that is a single file."""
    try:
        return begins_like_a_pickle(file)
    except OSError as error:
        raise OutputError(f"Cannot replace {file}: {error.strerror}.") from error


def _is_of_an_export(name: str) -> bool:
    if name in _OF_THE_FILE_SYSTEM:
        return True
    written = Path(name).suffix in _WRITTEN_SUFFIXES or name.lower().startswith(_WRITTEN_PREFIX)
    return written and name != paths.IDENTITY


@contextmanager
def atomic_output(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a path that does not exist yet, for a file or folder that becomes `output` when the block ends well.

    Raises:
        OutputError: `output` exists and is not to be overwritten, or its folder cannot be written.
    """
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists: give another name, or --overwrite to replace it.")
    temporary = output.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        _replace(temporary, output)
        _flush(output.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OutputError(f"Cannot write {output}: {error.strerror} ({error.filename}).") from error
    finally:
        _remove(temporary)


def _replace(temporary: Path, output: Path) -> None:
    """Rename. An old folder, or an old file that a folder replaces, moves aside first: rename replaces neither."""
    if not output.exists() or (output.is_file() and temporary.is_file()):
        temporary.replace(output)
        return
    aside = output.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    output.rename(aside)
    temporary.rename(output)
    _remove(aside)


def _remove(path: Path) -> None:
    """Delete a file or folder as far as possible: what stays is harmless, and its name marks it as temporary."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Bring a file, or the entries of a folder, to the device. Files inside a folder are left to the system."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        path: The output.
        videos: Number of videos.
        frames: Number of frames.
        bytes: Size of all files.
        uneven_videos: How many videos have a frame rate that varies, which the format cannot say.
        empty_texts: Texts that the format is for, and that no video has: `gloss`, `translation`.
    """

    path: Path
    videos: int
    frames: int
    bytes: int
    uneven_videos: int = 0
    empty_texts: tuple[str, ...] = ()


def export_videos(
    source: str,
    output: Path,
    format_name: str,
    splits: Sequence[str] | None = None,
    videos: Sequence[str] | None = None,
    overwrite: bool = False,
    frame_size: FrameSize | None = None,
) -> Exported:
    """Write some videos of a dataset, or of anything that `open_collection` opens, in another format.

    Args:
        source: The dataset, or what else is opened.
        output: The file or folder to write.
        format_name: One of `registry.FORMATS`.
        splits: Only these splits; None means all.
        videos: Only these IDs; None means all.
        overwrite: Whether an earlier export may be replaced.
        frame_size: As for `open_collection`.

    Raises:
        ConfigError: The format, a split or a video does not exist, or the format cannot hold these landmarks.
        MissingExtraError: The format needs a package that is not installed.
        OutputError: The source cannot be read; or the output exists, cannot be written, or holds files of no export.
    """
    if format_name == IN_PLACE:
        raise ConfigError(f"The format '{IN_PLACE}' has no output: it is written into the dataset.")
    form, writer = find_format(format_name), find_writer(format_name)
    check_output(source, output, overwrite)
    selection = select_for_export(open_collection(source, frame_size), splits, videos)
    _refuse_unfinished(selection)
    done = frames = 0
    empty = set(form.texts)
    with atomic_output(output, overwrite) as temporary, progress_bar(format_name, "videos") as show:

        def finished(video: ExportVideo) -> None:
            nonlocal done, frames
            done, frames = done + 1, frames + video.frames
            empty.difference_update(name for name in form.texts if video.annotation.get(name, "").strip())
            show(done, len(selection.keys), f", {frames:,} frames")

        writer(replace(selection, finished=finished), temporary)
    uneven = 0 if form.timed else _count_uneven(selection)
    return Exported(output, len(selection.keys), frames, _size(output), uneven, tuple(sorted(empty)))


def _refuse_unfinished(selection: ExportSelection) -> None:
    """Raise OutputError where a video ends before its last frame; gaps before that are found when it is read."""
    if not isinstance(selection.collection, Dataset):
        return
    if unfinished := sorted(set(selection.collection.unfinished()).intersection(selection.keys)):
        more = f" and {counted(len(unfinished) - 1, 'other video')} lack" if len(unfinished) > 1 else " lacks"
        raise OutputError(
            f"{'/'.join(unfinished[0])}{more} frames that are not computed yet: finish the run first, or name the "
            "videos to export with --videos."
        )


def _count_uneven(selection: ExportSelection) -> int:
    """Return how many videos have a frame rate that varies, as far as it is recorded."""
    if not isinstance(selection.collection, Dataset):
        return 0
    videos = selection.collection.videos()
    uneven = videos.filter(videos.column("fps_varies")).select(["split", "video_id"]).to_pylist()
    return len({(row["split"], row["video_id"]) for row in uneven}.intersection(selection.keys))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
