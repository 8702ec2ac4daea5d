"""Frames decoded by Ray tasks on other nodes, for GPU nodes that are short of cores (`decode.on=cpu_nodes`).

A worker asks for a shard's frames with `read_remotely` as it would with `sources.frames.read_frames`, and gets the same
frames in the same order. A few tasks run ahead; each holds its results back until they are taken, so memory stays
bounded by `decode.ahead` frames.
"""

from __future__ import annotations

import platform
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import ray
from ray.exceptions import WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from phoenix_ray.cluster.worker_plan import environment_options
from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import ClusterError, SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames

# Frames in one object: 2.6 MB of PHOENIX, large enough that Ray's few milliseconds for an object do not matter.
CHUNK_FRAMES = 16
# Objects that a task may have ready before the worker takes them.
CHUNKS_AHEAD = 2


class DecoderDiedError(ClusterError):
    """A process died while it decoded: by its frames, or by its node."""


def read_remotely(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1` in order, decoded by tasks on other nodes.

    Raises:
        SourceError: A node cannot see the video, or has another kind of processor.
        DecoderDiedError: A task's process died, again and again.
    """
    nodes = nodes_to_decode_on(ray.nodes())
    waiting = deque(decoding_ranges(video, first, last))
    tasks_ahead = max(1, settings.ahead // CHUNK_FRAMES)
    running: deque[Any] = deque()
    has_begun = False
    try:
        while waiting or running:
            while waiting and len(running) < tasks_ahead:
                running.append(_start(video, *waiting.popleft(), settings, nodes))
            for reference in running[0]:
                has_begun = True
                yield from ray.get(reference)
            running.popleft()
            has_begun = False
    except WorkerCrashedError as error:
        raise DecoderDiedError(f"A process that decodes {video.location} died: {error}") from error
    finally:
        # The others end soon by themselves. Cancelling one that is about to start can abort this process: a check fails
        # in Ray 2.60, "Tried to complete task that was not pending".
        if has_begun and running:
            ray.cancel(running[0], force=True)


def decoding_ranges(video: Video, first: int, last: int) -> list[tuple[int, int]]:
    """Return the frame ranges of the tasks: a codec decodes in order, pictures can be split among tasks."""
    if video.kind == "video_file":
        return [(first, last)]
    return [(begin, min(begin + CHUNK_FRAMES, last)) for begin in range(first, last, CHUNK_FRAMES)]


def nodes_to_decode_on(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the IDs of the living nodes that have CPUs and no GPU, sorted; empty where every node has a GPU."""
    return sorted(
        node["NodeID"]
        for node in nodes
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and not node["Resources"].get("GPU")
    )


def _start(video: Video, first: int, last: int, settings: DecodeSettings, nodes: Sequence[str]) -> Any:
    """Start the task of a range on a node that its name determines; Ray takes another where that node is gone."""
    strategy: Any = "SPREAD"
    if nodes:
        chosen = zlib.crc32(f"{video.location}:{first}".encode()) % len(nodes)
        strategy = NodeAffinitySchedulingStrategy(nodes[chosen], soft=True)
    task = _DECODE.options(scheduling_strategy=strategy, **environment_options())
    return task.remote(video, first, last, settings, platform.machine())


def _decode(video: Video, first: int, last: int, settings: DecodeSettings, machine: str) -> Iterator[list[Frame]]:
    # Decoders were compared on x86-64 alone (docs/parity.md), so pixels of other processors must not mix with its own.
    if platform.machine() != machine:
        raise SourceError(
            f"{platform.node()} has another kind of processor ({platform.machine()}) than the worker ({machine}), and "
            "would decode other pixels. Take decode.on=workers, or keep nodes of one kind in the cluster."
        )
    frames = read_frames(video, first, last, settings.model_copy(update={"threads": 1, "ahead": CHUNK_FRAMES}))
    while chunk := list(islice(frames, CHUNK_FRAMES)):
        yield chunk


_DECODE = ray.remote(num_cpus=1, max_retries=1, _generator_backpressure_num_objects=CHUNKS_AHEAD)(_decode)
