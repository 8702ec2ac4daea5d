"""The landmarks that the built-in demo must give, whatever the Python, the libraries and the processor.

`tests/golden/demo_digest.txt` holds the landmark digest (`phoenix_ray.dataset.tally`) of each video. It changes only
when landmarks are meant to change; then `make matrix MATRIX=--record` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

EXPECTED = Path(__file__).parents[1] / "golden" / "demo_digest.txt"
_HEAD = """\
# Landmark digests of the built-in demo: `phoenix-ray run --config demo` with engine litert, 468 face points.
# split/video digest; `landmark_digest` in the dataset's videos.parquet. Written by `make matrix MATRIX=--record`.
"""

Digests = Mapping[str, str]


def read_expected(file: Path = EXPECTED) -> dict[str, str]:
    """Return "split/video" → landmark digest, 32 hexadecimal digits."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split() for line in lines)


def write_expected(digests: Digests, file: Path = EXPECTED) -> None:
    """Replace the file of expected digests."""
    file.write_text(_HEAD + "".join(f"{video} {digest}\n" for video, digest in sorted(digests.items())))


def total_digest(digests: Iterable[str]) -> str:
    """Return the digest of all the videos together, as `dataset.tally.add_digests` gives it."""
    return f"{sum(int(digest, 16) for digest in digests) % (1 << 128):032x}"


def differing_videos(found: Digests, expected: Digests) -> list[str]:
    """Return the videos whose landmarks differ, or that only one side has."""
    return sorted(video for video in found.keys() | expected.keys() if found.get(video) != expected.get(video))
