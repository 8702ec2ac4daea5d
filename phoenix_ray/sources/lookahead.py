"""Work done ahead of its consumer in threads: frames while the model computes, folders while the plan is made.

Called by `listing` and `frames`. Threads suffice because reading files and decoding pictures release the GIL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def lookahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `function(item)` of each item in order, with up to `ahead` results computed before they are asked for.

    `items` is read in the caller's thread. Whatever `function` raises is raised in place of its result. Closing the
    iterator drops what has not begun and waits for what has, so no thread outlives it.
    """
    pending: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="lookahead")
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
