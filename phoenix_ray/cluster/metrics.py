"""The metrics of a run, which Ray exports for Prometheus: what there is, and what changes them.

`cluster.run_record` calls this as receipts arrive, so all numbers are the driver's and equal the run's summary; workers
export nothing themselves. Ray puts `ray_` before each name, and `_total` behind that of a counter. A run never fails
because of a metric. `docs/cluster.md` lists them, `jobs/grafana-dashboard.json` draws them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import ray
from ray.util.metrics import Counter, Gauge

from phoenix_ray.cluster.status import Status
from phoenix_ray.cluster.worker import Receipt

_MB = 1024 * 1024
# Gauges are set this often at most; Ray exports them every 10 s.
_GAUGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: Its name in Ray.
        kind: Whether it only grows.
        tags: Its labels beside `run`, the run's ID.
        meaning: A sentence for people.
    """

    name: str
    kind: Literal["counter", "gauge"]
    tags: tuple[str, ...]
    meaning: str

    @property
    def exported_name(self) -> str:
        """The name that Prometheus sees."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


METRICS = (
    Metric("phoenix_ray_frames", "counter", ("node", "status"), "Frames committed by the run, by status"),
    Metric("phoenix_ray_shards_committed", "counter", ("node",), "Shards committed"),
    Metric("phoenix_ray_written_bytes", "counter", ("node",), "Bytes of committed partitions"),
    Metric("phoenix_ray_worker_seconds", "counter", ("node", "phase"), "Seconds of workers for committed shards"),
    Metric("phoenix_ray_failures", "counter", ("failure_class",), "Shards and videos that the run gave up"),
    Metric("phoenix_ray_retries", "counter", ("failure_class",), "Attempts at a shard that failed and are repeated"),
    Metric("phoenix_ray_frames_planned", "gauge", (), "Frames that the run has to compute"),
    Metric("phoenix_ray_frames_per_second", "gauge", (), "Rate over about the last minute"),
    Metric("phoenix_ray_shards", "gauge", ("state",), "Shards that no worker has yet, and shards at a worker"),
    Metric("phoenix_ray_workers", "gauge", (), "Workers ready"),
    Metric("phoenix_ray_worker_memory_bytes", "gauge", ("node",), "Resident size of the worker that committed last"),
    Metric("phoenix_ray_worker_peak_memory_bytes", "gauge", ("node",), "Largest resident size of a worker so far"),
)

# Takes a metric, the amount by which a counter grows or the value of a gauge, and all labels.
Export = Callable[[Metric, float, Mapping[str, str]], None]


class RayExport:
    """Hands numbers to Ray, from the moment when it is there: what comes before, such as videos without a plan, waits.

    A cluster without a metrics agent takes them too, and drops them.
    """

    def __init__(self) -> None:
        self._instruments: dict[str, Any] = {}
        self._waiting: list[tuple[Metric, float, Mapping[str, str]]] = []

    def __call__(self, metric: Metric, number: float, labels: Mapping[str, str]) -> None:
        """Hand over one number."""
        self._waiting.append((metric, number, labels))
        if ray.is_initialized():
            waiting, self._waiting = self._waiting, []
            for entry in waiting:
                self._hand_over(*entry)

    def _hand_over(self, metric: Metric, number: float, labels: Mapping[str, str]) -> None:
        instrument = self._instruments.get(metric.name)
        if instrument is None:
            make = Counter if metric.kind == "counter" else Gauge
            instrument = make(metric.name, description=metric.meaning, tag_keys=("run", *metric.tags))
            self._instruments[metric.name] = instrument
        change = instrument.inc if metric.kind == "counter" else instrument.set
        change(number, tags=dict(labels))


class RunMetrics:
    """The numbers of one run.

    Args:
        run_id: The label `run`.
        note: Receives a line when metrics cannot be exported; nothing more is exported then.
        export: Takes each number.
    """

    def __init__(self, run_id: str, note: Callable[[str], None], export: Export | None = None) -> None:
        self._run_id = run_id
        self._note = note
        self._export: Export | None = export or RayExport()
        self._peaks: dict[str, float] = {}
        self._gauges_due = 0.0

    def shard_committed(self, receipt: Receipt) -> None:
        """Count a shard that was committed, once, however many workers computed it."""
        node = receipt.node
        self._record("phoenix_ray_shards_committed", 1, node=node)
        for phase, seconds in asdict(receipt.timings).items():
            self._record("phoenix_ray_worker_seconds", seconds, node=node, phase=phase)
        if receipt.partition:
            self._record("phoenix_ray_written_bytes", receipt.partition.bytes, node=node)
            for status, frames in receipt.partition.tally.statuses.items():
                self._record("phoenix_ray_frames", frames, node=node, status=status)
        self._peaks[node] = max(self._peaks.get(node, 0.0), receipt.peak_memory_mb)
        self._record("phoenix_ray_worker_memory_bytes", receipt.memory_mb * _MB, node=node)
        self._record("phoenix_ray_worker_peak_memory_bytes", self._peaks[node] * _MB, node=node)

    def shard_retried(self, failure_class: str) -> None:
        """Count an attempt that failed and will be repeated."""
        self._record("phoenix_ray_retries", 1, failure_class=failure_class)

    def failed(self, failure_class: str) -> None:
        """Count a shard or video that was given up."""
        self._record("phoenix_ray_failures", 1, failure_class=failure_class)

    def progress(self, status: Status) -> None:
        """Set what changes with time, when it is due."""
        now = time.monotonic()
        if now < self._gauges_due:
            return
        self._gauges_due = now + _GAUGE_SECONDS
        self._record("phoenix_ray_frames_planned", status.frames_planned)
        self._record("phoenix_ray_frames_per_second", status.frames_per_second)
        self._record("phoenix_ray_shards", status.shards_waiting, state="waiting")
        self._record("phoenix_ray_shards", status.shards_in_flight, state="in_flight")
        self._record("phoenix_ray_workers", status.workers)

    def close(self) -> None:
        """Set to 0 what a run that is over does not have: Ray keeps exporting the last numbers."""
        self._record("phoenix_ray_frames_per_second", 0)
        self._record("phoenix_ray_shards", 0, state="waiting")
        self._record("phoenix_ray_shards", 0, state="in_flight")
        self._record("phoenix_ray_workers", 0)

    def _record(self, name: str, number: float, **labels: str) -> None:
        metric = _BY_NAME[name]
        # Ray's counters refuse 0.
        if self._export is None or (metric.kind == "counter" and number <= 0):
            return
        try:
            self._export(metric, number, {"run": self._run_id, **labels})
        except Exception as error:
            self._export = None
            self._note(f"Metrics are not exported any more: {type(error).__name__}: {error}")


_BY_NAME = {metric.name: metric for metric in METRICS}
