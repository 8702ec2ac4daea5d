"""Measures the limits of a device, beside which its rates are read: memory, arithmetic, launches, copies, decoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from benchmarks.gpu_frames import GpuFrames, decode
from benchmarks.gpu_results import Limits
from phoenix_ray.models.holistic.torch_engine.device import numerics
from phoenix_ray.setting_types import Precision

# Calls before the clock starts: the first chooses kernels, and from the second on memory is allocated.
WARM_UP_CALLS = 2
# Side of the square matrices, and bytes copied.
GPU_MATRIX, CPU_MATRIX = 8192, 1024
GPU_COPY_BYTES, CPU_COPY_BYTES = 2**30, 2**26
UPLOAD_BYTES = 2**28
# Operators that are started to measure a launch.
LAUNCHES = 500
# Of the kernel of fused multiply-adds: values in all, values of a program, rounds. 8 chains in each thread hide the
# latency of the arithmetic.
CHAINS, CHAINS_OF_PROGRAM, ROUNDS = 2**21, 1024, 64


def seconds_per_call(run: Callable[[], object], device: torch.device, least_seconds: float) -> float:
    """Return the mean time of a call, over at least two calls and at least `least_seconds`."""
    for _ in range(WARM_UP_CALLS):
        run()
    wait_for(device)
    calls, began = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - began < least_seconds:
        run()
        calls += 1
        if calls % 8 == 0:
            # Launches run ahead of the device; without this only the launches would be timed.
            wait_for(device)
    wait_for(device)
    return (time.perf_counter() - began) / calls


def wait_for(device: torch.device) -> None:
    """Return when the device has computed everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """Return a function that replays what `run` starts on the CUDA device, as a graph.

    Raises:
        RuntimeError: It reads a value back, or else cannot be captured.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # The results live in the graph's memory for as long as the graph.
        results = run()

    def replay() -> object:
        graph.replay()
        return results

    return replay


def measure_limits(
    device: torch.device, precisions: Sequence[Precision], frames: GpuFrames, threads: int, least_seconds: float
) -> Limits:
    """Return the rates that the device and the machine reach.

    Args:
        device: Where torch computes.
        precisions: Precisions of the matrix products.
        frames: Pictures to decode.
        threads: Threads that decode them.
        least_seconds: Least time for each rate.
    """
    on_gpu = device.type == "cuda"
    memory = _copy(device, least_seconds)
    side = GPU_MATRIX if on_gpu else CPU_MATRIX
    products: dict[str, float] = {}
    for precision in precisions:
        matrix = torch.rand(side, side, device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)
        with numerics(precision):
            seconds = seconds_per_call(partial(torch.matmul, matrix, matrix), device, least_seconds)
        products[precision] = 2 * side**3 / seconds
    value = torch.zeros(1, device=device)

    def launch_often() -> None:
        for _ in range(LAUNCHES):
            value.add_(1)

    launch = seconds_per_call(launch_often, device, least_seconds / 2) / LAUNCHES
    node = seconds_per_call(captured(launch_often), device, least_seconds / 2) / LAUNCHES if on_gpu else None
    return Limits(
        memory=memory,
        products=products,
        multiply_adds=_multiply_adds(device, least_seconds) if on_gpu else None,
        launch=launch,
        node=node,
        upload=_upload(device, least_seconds) if on_gpu else None,
        decoding=decoded_per_second(frames.pictures, threads, least_seconds),
    )


def decoded_per_second(pictures: Sequence[bytes], threads: int, least_seconds: float) -> float:
    """Return how many pictures some threads decode per second."""
    some = [pictures[index % len(pictures)] for index in range(max(len(pictures), 8 * threads))]
    with ThreadPoolExecutor(threads) as pool:
        passes, began = 0, time.perf_counter()
        while not passes or time.perf_counter() - began < least_seconds:
            for _ in pool.map(decode, some):
                pass
            passes += 1
        return passes * len(some) / (time.perf_counter() - began)


def _copy(device: torch.device, least_seconds: float) -> float:
    count = GPU_COPY_BYTES if device.type == "cuda" else CPU_COPY_BYTES
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / seconds_per_call(partial(target.copy_, source), device, least_seconds)


def _upload(device: torch.device, least_seconds: float) -> float:
    source = torch.empty(UPLOAD_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(UPLOAD_BYTES, dtype=torch.uint8, device=device)
    copy = partial(target.copy_, source, non_blocking=True)
    return UPLOAD_BYTES / seconds_per_call(copy, device, least_seconds)


def _multiply_adds(device: torch.device, least_seconds: float) -> float | None:
    """Return the float32 operations per second of multiply-adds in Triton, None without Triton."""
    try:
        from benchmarks.gpu_chains import multiply_and_add_often
    except ImportError:
        return None
    values = torch.full((CHAINS,), 0.5, device=device)
    run = partial(multiply_and_add_often, values, ROUNDS, CHAINS_OF_PROGRAM)
    operations = run()
    return operations / seconds_per_call(run, device, least_seconds)
