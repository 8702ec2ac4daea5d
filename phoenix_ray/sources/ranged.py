"""A file behind a network, read by ranges: few requests for a small file, long ones ahead of the reader of a long one.

A request takes as long as the transfer of a megabyte or so. So the first range holds most pictures whole, the ranges of
a reader that goes on from one to the next grow, and the next is on its way while one is used. Ranges stay in memory up
to `KEPT_BYTES`, because a video is read twice: for its time stamps, then for its pictures.
"""

from __future__ import annotations

import errno
import io
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Ranges begin at multiples of this. Most frames are smaller: a PNG of 210x260 takes 100 kB.
BLOCK_BYTES = 256 * 1024
GROWTH = 4
MOST_BLOCKS_AT_ONCE = 16
KEPT_BYTES = 64 << 20
# (start, end) → the bytes of the file in this range; fewer where the file ends.
ReadRange = Callable[[int, int], bytes]


class RangedFile:
    """An open file behind a network.

    Args:
        location: Its URI.
        size: Its bytes.
        start: Its first `BLOCK_BYTES`, or all of a smaller file.
        read_range: Reads a range of at least one byte that lies within the file. Called in several threads.
    """

    def __init__(self, location: str, size: int, start: bytes, read_range: ReadRange) -> None:
        self.location = location
        self.size = size
        self._read_range = read_range
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._keep(0, start)
        # The block behind the last range, and how many blocks that range had.
        self._next, self._length = len(self._blocks), len(self._blocks)
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._executor: ThreadPoolExecutor | None = None

    def read_at(self, position: int, most: int) -> bytes:
        """Return 1 to `most` bytes from a position on; none at the end of the file and behind it."""
        if most <= 0 or position >= self.size:
            return b""
        number, offset = divmod(position, BLOCK_BYTES)
        block = self._block(number)
        return block[offset : offset + most]

    def stream(self) -> BinaryIO:
        """Return the file as a stream."""
        return cast("BinaryIO", io.BufferedReader(_Stream(self), BLOCK_BYTES))

    def close(self) -> None:
        """Wait for the range that is on its way, and forget what was read."""
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._blocks.clear()

    def __enter__(self) -> RangedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._read(number)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _read(self, number: int) -> None:
        """Read the blocks from a number on: the more, the longer the reader has gone on without a jump."""
        goes_on = number == self._next
        length = min(GROWTH * self._length, MOST_BLOCKS_AT_ONCE) if goes_on else 1
        ahead, self._ahead = self._ahead, None
        content = ahead[1].result() if ahead and ahead[0] == number else self._request(number, length)
        self._keep(number, content)
        self._length = -(-len(content) // BLOCK_BYTES)
        self._next = number + self._length
        if goes_on and self._next * BLOCK_BYTES < self.size and self._next not in self._blocks:
            self._executor = self._executor or ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
            length = min(GROWTH * self._length, MOST_BLOCKS_AT_ONCE)
            self._ahead = self._next, self._executor.submit(self._request, self._next, length)

    def _request(self, number: int, length: int) -> bytes:
        start = number * BLOCK_BYTES
        end = min(start + length * BLOCK_BYTES, self.size)
        content = self._read_range(start, end)
        if len(content) != end - start:
            raise OSError(errno.EIO, f"the storage gave {len(content):,} of {end - start:,} bytes", self.location)
        return content

    def _keep(self, number: int, content: bytes) -> None:
        for start in range(0, len(content), BLOCK_BYTES):
            self._blocks[number + start // BLOCK_BYTES] = content[start : start + BLOCK_BYTES]
        while len(self._blocks) * BLOCK_BYTES > KEPT_BYTES:
            self._blocks.popitem(last=False)


class _Stream(io.RawIOBase):
    """A reader's position in a file."""

    def __init__(self, file: RangedFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        content = self._file.read_at(self._position, len(view))
        view[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
