"""What tests ask of the machine on which they run: free ports, and programs."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterable
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


def missing_programs(programs: Iterable[str], packages: str) -> str:
    """Return which programs are missing and the Debian packages that have them; an empty text if none is."""
    missing = [name for name in programs if not shutil.which(name)]
    return f"{', '.join(missing)} missing: apt-get install --no-install-recommends {packages}" if missing else ""
