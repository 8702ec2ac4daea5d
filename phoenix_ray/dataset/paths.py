"""The names of a dataset's files, and harmless file names for any video ID.

A video ID comes from outside: it may hold slashes, `..`, control characters, any alphabet, thousands of letters.
`safe_name` keeps ASCII letters, digits, `-`, `_` and `.` and percent-encodes the rest, so that

- two IDs never share a name, not even on file systems that normalise unicode,
- no name leaves its folder, is hidden, or looks like a temporary file,
- `urllib.parse.unquote` returns the ID, except for names too long for a file system, which end in a hash.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

IDENTITY = "dataset.json"
MANIFESTS = "manifests"
# The only manifest of earlier versions of phoenix_ray: generation 0.
FIRST_MANIFEST = "manifest.json"
VIDEOS = "videos.parquet"
LEASE = "lease.json"
# Leases of the elements of an array, each of which computes a share of the videos (`array_lease`).
LEASES = "leases"
PARTITIONS = "partitions"
DATA = "data"
FAILURES = "failures"
RUNS = "runs"
# Where `check.repair` puts what it takes out of a dataset.
QUARANTINE = "quarantine"
# Which videos were removed for good (`drop_history`).
DROPPED = "dropped"
# The dataset card, which users may edit.
CARD = "README.md"
# All names in the folder of a dataset.
TOP_LEVEL = frozenset(
    {IDENTITY, MANIFESTS, FIRST_MANIFEST, VIDEOS, LEASE, LEASES, PARTITIONS, DATA, FAILURES, RUNS, QUARANTINE}
    | {DROPPED, CARD}
)

# File systems allow names of 255 bytes, including `split=`, the digits of a data file and a suffix.
_LONGEST_NAME = 200
_HASH_DIGITS = 32
# `train-0123….parquet`, and `split=train/0123….parquet` of earlier versions. phoenix_ray writes no others in `data`.
_DATA_FILE = re.compile(r"[^/=-]+-[0-9a-f]{32}\.parquet")
_EARLIER_DATA_FILE = re.compile(r"split=[^/]*/[0-9a-f]{32}\.parquet")


def enclosing_dataset(path: Path) -> Path | None:
    """Return the folder of the dataset that a path is or lies in, with links resolved; None where there is none."""
    target = path.resolve()
    return next((folder for folder in (target, *target.parents) if (folder / IDENTITY).is_file()), None)


def safe_name(text: str) -> str:
    """Return a file name for any text: unique, at most 200 ASCII characters, never empty, `.` or hidden."""
    return _shortened(_encoded(text), text)


def _encoded(text: str) -> str:
    # `quote` keeps "~", which is reserved for names that end in a hash.
    encoded = quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _shortened(encoded: str, text: str) -> str:
    if 0 < len(encoded) <= _LONGEST_NAME:
        return encoded
    whole = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{encoded[: _LONGEST_NAME - _HASH_DIGITS - 1]}~{whole}"


def partition_path(split: str, video_id: str, first: int, last: int) -> str:
    """Return the name of the partition that holds frames `first` to `last` (exclusive) of a video."""
    return f"{video_folder(PARTITIONS, split, video_id)}/{first:08}-{last:08}.parquet"


def failure_path(split: str, video_id: str, first: int, last: int) -> str:
    """Return the name of the failure record of a shard."""
    return f"{video_folder(FAILURES, split, video_id)}/{first:08}-{last:08}.json"


def data_path(split: str, content: str) -> str:
    """Return the name of a data file; `content` is a random or hashed part that makes it unique.

    All data files lie in one folder, because Spark finds none below folders that are not named `key=value`, and Arrow
    infers a column from such names. The first `-` ends the split, so `data_path(split, "*")` matches no other split.
    """
    encoded = _encoded(split).replace("-", "%2D")
    if encoded.startswith("_"):
        # Spark and Arrow leave out files whose names begin with it.
        encoded = "%5F" + encoded[1:]
    return f"{DATA}/{_shortened(encoded, split)}-{content}.parquet"


def earlier_data_path(split: str, content: str) -> str:
    """Return the name that earlier versions gave to a data file; compaction rewrites such files."""
    return f"{DATA}/split={safe_name(split)}/{content}.parquet"


def is_data_file_name(name: str) -> bool:
    """Whether a name is one that a compaction gives to a data file, or gave in earlier versions."""
    folder, _, rest = name.partition("/")
    return (folder == DATA and _DATA_FILE.fullmatch(rest) is not None) or is_earlier_data_file_name(name)


def is_earlier_data_file_name(name: str) -> bool:
    """Whether earlier versions gave a data file this name; such files hold the split as a dictionary."""
    folder, _, rest = name.partition("/")
    return folder == DATA and _EARLIER_DATA_FILE.fullmatch(rest) is not None


def manifest_path(generation: int) -> str:
    """Return the name of a generation of the manifest."""
    return f"{MANIFESTS}/{generation:012}.json" if generation else FIRST_MANIFEST


def manifest_generation(name: str) -> int | None:
    """Return the generation of the manifest with this name; None where it is not the name of a manifest."""
    folder, _, last = name.partition("/")
    number, _, ending = last.partition(".")
    if name == FIRST_MANIFEST:
        return 0
    known = folder == MANIFESTS and ending == "json" and len(number) == 12 and number.isascii() and number.isdigit()
    return int(number) or None if known else None


def video_folder(kind: str, split: str, video_id: str) -> str:
    """Return the folder of one video below `partitions` or `failures`.

    A hash spreads videos over 256 folders, so that no folder has more than some thousands of entries.
    """
    fan_out = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:2]
    return f"{kind}/split={safe_name(split)}/{fan_out}/{safe_name(video_id)}"
