"""Files of a source in a bucket: Amazon S3 and its like, Google Cloud Storage, Azure Blob Storage.

A bucket has no folders, only keys, of which one request lists a thousand. So a folder is whatever keys begin with its
prefix, and neighbouring folders are listed together. No more names are kept than those of the folders at work.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, TypeAlias

from phoenix_ray.object_stores import BrokenOffError, Bucket, BucketError, explain, open_bucket
from phoenix_ray.sources.files import RemoteError, UnavailableError, lookahead, with_retries
from phoenix_ray.sources.formats import is_frame_name, is_video_name
from phoenix_ray.sources.paths import FrameSizes, SourcePath
from phoenix_ray.sources.ranged import BLOCK_BYTES, RangedFile

if TYPE_CHECKING:
    from obstore import GetOptions, ListResult, ObjectMeta

# What lies below a folder: name → bytes of an object, or what lies below a folder.
Tree: TypeAlias = "dict[str, int | Tree]"

# What a request lists, in every store.
PAGE_KEYS = 1000
# In a corpus like PHOENIX-2014-T they take eight pages, so the page on which a listing ends costs little.
FOLDERS_TOGETHER = 64
LISTINGS_TOGETHER = 16
# How far a walk lists what is below neighbouring folders. Behind that, it lists folder by folder, so that no more names
# than those of all listings at work are in memory.
KEYS_AHEAD = 20 * PAGE_KEYS
FILES_TOGETHER = 16


class ObjectPath(SourcePath):
    """The URI of an object, or of a prefix, which is the folder of all objects below it.

    Args:
        location: The URI.
        tree: What lies below the folder, None where it has to be listed.
    """

    read_together = FILES_TOGETHER

    def __init__(self, location: str, tree: Tree | None = None) -> None:
        super().__init__(location)
        scheme, _, place = location.partition("://")
        name, _, self._key = place.partition("/")
        self._bucket = opened_bucket(f"{scheme}://{name}")
        self._tree = tree

    def is_file(self) -> bool:
        """Return whether there is an object of this key."""
        import obstore

        try:
            with self._os_errors():
                return bool(self._key) and bool(obstore.head(self._bucket.store, self._key))
        except FileNotFoundError:
            return False

    def is_folder(self) -> bool:
        """Return whether there is an object below this prefix."""
        return any(self._pages())

    def entries(self) -> dict[str, bool]:
        """Return name → whether it is a folder, without hidden names."""
        tree = self._level() if self._tree is None else self._tree
        return {name: isinstance(entry, dict) for name, entry in tree.items() if not name.startswith(".")}

    def frames(self, *, sizes: bool) -> FrameSizes | None:
        """Return the frames that lie right in this folder; None if this is an object."""
        if is_video_name(self.name) and self.is_file():
            return None
        try:
            return _frames_in(self._level(), sizes=sizes)
        except FileNotFoundError:
            if self.is_file():
                return None
            raise

    def frames_of(self, names: Collection[str], *, sizes: bool) -> Mapping[str, FrameSizes]:
        """Return the frames of folders in this folder that have any object, by listing them together."""
        return {name: _frames_in(tree, sizes=sizes) for name, tree in self._trees(names).items()}

    def listed_ahead(self, names: Sequence[str]) -> Iterable[SourcePath]:
        """Yield folders that lie in this folder with all that is below them."""
        if self._tree is None:
            return self._list_ahead(names)
        below = ((name, self._tree[name]) for name in names)
        return (ObjectPath(f"{self.location}/{name}", tree) for name, tree in below if isinstance(tree, dict))

    def open(self) -> RangedFile:
        """Open the object, by a request that brings its first bytes."""
        from obstore.exceptions import GenericError

        with self._os_errors():
            try:
                meta, start = self._get({"range": (0, BLOCK_BYTES)})
            except GenericError:
                # An empty object has no range.
                import obstore

                if (meta := obstore.head(self._bucket.store, self._key))["size"]:
                    raise
                start = b""

        def read_range(first: int, end: int) -> bytes:
            with self._os_errors():
                return self._get({"range": (first, end), "if_match": meta["e_tag"]})[1]

        return RangedFile(self.location, meta["size"], start, read_range)

    def _get(self, options: GetOptions) -> tuple[ObjectMeta, bytes]:
        import obstore
        from obstore.exceptions import PreconditionError

        try:
            found = obstore.get(self._bucket.store, self._key, options=options)
            return found.meta, bytes(found.bytes())
        except PreconditionError:
            raise UnavailableError(errno.ESTALE, "it was replaced while it was read", self.location) from None

    def _level(self) -> Tree:
        """Return what lies right in this folder; what lies below its folders is not known."""
        found = with_retries(self._list_level)
        level: Tree = {entry["path"].rpartition("/")[2]: entry["size"] for entry in found["objects"]}
        # Tools that want folders mark them by an empty object of the prefix itself.
        if self._key and found["objects"] and found["objects"][0]["path"] == self._key:
            del level[self.name]
        for prefix in found["common_prefixes"]:
            name = prefix.rpartition("/")[2]
            self._refuse_both(name, level.get(name))
            level[name] = {}
        if not (found["objects"] or level):
            raise FileNotFoundError(errno.ENOENT, "No such folder", self.location)
        return level

    def _list_level(self) -> ListResult[Sequence[ObjectMeta]]:
        import obstore

        with self._os_errors():
            return obstore.list_with_delimiter(self._bucket.store, self._key)

    def _list_ahead(self, names: Sequence[str]) -> Iterator[SourcePath]:
        size = min(FOLDERS_TOGETHER, -(-len(names) // LISTINGS_TOGETHER)) or 1
        blocks = [names[first : first + size] for first in range(0, len(names), size)]
        listed = lookahead(partial(self._trees, most_keys=KEYS_AHEAD), blocks, LISTINGS_TOGETHER, LISTINGS_TOGETHER)
        for block, trees in zip(blocks, listed, strict=True):
            for name in block:
                yield ObjectPath(f"{self.location}/{name}", trees.pop(name, None))

    def _trees(self, names: Collection[str], most_keys: int | None = None) -> dict[str, Tree]:
        """Return what lies below folders in this folder.

        Folders without an object are left out, and so are those that are not reached within `most_keys` keys.
        """
        trees: dict[str, Tree] = {}
        for count, (name, key, size) in enumerate(self._objects_of(names)):
            if count == most_keys:
                trees.pop(name, None)
                break
            *folders, last = key.split("/")
            tree = trees.setdefault(name, {})
            for folder in folders:
                below = tree.get(folder)
                if not isinstance(below, dict):
                    self._refuse_both(f"{name}/{key}", below)
                    below = tree[folder] = {}
                tree = below
            tree[last] = size
        return trees

    def _refuse_both(self, name: str, below: int | Tree | None) -> None:
        """Raise OSError where an object has the name of a folder; an empty one only marks the folder."""
        if isinstance(below, int) and below:
            reason = f"An object and a folder have the same key ({name}): rename one of them"
            raise OSError(errno.ENOTSUP, reason, self.location)

    def _objects_of(self, names: Collection[str]) -> Iterator[tuple[str, str, int]]:
        """Yield (name of the folder, key of an object below it, its size), of some folders in this folder.

        What lies between them is passed over: a page that ends there is followed by one that begins at a folder.
        """
        base = f"{self._key}/" if self._key else ""
        waiting = sorted((f"{name}/".encode() for name in names), reverse=True)
        while waiting:
            start, last, within = waiting[-1], b"", False
            # A full stop is the character before the slash.
            for page in self._pages(after=f"{base}{start[:-1].decode()}."):
                for entry in page:
                    key = entry["path"][len(base) :].encode()
                    if key < last and not entry["size"]:
                        # An empty object that marks a folder has lost its slash, by which it is in order.
                        continue
                    if key < last:
                        raise OSError(errno.ENOTSUP, "Its keys are not listed in order, as sources need", self.location)
                    last = key
                    while waiting and waiting[-1] < key and not key.startswith(waiting[-1]):
                        waiting.pop()
                    if not waiting:
                        return
                    if within := key.startswith(waiting[-1]):
                        name, _, inner = key.decode().partition("/")
                        yield name, inner, entry["size"]
                if not within and waiting[-1] != start:
                    break
            else:
                return

    def _pages(self, after: str | None = None) -> Iterator[Sequence[ObjectMeta]]:
        """Yield all objects below this prefix, those behind a key where one is given, by pages in the order of keys."""
        import obstore

        pages: Iterator[Sequence[ObjectMeta]] | None = None

        def next_page() -> Sequence[ObjectMeta] | None:
            nonlocal pages
            with self._os_errors():
                current = pages or iter(
                    obstore.list(self._bucket.store, self._key or None, offset=after, chunk_size=PAGE_KEYS)
                )
                # After an error, the next try begins behind the last page.
                pages = None
                page = next(current, None)
            pages = current
            return page

        while page := with_retries(next_page):
            after = page[-1]["path"]
            yield page

    @contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Turn the client's exceptions into those that a disk would raise."""
        try:
            with explain(self._bucket):
                yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "No such object", self.location) from None
        except BrokenOffError as error:
            raise RemoteError(errno.EIO, str(error), self.location) from None
        except BucketError as error:
            raise UnavailableError(errno.EIO, str(error), self.location) from None


@cache
def opened_bucket(uri: str) -> Bucket:
    """Return the client of a bucket, which keeps connections open: the same at every call in a process.

    Raises:
        ConfigError: See `open_bucket`.
    """
    return open_bucket(uri)


def _frames_in(tree: Tree, *, sizes: bool) -> FrameSizes:
    return {name: size if sizes else 0 for name, size in tree.items() if isinstance(size, int) and is_frame_name(name)}
