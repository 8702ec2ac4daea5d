"""Says what a run waits for when nothing has happened for a while, so that nobody has to guess whether it hangs."""

from __future__ import annotations

from phoenix_ray.cluster.progress import format_seconds
from phoenix_ray.cluster.scheduler import Outlook

# The first word comes after this long; each further one after twice the time of the last.
QUIET_SECONDS = 60.0


class Watchdog:
    """Watches the time since something was committed or a worker became ready.

    Args:
        now: The present.
    """

    def __init__(self, now: float) -> None:
        self.stir(now)

    def stir(self, now: float) -> None:
        """Take note that something has happened."""
        self._since = now
        self._patience = QUIET_SECONDS

    def is_due(self, now: float) -> bool:
        """Whether it is time for a word; answering yes doubles the time to the next."""
        if now - self._since < self._patience:
            return False
        self._patience *= 2
        return True

    def word(self, now: float, outlook: Outlook, ready: int, starting: int) -> str:
        """Return what the run waits for.

        Args:
            now: The present.
            outlook: Shards waiting and in flight.
            ready: Workers that take shards.
            starting: Workers that were asked for and have not started.
        """
        parts = [f"Nothing was committed for {format_seconds(now - self._since)}."]
        if outlook.oldest:
            since = format_seconds(now - outlook.oldest.since)
            parts.append(f"In flight: {_shards(outlook.in_flight)}, the longest for {since}: {outlook.oldest.shard}.")
        if outlook.next_try is not None:
            pause = format_seconds(max(0.0, outlook.next_try - now))
            parts.append(f"{_shards(outlook.delayed)} wait for storage or nodes, the next try is in {pause}.")
        if outlook.waiting > outlook.delayed:
            parts.append(f"{_shards(outlook.waiting - outlook.delayed)} wait for a worker.")
        coming = f", {starting} starting or waiting for room in the cluster" if starting else ""
        parts.append(f"Workers: {ready} ready{coming}.")
        return " ".join(parts)


def _shards(count: int) -> str:
    return f"{count:,} shard{'s' * (count != 1)}"
