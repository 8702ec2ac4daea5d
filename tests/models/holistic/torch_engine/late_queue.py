"""A device that computes as late as it may, made of tensors on the CPU.

Whatever a GPU could still be reading or writing when the host goes on, this one has not touched yet. So a host that
changes memory too early, or looks at it too early, gets other numbers here every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

Call = Callable[[], Any]


class LateProgram:
    """What a capture has noted."""

    def __init__(self, queue: LateQueue, calls: list[Call]) -> None:
        self._queue, self._calls = queue, calls
        self.was_reset = False

    def replay(self) -> None:
        assert not self.was_reset, "a program ran after its reset"
        self._queue.log.append("replay")
        self._queue.calls += self._calls

    def reset(self) -> None:
        self.was_reset = True


class LateQueue(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """A `DeviceQueue`; a host uses it within `with queue:`.

    Attributes:
        log: What was asked of it, in order.
        calls: What it has not done yet.
        failure: Raised by whoever waits for it, once.
        refusal: Raised by captures.
        programs: Everything that was captured.
        pools: Memory pools for programs that were begun.
        locked: Memory of the host that was handed out.
    """

    is_asynchronous = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.calls: list[Call] = []
        self.failure: Exception | None = None
        self.refusal: Exception | None = None
        self.programs: list[LateProgram] = []
        self.pools = 0
        self.locked: list[torch.Tensor] = []
        self._done = 0
        self._has_pool = False

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = partial(operator, *args, **(kwargs or {}))
        if operator.is_view or not tensors_of((args, kwargs)):
            return call()
        if operator._schema.is_mutable:
            self.calls.append(call)
            return args[0]
        made = call()
        self.calls.append(
            lambda: [old.copy_(new) for old, new in zip(tensors_of(made), tensors_of(call()), strict=True)]
        )
        return made

    def host_memory(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        self.locked.append(torch.zeros(shape, dtype=dtype))
        return self.locked[-1]

    @contextmanager
    def copying(self) -> Iterator[None]:
        self.log.append("copy")
        yield

    def mark(self) -> _LateMark:
        return _LateMark(self, self._done + len(self.calls))

    def wait(self) -> None:
        self.log.append("wait")
        self.do(len(self.calls))

    def do(self, count: int) -> None:
        """Do the first calls of those that were not done yet."""
        with _disable_current_modes():
            for call in self.calls[:count]:
                call()
        self._done += len(self.calls[:count])
        del self.calls[: max(0, count)]
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def do_until(self, place: int) -> None:
        self.do(max(0, place - self._done))

    def capture(self, work: Callable[[], None]) -> LateProgram:
        self.log.append("capture")
        self.wait()
        if not self._has_pool:
            self._has_pool, self.pools = True, self.pools + 1
        if self.refusal is not None:
            raise self.refusal
        work()
        self.programs.append(LateProgram(self, list(self.calls)))
        self.calls.clear()
        return self.programs[-1]

    def end_captures(self) -> None:
        assert all(program.was_reset for program in self.programs), "a program outlived its memory"
        self.log.append("end captures")
        self._has_pool = False

    def give_memory_back(self) -> None:
        self.log.append("give memory back")


class _LateMark:
    def __init__(self, queue: LateQueue, place: int) -> None:
        self._queue, self._place = queue, place

    def synchronize(self) -> None:
        self._queue.log.append("synchronize")
        self._queue.do_until(self._place)


def tensors_of(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
