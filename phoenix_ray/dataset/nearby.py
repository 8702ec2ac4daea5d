"""Says where the dataset is, when a user names a path beside it.

Called by `identity.read_identity` where a folder has no `dataset.json`: users name the folder's `data/`, a file inside,
the source, or the folder that holds several datasets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.sealing import parse_mapping
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError, did_you_mean
from phoenix_ray.sources.formats import is_frame_name, is_video_name
from phoenix_ray.text import printable_line, short_line

_MOST_ENTRIES = 1_000
_NAMES_LISTED = 3
_ONLY_OF_DATASETS = {paths.MANIFESTS, paths.VIDEOS, paths.PARTITIONS}
# What a path raises that may not be looked at, that no file system can hold, or whose links form a circle.
_UNUSABLE = (OSError, ValueError, RuntimeError)


def describe_nearby(root: str) -> str:
    """Return sentences about a path of this machine that is not a dataset, each after a space; empty without any.

    Only names in the folder and in the one around it are looked at, and the small `dataset.json` of datasets there.
    """
    path = Path(root)
    with suppress(*_UNUSABLE):
        if enclosing := paths.enclosing_dataset(path):
            return f" It lies in a dataset: open {printable_line(enclosing)}."
        if not path.exists():
            around = [folder.name for folder in _datasets_in(path.parent)]
            return f" There is no such path.{did_you_mean(path.name, around)}"
        if _ONLY_OF_DATASETS & {entry.name for entry in _entries(path)}:
            return " It was one: start its run again with the same settings, which keeps the rows that they made."
        if held := list(_datasets_in(path)):
            names = ", ".join(short_line(folder.name) for folder in held[:_NAMES_LISTED])
            more = f" and {len(held) - _NAMES_LISTED:,} more" if len(held) > _NAMES_LISTED else ""
            if len(held) == 1:
                return f" It holds a dataset. Did you mean '{printable_line(held[0])}'?"
            return f" It holds the datasets {names}{more}: open one of them."
        for folder in _datasets_in(path.parent):
            if _source_of(folder) == path.resolve():
                return f" It is the source of a dataset. Did you mean '{printable_line(folder)}'?"
        if seen := next((entry.name for entry in _entries(path) if _is_source_file(entry.name)), None):
            return f" It looks like a source: it holds '{short_line(seen)}'."
    return ""


def names_a_file(root: str) -> bool:
    """Return whether there is a file at a path, False also where that cannot be found out."""
    with suppress(*_UNUSABLE):
        return Path(root).is_file()
    return False


def _datasets_in(folder: Path) -> Iterator[Path]:
    return (entry for entry in _entries(folder) if (entry / paths.IDENTITY).is_file())


def _entries(folder: Path) -> list[Path]:
    """Return the first entries of a folder, sorted; those of the folder around it where it is a file."""
    return sorted(islice(folder.iterdir(), _MOST_ENTRIES)) if folder.is_dir() else [folder]


def _source_of(dataset: Path) -> Path | None:
    """Return the recorded source of a dataset as a path, None where that is not known."""
    with suppress(*_UNUSABLE, OutputError):
        recorded = parse_mapping(LocalStorage(str(dataset)).read(paths.IDENTITY)).get("source_root")
        if isinstance(recorded, str) and recorded and "://" not in recorded:
            return Path(recorded).resolve()
    return None


def _is_source_file(name: str) -> bool:
    return is_video_name(name) or is_frame_name(name)
