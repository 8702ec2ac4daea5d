"""The suite `engines`: how one undisturbed worker spends its time on a frame, and what the CPU allows.

The worker runs the actor's own code in this process, without Ray. While the measurement lasts, the methods to be timed
are wrapped from outside; the measured code does not know about it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ceiling import NETWORKS, Ceiling, measure_ceiling
from benchmarks.contestants import in_scratch, run_mediapipe
from benchmarks.environments import MEDIAPIPE, install
from benchmarks.frames import BenchmarkFrames
from benchmarks.report import Findings
from benchmarks.results import Measurement, Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.worker import ShardWorker, Timings, peak_memory_mb
from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.models import registry
from phoenix_ray.models.holistic.litert_engine.engine import WarpCropper
from phoenix_ray.models.holistic.networks import Networks
from phoenix_ray.sources import frames as frame_reading
from phoenix_ray.sources.decode import EncodedPicture

# The functions that are timed, and the name under which their times are added up.
WATCHED: tuple[tuple[object, Mapping[str, str]], ...] = (
    (Networks, {name: name for name in NETWORKS}),
    (WarpCropper, {"crop": "crops"}),
    (frame_reading, {"read_picture": "decode"}),
    (EncodedPicture, {"decode": "decode"}),
)
STATIC_FRAMES = 120
STATELESS_FRAMES = 40


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """How one undisturbed worker process spends its time on a frame, in milliseconds.

    Attributes:
        networks: Time in each network, including filling its inputs.
        crops: Time to cut ROIs out of the frame.
        rest: Time in the rest of the model: geometry, decoding of detections.
        decode: Time to read the picture file into pixels.
        write: Time to encode and commit the partition.
        peak_memory_mb: Largest resident size of the process.
        seen: Mean number of crops per frame that went through each network; a frame without a person has none.
    """

    networks: Mapping[str, float]
    crops: float
    rest: float
    decode: float
    write: float
    peak_memory_mb: float
    seen: Mapping[str, float]

    @property
    def in_networks(self) -> float:
        """Milliseconds in all networks."""
        return sum(self.networks.values())

    @property
    def whole(self) -> float:
        """Milliseconds for the whole frame."""
        return self.in_networks + self.crops + self.rest + self.decode + self.write


def run(request: Request) -> Findings:
    """Measure one worker and, in turn with it, MediaPipe in one process."""
    python = install(MEDIAPIPE, request.environments, request.announce) if request.peers else None
    times: list[FrameTimes] = []
    static: list[Measurement] = []
    stateless: list[Measurement] = []
    for number in range(1, request.rounds + 1):
        times.append(in_scratch(request.output, lambda scratch: time_worker(request.frames, scratch)))
        request.announce(f"round {number}: {times[-1].whole:.1f} ms a frame, {times[-1].in_networks:.1f} in networks")
        if python:
            some = request.frames.pictures
            static.append(_mediapipe(request, python, some[:STATIC_FRAMES], stateless=False))
            stateless.append(_mediapipe(request, python, some[:STATELESS_FRAMES], stateless=True))
    ceiling = measure_ceiling()
    ceiling = ceiling.raised(network_rates(times, ceiling.operations))
    tables = [_frame_table(times, ceiling), _process_table(times, static, stateless)]
    quantities = {
        "share of the networks in a frame": Rounds.of(worker.in_networks / worker.whole for worker in times),
        "peak memory of a worker, MB": Rounds.of(worker.peak_memory_mb for worker in times),
    }
    raw = {
        "worker": [asdict(worker) for worker in times],
        "ceiling": asdict(ceiling),
        "static": [asdict(measurement) for measurement in static],
        "stateless": [asdict(measurement) for measurement in stateless],
    }
    return Findings(str(request.frames), request.rounds, tables, quantities, _notes(ceiling), raw=raw)


def time_worker(frames: BenchmarkFrames, output: Path) -> FrameTimes:
    """Measure one worker on all frames, after one shard to warm up.

    Decoding runs only one frame ahead, in one thread, so that it hardly disturbs the other times.

    Args:
        frames: The frames to compute.
        output: Folder in which the worker commits its partitions.

    Raises:
        PhoenixRayError: A shard failed.
    """
    settings = Settings.model_validate(
        {"model": {"engine": "litert"}, "decode": {"threads": 1, "ahead": 1}, "output": {"path": str(output)}}
    )
    identity = DatasetIdentity(registry.facts(settings.model).layout.name, registry.facts(settings.model).identity)
    worker = ShardWorker(settings, identity)
    worker.ready()
    plan = make_plan(
        frames.videos,
        lambda video: [(0, video.frame_count)],
        settings.cluster.shard_frames,
        registry.facts(settings.model).batch_size,
    )
    *_, shortest = plan.shards
    _process(worker, shortest)
    with ExitStack() as watches:
        seconds: dict[str, float] = defaultdict(float)
        items: dict[str, int] = defaultdict(int)
        for owner, shares in WATCHED:
            watches.enter_context(watch(owner, shares, seconds, items))
        spent = sum((_process(worker, shard) for shard in plan.shards), Timings())
    frame_ms = 1000 / plan.missing_frames
    networks = {name: seconds[name] * frame_ms for name in NETWORKS}
    return FrameTimes(
        networks=networks,
        crops=seconds["crops"] * frame_ms,
        rest=(spent.inference - seconds["crops"]) * frame_ms - sum(networks.values()),
        decode=seconds["decode"] * frame_ms,
        write=spent.write * frame_ms,
        peak_memory_mb=peak_memory_mb(),
        seen={name: items[name] / plan.missing_frames for name in NETWORKS},
    )


@contextmanager
def watch(owner: object, shares: Mapping[str, str], seconds: dict[str, float], items: dict[str, int]) -> Iterator[None]:
    """Add up the durations, and the lengths of the last arguments, of calls to some functions in this block.

    Args:
        owner: The class or module that has the functions.
        shares: Name of a function → key in `seconds` and `items`.
        seconds: Receives the sums of durations.
        items: Receives the sums of lengths: the number of crops of a network.
    """
    originals = {name: getattr(owner, name) for name in shares}
    for name, function in originals.items():
        setattr(owner, name, _timed(function, shares[name], seconds, items))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(owner, name, function)


def network_rates(times: Sequence[FrameTimes], operations: Mapping[str, float]) -> dict[str, float]:
    """Return the highest rate of each network over all rounds, in 10^9 operations a second.

    Args:
        times: Of each round.
        operations: Network → operations for one crop.
    """
    return {
        name: max(operations[name] * worker.seen[name] / worker.networks[name] / 1e6 for worker in times)
        for name in operations
        if all(worker.networks[name] for worker in times)
    }


def _timed(
    function: Callable[..., Any], share: str, seconds: dict[str, float], items: dict[str, int]
) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        if isinstance(arguments[-1], Sized):
            items[share] += len(arguments[-1])
        began = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds[share] += time.perf_counter() - began

    return call


def _process(worker: ShardWorker, shard: Shard) -> Timings:
    receipt = worker.process(shard)
    if receipt.trouble is not None:
        raise PhoenixRayError(f"{shard} cannot be measured: {receipt.trouble.message}")
    return receipt.timings


def _mediapipe(request: Request, python: Path, pictures: Sequence[str], *, stateless: bool) -> Measurement:
    return in_scratch(request.output, lambda scratch: run_mediapipe(python, pictures, 1, scratch, stateless=stateless))


def _frame_table(times: Sequence[FrameTimes], ceiling: Ceiling) -> Table:
    """Return a row for each part of a frame: its time, its share, and for networks the time the CPU could do it in."""
    whole = Rounds.of(worker.whole for worker in times).median
    rows = []
    for name in NETWORKS:
        spread = Rounds.of(worker.networks[name] for worker in times)
        least = ceiling.least_ms(name, times[0].seen[name])
        reached = f"{least / spread.median:.0%}" if least else ""
        rows.append((f"network {name}", spread.show(2), f"{spread.median / whole:.1%}", f"{least:.2f}", reached))
    for name in ("crops", "rest", "decode", "write"):
        spread = Rounds.of(getattr(worker, name) for worker in times)
        rows.append((name, spread.show(2), f"{spread.median / whole:.1%}", "", ""))
    rows.append(("together", Rounds.of(worker.whole for worker in times).show(2), "", "", ""))
    return Table(("one worker alone", "ms a frame", "share", "least ms on this CPU", "reached"), rows)


def _process_table(
    times: Sequence[FrameTimes], static: Sequence[Measurement], stateless: Sequence[Measurement]
) -> Table:
    ours = Rounds.of(worker.whole for worker in times)
    rows = [("**phoenix_ray** litert, pictures to a committed partition", ours.show(1), f"{1000 / ours.median:.1f}")]
    for name, measured in (("MediaPipe static", static), ("MediaPipe stateless (reset before each frame)", stateless)):
        if measured:
            spread = Rounds.of(1000 / measurement.steady_rate for measurement in measured)
            rows.append((name, spread.show(1), f"{1000 / spread.median:.1f}"))
    return Table(("one process", "ms a frame", "frames/s"), rows)


def _notes(ceiling: Ceiling) -> list[str]:
    return [
        "Start-up and one shard to warm up are not counted. MediaPipe's process is not pinned to a core and uses more "
        "than one thread; ours uses one.",
        f"Least ms: operations of the network ÷ {ceiling.gigaflops:.0f} GFLOP/s, the highest rate of one core in this "
        f"run, which {ceiling.source} reached (a copy of memory reached {ceiling.gigabytes:.1f} GB/s). A network that "
        "beats every product sets this rate, so none exceeds 100 %.",
    ]
