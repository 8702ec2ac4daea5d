"""Programs: batches that were captured once, and are launched by a single call from then on.

A batch on a GPU is hundreds of launches, each of which costs the host microseconds. Its shapes and addresses are the
same for each batch of a size, so a captured one (CUDA: a graph) does the same work again without the host.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable

from phoenix_ray.models.holistic.torch_engine.device import is_device_lost
from phoenix_ray.models.holistic.torch_engine.queues import DeviceQueue, Program

# Programs that are kept. A worker needs at most `batching.SIZES_OF_BATCHES` of them, or two in tracking mode; more come
# up where memory ran out and batches were halved. What they compute in is shared; a program itself is a list of some
# hundred launches.
MOST_PROGRAMS = 32

_log = logging.getLogger(__name__)


class Programs:
    """The programs of a model, each captured when a batch needs it first.

    Args:
        queue: The device's queue, which captures.
        most: Programs to keep; the one that was not used for longest is dropped for another.

    Attributes:
        are_captured: False after a capture has failed: from then on each batch is launched anew.
    """

    def __init__(self, queue: DeviceQueue, most: int = MOST_PROGRAMS) -> None:
        self.are_captured = True
        self._queue = queue
        self._most = most
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._events: list[str] = []

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work: the first time as it is, which also brings constants and compiled kernels, later by its program.

        Args:
            key: Names the work: the same key means the same launches on the same memory.
            work: Launches it. All that it reads and writes outside must lie in tensors from before.

        Raises:
            RuntimeError: The work fails.
            DeviceLostError: As `device.device_errors` says, where the capture has cost the device.
        """
        program = self._programs.get(key)
        if program is not None:
            self._programs.move_to_end(key)
            program.replay()
            return
        work()
        if not self.are_captured:
            return
        if len(self._programs) >= self._most:
            self._queue.wait()
            self._programs.popitem(last=False)[1].reset()
        try:
            self._programs[key] = self._queue.capture(work)
        except Exception as error:
            if is_device_lost(error.__context__ or error) or is_device_lost(error):
                raise
            self._give_up(error)

    def forget(self) -> None:
        """Drop all programs, because memory that they use is about to go. None of them may be running."""
        for program in self._programs.values():
            program.reset()
        self._programs.clear()
        self._queue.end_captures()

    def take_events(self) -> tuple[str, ...]:
        """Return what the run should record, once."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def _give_up(self, error: Exception) -> None:
        self._queue.wait()
        self.forget()
        self.are_captured = False
        # The end of a capture that failed has an error of its own, which does not say why.
        first = error.__context__ or error
        reason = str(first).strip().partition("\n")[0] or type(first).__name__
        self._events.append(
            f"CUDA graphs could not be captured ({reason}): each batch is launched anew, which is slower"
        )
        _log.warning("model.engine=torch: %s", self._events[-1])
