"""Where exports are written: a file or folder that appears whole under its name, or not at all.

Every format writes to a temporary neighbour, which takes the name in one rename when all is written. Whatever stops an
export leaves what was there before, and a `.tmp-…` beside it at the worst.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX
from phoenix_ray.errors import OutputError


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


def video_file(folder: Path, split: str, video_id: str, suffix: str) -> Path:
    """Return the file of a video, `<split>/<video ID><suffix>` with the names made harmless, and make its folder."""
    file = folder / safe_name(split) / f"{safe_name(video_id)}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _replace(temporary: Path, output: Path) -> None:
    """Rename; what is in the way of a folder, or is one, moves aside first, because no rename replaces it."""
    if not output.exists() or (output.is_file() and temporary.is_file()):
        temporary.replace(output)
        return
    aside = output.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    output.rename(aside)
    temporary.rename(output)
    _remove(aside)


def _remove(path: Path) -> None:
    """Delete a file or folder as far as possible: what stays is only untidy, and its name says what it is."""
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
