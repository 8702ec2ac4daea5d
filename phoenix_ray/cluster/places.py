"""Whether source and output lie where a run may read and write: checked before anything is written.

An output inside the source is fine: a tree of media passes over datasets (`sources.media_tree`).
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.errors import ConfigError, OutputError

_NAMES_SHOWN = 3
# What file systems keep in the root of a volume, beside hidden files.
_OF_THE_FILE_SYSTEM = frozenset({"lost+found"})


def check_places(source_root: str, output_path: str) -> None:
    """Refuse an output that is the source or holds it, and a folder of somebody else's files.

    Args:
        source_root: Absolute path of the source, or a name where it lies in memory.
        output_path: The output as the settings name it, which need not exist. One that is not a path of this machine is
            left to `open_storage` to refuse.

    Raises:
        ConfigError: Output and source are in each other's way.
        OutputError: The output is not a dataset and holds other files, or cannot be listed.
    """
    if not output_path or ("://" in output_path and not output_path.startswith("file://")):
        return
    source, output = Path(source_root).resolve(), Path(output_path.removeprefix("file://")).expanduser().resolve()
    if Path(source_root).is_absolute():
        if source == output:
            raise ConfigError(
                f"output.path is source.path ({_shown(output_path, output)}): the dataset would lie among the videos. "
                f"Give another folder, for instance output.path={output.parent / f'{output.name}-landmarks'}."
            )
        if output in source.parents:
            raise ConfigError(
                f"source.path ({_shown(source_root, source)}) lies inside output.path ({_shown(output_path, output)}): "
                "what a run writes, merges and deletes there would be around the videos. Give an output folder beside "
                f"the source, for instance output.path={source.parent / f'{source.name}-landmarks'}."
            )
    _refuse_foreign_files(output)


def _refuse_foreign_files(output: Path) -> None:
    try:
        if not output.is_dir() or (output / paths.IDENTITY).exists():
            return
        with os.scandir(output) as entries:
            foreign = list(islice((entry.name for entry in entries if _is_foreign(entry)), 1000))
    except OSError as error:
        raise OutputError(f"{output} (output.path) cannot be listed: {error.strerror}.") from None
    if foreign:
        named = sorted(foreign)[:_NAMES_SHOWN]
        more = ", …" if len(foreign) > len(named) else ""
        raise OutputError(
            f"{output} (output.path) is not a dataset and holds other files: {', '.join(named)}{more}. Give an empty "
            f"folder or one that is not there yet, for instance output.path={output / 'landmarks'}."
        )


def _is_foreign(entry: os.DirEntry[str]) -> bool:
    """Return whether no run wrote this; a run's own files may be there although `dataset.json` got lost."""
    if entry.name.startswith(".") or entry.name in _OF_THE_FILE_SYSTEM:
        return False
    if entry.name == paths.DATA and entry.is_dir():
        with os.scandir(entry.path) as splits:
            return any(not inner.name.startswith(("split=", ".")) for inner in splits)
    return entry.name not in paths.TOP_LEVEL


def _shown(given: str, resolved: Path) -> str:
    return given if given == str(resolved) else f"{given}, which is {resolved}"
