"""A dataset in an object store: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

An object appears whole, by one request, or not at all, so no temporary names are needed. The claim on an output, its
identity and each generation of the manifest are made with a condition (`If-None-Match: *`): of two drivers one
succeeds. A request whose answer was lost is repeated, and then meets the object that the first one made; the content
says whose it is. A store that ignores conditions is refused, since two drivers would overwrite each other's manifests.

These stores list and read what was written at once (since 2020 also Amazon's), as file systems do.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa

from phoenix_ray.dataset.storage import StoredFile, checked_name, refuse_huge
from phoenix_ray.errors import OutputError
from phoenix_ray.object_stores import PAUSES, BrokenOffError, Bucket, BucketError, explain, unbroken

if TYPE_CHECKING:
    from obstore import GetOptions, UpdateVersion

# Data files are uploaded in parts of this size, some at once; Amazon allows 10,000 parts.
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 4
# A footer is at most this long in nearly all files, and comes with the request that opens the file.
_TAIL_BYTES = 64 << 10
# Smaller reads are rounded up: a request takes as long as some hundred kilobytes.
_LEAST_BYTES = 256 << 10


class ObjectStorage:
    """A dataset below a prefix of a bucket.

    Args:
        bucket: The bucket and prefix.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._store = bucket.store
        self._conditions_tested = False
        # Ceph compares tags without the quotation marks that HTTP asks for (seen in 16.2).
        self._tags_quoted = True

    def __reduce__(self) -> tuple[type[ObjectStorage], tuple[Bucket]]:
        return ObjectStorage, (self._bucket,)

    @property
    def root(self) -> str:
        """The URI."""
        return self._bucket.root

    def read(self, name: str) -> bytes:
        """Return the content of a file of at most `MOST_BYTES_AT_ONCE`."""
        import obstore

        with self._explained("read", name):
            found = unbroken(lambda: obstore.get(self._store, checked_name(name)))
            refuse_huge(f"{self.root}/{name}", found.meta["size"])
            return found.bytes().to_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access by Arrow."""
        return pa.PythonFile(_ObjectReader(self, checked_name(name)), mode="r")

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file in one atomic step; a file of this name is replaced."""
        import obstore

        with self._explained("write", name):
            view = memoryview(content).cast("B")
            unbroken(lambda: obstore.put(self._store, checked_name(name), view, use_multipart=False))

    def create(self, name: str, content: bytes) -> bool:
        """Write a file in one atomic step unless the name is taken; return whether this call made it."""
        try:
            self._create(name, content)
        except FileExistsError:
            self._conditions_tested = True
            return self._holds(name, content)
        if not self._conditions_tested:
            try:
                self._create(name, content)
            except FileExistsError:
                self._conditions_tested = True
            else:
                raise OutputError(
                    f"{self.root} cannot hold a dataset: the store ignores the condition `If-None-Match: *`, so two "
                    f"runs at once could overwrite each other's files. Give a store that honours it, or a folder."
                )
        return True

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Write a file if it still holds `old`; return whether this call did. `new` is like no other content."""
        for quoted in (self._tags_quoted, not self._tags_quoted):
            if self._replace(name, old, new, quoted):
                self._tags_quoted = quoted
                return True
        return False

    def _replace(self, name: str, old: bytes, new: bytes, quoted: bool) -> bool:
        import obstore

        try:
            with self._explained("read", name):
                found = unbroken(lambda: obstore.get(self._store, checked_name(name)))
                # Google compares its own number of a version, the others compare tags.
                tag = found.meta["e_tag"] or ""
                keys = {"e_tag": tag if quoted else tag.strip('"'), "version": found.meta["version"]}
                version = cast("UpdateVersion", {key: value for key, value in keys.items() if value})
                if found.bytes().to_bytes() != old:
                    return False
            with self._explained("write", name):
                unbroken(lambda: obstore.put(self._store, name, new, mode=version))
        except FileNotFoundError:
            return False
        except FileExistsError:
            return self._holds(name, new)
        return True

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Give a stream for a large file; the file gets its name when the block ends without an exception.

        The bytes are kept in a temporary file of this machine until then: an upload that is broken off costs storage
        until somebody looks for it.
        """
        import obstore

        try:
            with tempfile.TemporaryFile(prefix="phoenix-ray-") as stream:
                yield cast("BinaryIO", stream)
                stream.seek(0)
                with self._explained("write", name):
                    obstore.put(
                        self._store,
                        checked_name(name),
                        stream,
                        chunk_size=_PART_BYTES,
                        max_concurrency=_PARTS_AT_ONCE,
                    )
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            raise OutputError(
                f"Cannot write {self.root}/{name}: {tempfile.gettempdir()}, where it is made, answers "
                f"'{error.strerror}'. Free space there, or set TMPDIR to another folder."
            ) from error

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield every file below a folder, in no order; nothing where there is no such folder."""
        import obstore

        # Names come in order, so a listing that breaks off goes on after the last one.
        last: str | None = None
        pauses = iter(PAUSES)
        while True:
            try:
                with explain(self._bucket):
                    for block in obstore.list(self._store, folder or None, offset=last):
                        for found in block:
                            last = found["path"]
                            if found["size"] or not _marks_a_folder(last):
                                yield StoredFile(last, found["size"], found["last_modified"].timestamp())
                return
            except BucketError as error:  # noqa: PERF203
                pause = next(pauses, None)
                if pause is None or not isinstance(error, BrokenOffError):
                    raise OutputError(f"Cannot list {self.root}/{folder}: {error}.") from None
                time.sleep(pause)

    def top_level(self, folder: str = "") -> Iterator[str]:
        """Yield what lies right in a folder, in order, by a request for each, however much lies below."""
        base = f"{folder}/" if folder else ""
        after = base or None
        while True:
            with self._explained("list", folder):
                page = unbroken(partial(self._first_page, folder, after))
            if not page:
                return
            key = page[0]["path"]
            name, below, _ = key.removeprefix(base).partition("/")
            if page[0]["size"] or not _marks_a_folder(key):
                yield name
            # Behind all that a folder holds; its names are ASCII where phoenix_ray has written them.
            behind = f"{base}{name}/~" if below else key
            after = behind if behind > (after or "") else page[-1]["path"]

    def _first_page(self, folder: str, after: str | None) -> Any:
        """Return the first objects below a folder whose keys are greater than `after`; None where there are none."""
        import obstore

        return next(iter(obstore.list(self._store, folder or None, offset=after)), None)

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """Yield nothing: a bucket holds objects only."""
        yield from ()

    def prune(self, folder: str) -> None:
        """Do nothing: a bucket has no folders."""

    def delete(self, name: str) -> None:
        """Remove a file; a missing file is not an error."""
        import obstore

        try:
            with self._explained("delete", name):
                unbroken(lambda: obstore.delete(self._store, checked_name(name)))
        except FileNotFoundError:
            return

    def move(self, name: str, to: str) -> None:
        """Give a file another name: it is copied, then removed."""
        import obstore

        with self._explained("rename", name):
            unbroken(lambda: obstore.copy(self._store, checked_name(name), checked_name(to)))
        self.delete(name)

    def fetch(self, name: str, start: int, end: int, e_tag: str | None) -> bytes:
        """Return some bytes of a file that has had this tag.

        Raises:
            FileNotFoundError: There is no such file, or it has been replaced since.
        """
        import obstore

        same: GetOptions = {"if_match": e_tag} if e_tag else {}
        try:
            with self._explained("read", name):
                found = unbroken(lambda: obstore.get(self._store, name, options={"range": (start, end), **same}))
                return found.bytes().to_bytes()
        except FileExistsError:
            raise FileNotFoundError(errno.ENOENT, "It was replaced while it was read", name) from None

    def fetch_tail(self, name: str, size: int) -> tuple[bytes, int, str | None]:
        """Return the last bytes of a file, at most `size`, with the size and the tag of the whole file."""
        import obstore

        with self._explained("read", name):
            try:
                found = unbroken(lambda: obstore.get(self._store, name, options={"range": {"suffix": size}}))
                return found.bytes().to_bytes(), found.meta["size"], found.meta["e_tag"]
            except obstore.exceptions.BaseError:
                # An empty object has no last byte, and Azure counts from the start only.
                meta = obstore.head(self._store, name)
                start = max(0, meta["size"] - size)
        tail = self.fetch(name, start, meta["size"], meta["e_tag"]) if meta["size"] else b""
        return tail, meta["size"], meta["e_tag"]

    def _create(self, name: str, content: bytes) -> None:
        import obstore

        with self._explained("write", name):
            unbroken(lambda: obstore.put(self._store, checked_name(name), content, mode="create"))

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return self.read(name) == content
        except FileNotFoundError:
            return False

    @contextmanager
    def _explained(self, verb: str, name: str) -> Iterator[None]:
        try:
            with explain(self._bucket):
                yield
        except FileNotFoundError as error:
            if verb == "write":
                raise OutputError(f"Cannot {verb} {self.root}/{name}: there is no such bucket.") from None
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.root}/{name}") from error
        except BucketError as error:
            raise OutputError(f"Cannot {verb} {self.root}/{name}: {error}.") from None


def _marks_a_folder(name: str) -> bool:
    """Whether an empty object of this name marks a folder, as consoles make them; files of a dataset have an ending."""
    return "." not in name.rpartition("/")[2]


class _ObjectReader(io.RawIOBase):
    """An object as a file: ranges are fetched as they are read. A file that is replaced meanwhile counts as gone."""

    def __init__(self, storage: ObjectStorage, name: str) -> None:
        super().__init__()
        self._storage = storage
        self._name = name
        self._position = 0
        self._kept, self._size, self._e_tag = storage.fetch_tail(name, _TAIL_BYTES)
        self._kept_from = self._size - len(self._kept)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        start = self._position
        end = self._size if size is None or size < 0 else min(self._size, start + size)
        if end <= start:
            return b""
        if not (self._kept_from <= start and end <= self._kept_from + len(self._kept)):
            self._fetch(start, min(self._size, max(end, start + _LEAST_BYTES)))
        self._position = end
        return self._kept[start - self._kept_from : end - self._kept_from]

    def _fetch(self, start: int, end: int) -> None:
        try:
            self._kept, self._kept_from = self._storage.fetch(self._name, start, end, self._e_tag), start
        except FileNotFoundError:
            # What network file systems answer when an open file is gone.
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._name) from None
