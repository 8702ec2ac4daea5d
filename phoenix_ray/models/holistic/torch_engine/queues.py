"""What the engine asks of a device that computes while the host goes on: the few calls of torch's CUDA interface.

Work that a host gives to a device waits there in queues (CUDA: streams). The engine uses two: one copies frames to the
device, in the other everything else happens. A batch that was launched once can be captured and then launched by a
single call. `HostQueue` stands for devices that compute at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import torch

from phoenix_ray.models.holistic.torch_engine.device import give_memory_back


class Mark(Protocol):
    """A place in a queue."""

    def synchronize(self) -> None:
        """Wait until the device has come to this place."""


class Program(Protocol):
    """Launches that were captured; CUDA's graphs have these methods."""

    def replay(self) -> None:
        """Give the device all of them in one call."""

    def reset(self) -> None:
        """Free it. It is not used afterwards."""


class DeviceQueue(Protocol):
    """How to give a device work without waiting for it.

    Attributes:
        is_asynchronous: Whether calls return before the device is done, so that memory that it reads and writes must be
            left alone meanwhile.
    """

    is_asynchronous: bool

    def host_memory(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory of the host that the device can copy from and to."""

    def copying(self) -> AbstractContextManager[None]:
        """Give the work of a `with` block to the queue that copies; what comes after the block waits for it."""

    def mark(self) -> Mark:
        """Return a place behind all work that was given to the present queue so far."""

    def wait(self) -> None:
        """Wait until the device has done everything."""

    def capture(self, work: Callable[[], None]) -> Program:
        """Note what `work` launches, without running it.

        All captures use the same memory for what lies between their launches, so only one of them may run at a time,
        and results must lie in tensors from before.

        Raises:
            RuntimeError: Something in it cannot be captured.
        """

    def end_captures(self) -> None:
        """Part with the memory that programs share, after all of them are reset; the next capture begins anew."""

    def give_memory_back(self) -> None:
        """Return memory that is in no use to the system."""


class HostQueue:
    """The queue of a device that has done its work when a call returns; a `DeviceQueue`."""

    is_asynchronous = False

    def host_memory(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return ordinary memory."""
        return torch.empty(shape, dtype=dtype)

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Copy at once."""
        yield

    def mark(self) -> Mark:
        """Return a place that has been reached."""
        return self

    def synchronize(self) -> None:
        """Return: everything is done."""

    def wait(self) -> None:
        """Return: everything is done."""

    def capture(self, work: Callable[[], None]) -> Program:
        """Return the work itself."""
        return _Repeated(work)

    def end_captures(self) -> None:
        """Return: programs share nothing."""

    def give_memory_back(self) -> None:
        """Return: the host's allocator keeps nothing worth mentioning."""


@dataclass(frozen=True, slots=True)
class _Repeated:
    replay: Callable[[], None]

    def reset(self) -> None:
        """Return: there is nothing to free."""


class CudaQueue:
    """Streams, events and graphs of a CUDA device; a `DeviceQueue`.

    Args:
        device: The device, with its index.
    """

    is_asynchronous = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)
        self._captures = torch.cuda.Stream(device)
        self._pool: tuple[int, int] | None = None

    def host_memory(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return page-locked memory, which the device copies by itself."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Use the stream for copies, then let the present stream wait for it."""
        present = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            yield
        present.wait_stream(self._copies)

    def mark(self) -> Mark:
        """Return an event; to wait for it leaves the processor to other threads."""
        event = torch.cuda.Event(blocking=True)
        event.record(torch.cuda.current_stream(self._device))
        mark: Mark = event
        return mark

    def wait(self) -> None:
        """Wait for the whole device."""
        torch.cuda.synchronize(self._device)

    def capture(self, work: Callable[[], None]) -> Program:
        """Return a CUDA graph.

        Other threads of the process may go on calling CUDA. A capture that fails leaves its own stream as the present
        one (`torch.cuda.graph.__exit__` of 2.11 and 2.13) and the allocator in the capture (`CUDAGraph::capture_end`),
        which then can give no memory back and never says that it ran out; both are put right here.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        present = torch.cuda.current_stream(self._device)
        graph: Program = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._captures, capture_error_mode="thread_local"):
                work()
        except BaseException:
            self._leave_pool(self._pool)
            raise
        finally:
            torch.cuda.set_stream(present)
        return graph

    def _leave_pool(self, pool: tuple[int, int]) -> None:
        """End a capture in the allocator, which refuses where the capture has come to its end and the graph owns it."""
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self._device.index, pool)
            torch._C._cuda_releasePool(self._device.index, pool)

    def end_captures(self) -> None:
        """Take a new memory pool for the next graph: one whose last graph is gone cannot be used again."""
        self._pool = None

    def give_memory_back(self) -> None:
        """Return what torch keeps of the device's memory and of page-locked memory."""
        give_memory_back(self._device)
