"""The few calls of torch's CUDA interface, in their order, with stand-ins for what needs a GPU."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")


from phoenix_ray.models.holistic.torch_engine.queues import CudaQueue, HostQueue  # noqa: E402 - needs torch


class Cuda:
    """What `CudaQueue` uses of `torch.cuda`, which notes what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.present = "default"
        self.pools = 0
        self.capture_error: Exception | None = None
        cuda = self

        class Stream:
            made = 0

            def __init__(self, device: Any) -> None:
                Stream.made += 1
                self.name = f"stream {Stream.made}"

            def wait_stream(self, other: Any) -> None:
                cuda.log.append(f"{self.name} waits for {other.name}")

        self.Stream = Stream
        self.default = Stream.__new__(Stream)
        self.default.name = "default"
        self.streams = [self.default]

        class Event:
            def __init__(self, blocking: bool) -> None:
                assert blocking, "the processor is for others meanwhile"

            def record(self, stream: Any) -> None:
                cuda.log.append(f"event on {stream.name}")

        self.Event = Event

        class CUDAGraph:
            def reset(self) -> None:
                cuda.log.append("reset")

            def replay(self) -> None:
                cuda.log.append("replay")

        self.CUDAGraph = CUDAGraph

    def current_stream(self, device: Any) -> Any:
        return self.streams[-1]

    def set_stream(self, stream: Any) -> None:
        self.streams = [stream]

    def stream(self, stream: Any) -> Any:
        return _Within(self, stream)

    def graph(self, graph: Any, *, pool: Any, stream: Any, capture_error_mode: str) -> Any:
        assert capture_error_mode == "thread_local", "other threads may call CUDA"
        self.log.append(f"capture on {stream.name} in {pool}")
        return _Within(self, stream, self.capture_error)

    def graph_pool_handle(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"

    def end_allocate_to_pool(self, device: int, pool: str) -> None:
        if self.capture_error is None:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.log.append(f"allocator leaves {pool}")

    def release_pool(self, device: int, pool: str) -> None:
        self.log.append(f"allocator releases {pool}")


class _Within:
    """As torch has it, a capture that fails does not leave its stream."""

    def __init__(self, cuda: Cuda, stream: Any, error: Exception | None = None) -> None:
        self._cuda, self._stream, self._error = cuda, stream, error

    def __enter__(self) -> None:
        self._cuda.streams.append(self._stream)

    def __exit__(self, *raised: object) -> None:
        if self._error is not None:
            raise self._error
        self._cuda.streams.pop()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()
    for name in (
        "Stream",
        "Event",
        "CUDAGraph",
        "current_stream",
        "set_stream",
        "stream",
        "graph",
        "graph_pool_handle",
    ):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    # Builds of torch without CUDA lack them.
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", made.end_allocate_to_pool, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", made.release_pool, raising=False)
    return made


@pytest.fixture
def queue(cuda: Cuda) -> CudaQueue:
    return CudaQueue(torch.device("cuda", 0))


def test_copies_go_to_a_stream_of_their_own_and_what_follows_waits_for_them(cuda: Cuda, queue: CudaQueue) -> None:
    with queue.copying():
        queue.mark()
    queue.mark()
    assert cuda.log == ["event on stream 1", "default waits for stream 1", "event on default"]


def test_all_captures_share_a_pool_until_it_ends(cuda: Cuda, queue: CudaQueue) -> None:
    ran: list[Any] = []
    for _ in range(2):
        queue.capture(lambda: ran.append(cuda.current_stream(None).name))
    queue.end_captures()
    queue.capture(lambda: None).replay()
    assert ran == ["stream 2"] * 2
    assert cuda.log == [f"capture on stream 2 in pool {pool}" for pool in (1, 1, 2)] + ["replay"]
    assert cuda.current_stream(None) is cuda.default


@pytest.mark.parametrize("fails_in", ["the work", "the end"])
def test_after_a_capture_that_fails_the_present_stream_is_the_one_before(
    cuda: Cuda, queue: CudaQueue, fails_in: str
) -> None:
    cuda.capture_error = RuntimeError("operation failed due to a previous error during capture")

    def work() -> None:
        if fails_in == "the work":
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capture"):
        queue.capture(work)
    assert cuda.current_stream(None) is cuda.default
    assert cuda.log[1:] == ["allocator leaves pool 1", "allocator releases pool 1"]


def test_a_capture_that_comes_to_its_end_though_its_work_fails_is_left_to_its_graph(
    cuda: Cuda, queue: CudaQueue
) -> None:
    def work() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        queue.capture(work)
    assert cuda.log == ["capture on stream 2 in pool 1"]
    assert cuda.current_stream(None) is cuda.default


def test_a_device_that_computes_at_once_repeats_what_it_captured() -> None:
    ran: list[int] = []
    program = HostQueue().capture(lambda: ran.append(1))
    assert ran == []
    program.replay()
    program.replay()
    assert ran == [1, 1]
