"""Buckets in memory for the tests of the sources, and copies of folders in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.store import MemoryStore

from phoenix_ray.object_stores import Bucket
from phoenix_ray.sources import object_paths

ROOT = "s3://memory"


class CountedStore:
    """A bucket in memory whose requests can be counted, and can be made to fail.

    Attributes:
        store: The bucket.
        requests: (verb, key or prefix) of each request; a listing is one whatever its length.
        pages: Pages of recursive listings that were taken.
    """

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.requests: list[tuple[str, str]] = []
        self.pages = 0

    def put(self, key: str, content: bytes = b"") -> None:
        obstore.put(self.store, key, content)

    def copy(self, folder: Path, prefix: str) -> str:
        """Put all files of a folder below a prefix, and return the URI of the prefix."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"{ROOT}/{prefix}"

    def count(self, verb: str) -> int:
        return sum(request[0] == verb for request in self.requests)


@contextmanager
def memory_bucket(monkeypatch: Any) -> Iterator[CountedStore]:
    """Open every bucket as the same one in memory."""
    counted = CountedStore()
    monkeypatch.setattr(object_paths, "open_bucket", lambda uri: Bucket(counted.store, uri))
    for verb in ("get", "head", "list_with_delimiter"):
        monkeypatch.setattr(obstore, verb, _noted(counted, verb, getattr(obstore, verb)))
    list_all = obstore.list

    def noted_list(store: Any, prefix: str | None = None, **options: Any) -> Iterator[Any]:
        counted.requests.append(("list", prefix or ""))
        for page in list_all(store, prefix, **options):
            counted.pages += 1
            yield page

    monkeypatch.setattr(obstore, "list", noted_list)
    object_paths.opened_bucket.cache_clear()
    yield counted
    object_paths.opened_bucket.cache_clear()


def _noted(counted: CountedStore, verb: str, request: Any) -> Any:
    def noted(store: Any, key: str, **options: Any) -> Any:
        counted.requests.append((verb, key))
        return request(store, key, **options)

    return noted
