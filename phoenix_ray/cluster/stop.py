"""SIGINT and SIGTERM: the first asks a run to drain, the second ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from phoenix_ray.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class StopRequest:
    """Whether the run was asked to stop, and the exit code that says so."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, 0 when nobody asked."""
        return _EXIT_CODES[self.signal] if self.signal else 0

    def listen(self) -> None:
        """Take the signals, also from a library that has taken them meanwhile: `ray.init` does."""
        for number in _EXIT_CODES:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self:
            os._exit(_EXIT_CODES[signal.Signals(number)])
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request within the block; a second one leaves the process immediately.

    Leaving at once is safe: a partition is either committed or was never there.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in _EXIT_CODES}
    request.listen()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
