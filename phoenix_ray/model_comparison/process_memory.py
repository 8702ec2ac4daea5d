"""How much memory this process takes, as the operating system counts it, and the most that it took since a mark.

Linux alone can set the mark (`/proc/self/clear_refs`); elsewhere nothing is reported instead of something else.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def mark_memory() -> int | None:
    """Give free memory back, set the mark, and return the resident bytes; None where that cannot be done."""
    gc.collect()
    with suppress(OSError, AttributeError):
        # glibc keeps what was freed: it would hide the growth of the model that comes next.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        # 5 resets the peak (Documentation/filesystems/proc.rst of Linux).
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _resident("VmRSS")


def peak_since_mark() -> int | None:
    """Return the most resident bytes since the mark; None where that is not known."""
    return _resident("VmHWM")


def _resident(field: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None
