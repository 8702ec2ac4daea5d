"""Shards that pause because of trouble with the infrastructure, longer after each try."""

from __future__ import annotations

import heapq

from phoenix_ray.cluster.shards import ShardState

BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0


class DelayedShards:
    """Shards that wait for a time on the driver's clock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, ShardState]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_try(self) -> float | None:
        """When the first of them is tried again; None where there is none."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, state: ShardState, now: float) -> None:
        """Let a shard wait, for longer the more often it had to (`ShardState.delays`)."""
        self._added += 1
        pause = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (state.delays - 1))
        heapq.heappush(self._waiting, (now + pause, self._added, state))

    def release(self, now: float) -> list[ShardState]:
        """Return the shards whose time has come, the first one first."""
        released = []
        while self._waiting and self._waiting[0][0] <= now:
            released.append(heapq.heappop(self._waiting)[2])
        return released

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
