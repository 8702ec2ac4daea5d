"""Names of the files of a dataset: what lies where, and how any video ID becomes a harmless name.

A video ID is data from outside: it may hold slashes, `..`, control characters, any alphabet, thousands of letters. A
name made here keeps ASCII letters, digits, `-`, `_` and `.` as they are and percent-encodes the rest, so that

- two IDs never share a name (also not on file systems that normalise unicode),
- no name leaves its folder, is hidden, or looks like a temporary file,
- `urllib.parse.unquote` gives the ID back, except for names too long for a file system, which end in a hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

IDENTITY = "dataset.json"
MANIFESTS = "manifests"
# Where earlier versions of phoenix_ray kept the one manifest: generation 0.
FIRST_MANIFEST = "manifest.json"
VIDEOS = "videos.parquet"
LEASE = "lease.json"
PARTITIONS = "partitions"
DATA = "data"
FAILURES = "failures"
RUNS = "runs"
# Where `check.repair` puts what it takes out of a dataset.
QUARANTINE = "quarantine"
# All that lies right in the folder of a dataset.
TOP_LEVEL = frozenset(
    {IDENTITY, MANIFESTS, FIRST_MANIFEST, VIDEOS, LEASE, PARTITIONS, DATA, FAILURES, RUNS, QUARANTINE}
)

# File systems allow 255 bytes a name; `split=` and room for a suffix are part of it.
_LONGEST_NAME = 200
_HASH_DIGITS = 32


def enclosing_dataset(path: Path) -> Path | None:
    """Return the folder of the dataset that a path of this machine is or lies in, links resolved; None without one."""
    target = path.resolve()
    return next((folder for folder in (target, *target.parents) if (folder / IDENTITY).is_file()), None)


def safe_name(text: str) -> str:
    """Return a file name for any text: injective, at most 200 ASCII characters, never empty, `.` or hidden."""
    # `quote` leaves "~" alone; it is kept free to mark a name that ends in a hash.
    encoded = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if 0 < len(encoded) <= _LONGEST_NAME:
        return encoded
    whole = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{encoded[: _LONGEST_NAME - _HASH_DIGITS - 1]}~{whole}"


def partition_path(split: str, video_id: str, first: int, last: int) -> str:
    """Return the one name of the partition that holds frames `first` to `last` (exclusive) of a video."""
    return f"{video_folder(PARTITIONS, split, video_id)}/{first:08}-{last:08}.parquet"


def failure_path(split: str, video_id: str, first: int, last: int) -> str:
    """Return the one name of the failure record of a shard."""
    return f"{video_folder(FAILURES, split, video_id)}/{first:08}-{last:08}.json"


def data_path(split: str, content: str) -> str:
    """Return the name of a compacted file; `content` is a hash that names what it is made of."""
    return f"{DATA}/split={safe_name(split)}/{content}.parquet"


def manifest_path(generation: int) -> str:
    """Return the name of a generation of the manifest."""
    return f"{MANIFESTS}/{generation:012}.json" if generation else FIRST_MANIFEST


def manifest_generation(name: str) -> int | None:
    """Return the generation of the manifest that has this name, None when none has."""
    folder, _, last = name.partition("/")
    number, _, ending = last.partition(".")
    if name == FIRST_MANIFEST:
        return 0
    known = folder == MANIFESTS and ending == "json" and len(number) == 12 and number.isascii() and number.isdigit()
    return int(number) or None if known else None


def video_folder(kind: str, split: str, video_id: str) -> str:
    """Return the folder of one video below `partitions` or `failures`.

    Videos are spread over 256 folders by hash, so that no folder grows past some thousands of entries.
    """
    fan_out = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:2]
    return f"{kind}/split={safe_name(split)}/{fan_out}/{safe_name(video_id)}"
