"""How long a run will take, and what holds it up: arithmetic over rates, work and cluster, for `phoenix-ray plan`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from phoenix_ray.cluster.rates import Rates
from phoenix_ray.cluster.worker_plan import WorkerPlan

Limit = Literal["model", "decoding", "storage", "rows", "cores", "few shards", "longest video", "unknown"]

# A decoder that is on a processor for less than this share of its threads' time waits for bytes.
_BUSY = 0.5
_ADVICE: Mapping[Limit, str] = {
    "model": "More workers are faster: more nodes, or a higher --num-workers.",
    "decoding": "Decoding is slower than the model: raise decode.threads and cluster.cpus_per_worker, or let nodes "
    "without a GPU decode (decode.on=cpu_nodes).",
    "storage": "Decoders wait for bytes: put the source on faster storage, or raise decode.threads and decode.ahead "
    "to read more at once.",
    "rows": "Encoding rows is slower than the model: raise cluster.shards_in_flight or --num-workers.",
    "cores": "The processors are busy with decoding and rows, and the GPU waits: take nodes with more cores for each "
    "GPU, or let nodes without a GPU decode (decode.on=cpu_nodes).",
    "few shards": "Some workers have nothing to do in the end: lower cluster.shard_frames, or take fewer workers.",
    "longest video": "In mode tracking a video's frames come one after the other, so more workers do not help: take "
    "fewer, which do as much for fewer node-hours.",
    "unknown": "`phoenix-ray plan --measure` measures it on this cluster.",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be computed.

    Attributes:
        frames: Frames in all.
        pieces: Parts that workers can compute at the same time: shards, or in mode tracking videos.
        longest: Frames of the longest of them.
        tracks: Whether a piece is a chain, each frame of which needs the one before.
    """

    frames: int
    pieces: int
    longest: int
    tracks: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that a cluster would have.

    Attributes:
        workers: Their number.
        nodes: Nodes that they are on.
        cpus: CPUs of these nodes.
        gpus: GPUs that they reserve in all.
        awaited_nodes: How many of the nodes an autoscaler has yet to bring.
    """

    workers: int
    nodes: int
    cpus: float
    gpus: float
    awaited_nodes: int = 0


@dataclass(frozen=True, slots=True)
class Speed:
    """What a worker does.

    Attributes:
        frames_per_second: Of one worker among the others, all steps together.
        limit: The step that holds it up.
        basis: Where the number comes from.
        chain_frames_per_second: Of one video alone in mode tracking; None takes that of the worker.
    """

    frames_per_second: float
    limit: Limit
    basis: str
    chain_frames_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a run will take.

    Attributes:
        seconds: From the first worker that is ready to the last frame.
        frames_per_second: Of all workers together, while all have work.
        node_hours: Hours of all nodes together.
        gpu_hours: Hours of all reserved GPUs together.
        limit: What holds it up.
        advice: What would change that.
        useful_workers: More of them would not end sooner, because of the longest piece.
    """

    seconds: float
    frames_per_second: float
    node_hours: float
    gpu_hours: float
    limit: Limit
    advice: str
    useful_workers: int


def find_fleet(plan: WorkerPlan, nodes: Iterable[Mapping[str, float]], *, brings_nodes: bool = False) -> Fleet:
    """Return the workers that would start, filling one node after the other.

    Args:
        plan: The workers that are asked for.
        nodes: The resources (`CPU`, `GPU`, ...) of each node.
        brings_nodes: Whether nodes come for the workers that have no place. They are taken to be like the largest node,
            or to hold one worker each where no node holds any.
    """
    workers, used, cpus = 0, 0, 0.0
    largest: Mapping[str, float] = {"CPU": plan.cpus, "GPU": plan.gpus}
    for node in sorted(nodes, key=plan.capacity, reverse=True):
        here = min(plan.capacity(node), plan.count - workers)
        if here > 0:
            largest = node if not used else largest
            workers, used, cpus = workers + here, used + 1, cpus + node.get("CPU", 0.0)
    awaited = math.ceil((plan.count - workers) / max(1, plan.capacity(largest))) if brings_nodes else 0
    if awaited:
        workers, used, cpus = plan.count, used + awaited, cpus + awaited * largest.get("CPU", 0.0)
    return Fleet(workers, used, cpus, workers * plan.gpus, awaited)


def find_speed(rates: Rates, fleet: Fleet, decode_threads: int, shards_in_flight: int) -> Speed:
    """Return what a worker does when all run at once, from what one did alone.

    Decoding, the model and encoding rows go on at the same time, so the slowest of them holds the others up, unless
    they want more processors than a worker has.

    Args:
        rates: What was measured.
        fleet: The workers; they share the CPUs of their nodes.
        decode_threads: Of each worker (`decode.threads`).
        shards_in_flight: Of each worker: all but one encode rows at the same time.
    """
    cores = max(fleet.cpus / max(1, fleet.workers), 1e-9)
    busy = {"decoding": rates.decode.cpu_seconds, "model": rates.model.cpu_seconds, "rows": rates.rows.cpu_seconds}
    taken: dict[Limit, float] = {
        "model": rates.model.seconds,
        "decoding": rates.decode.seconds,
        "rows": rates.rows.seconds / max(1, shards_in_flight - 1),
        "cores": sum(busy.values()) / cores,
    }
    limit = max(taken, key=lambda step: taken[step])
    seconds = max(taken[limit], 1e-9)
    if limit == "cores" and not fleet.gpus:
        # Without a GPU the cores compute: what takes most of their time is the limit.
        limit = max(("model", "decoding", "rows"), key=lambda step: busy[step])
    if limit == "decoding" and rates.decode.cpu_seconds < _BUSY * rates.decode.seconds * min(decode_threads, cores):
        limit = "storage"
    chain = 1 / rates.chain_seconds if rates.chain_seconds else None
    return Speed(1 / seconds, limit, f"measured on {rates.node}", chain)


def make_forecast(workload: Workload, fleet: Fleet, speed: Speed) -> Forecast:
    """Return how long the work takes a fleet of workers of this speed."""
    at_work = max(1, min(fleet.workers, workload.pieces))
    spread = workload.frames / (speed.frames_per_second * at_work)
    longest = workload.longest / (speed.chain_frames_per_second or speed.frames_per_second)
    seconds = max(spread, longest)
    limit = speed.limit
    if longest > spread or at_work < fleet.workers:
        limit = "longest video" if workload.tracks else "few shards"
    return Forecast(
        seconds=seconds,
        frames_per_second=speed.frames_per_second * at_work,
        node_hours=seconds * fleet.nodes / 3600,
        gpu_hours=seconds * fleet.gpus / 3600,
        limit=limit,
        advice=_ADVICE[limit],
        useful_workers=max(1, math.ceil(workload.frames / (speed.frames_per_second * longest))) if longest else 1,
    )
