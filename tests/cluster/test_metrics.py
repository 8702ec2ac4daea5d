"""The metrics of a run: what the driver counts, what the pages list, and what Prometheus reads from Ray."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from phoenix_ray.cluster.job import run_job
from phoenix_ray.cluster.metrics import METRICS, Metric, RunMetrics
from phoenix_ray.cluster.progress import Meter
from phoenix_ray.cluster.worker import Receipt, Timings
from phoenix_ray.config_files import load
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.errors import EXIT_SOURCE, SourceError
from tests.cluster.conftest import FRAMES, environment

ROOT = Path(__file__).parents[2]
Sample = tuple[str, Mapping[str, str], float]


class Collected:
    """Numbers by name and labels, added up or replaced as Prometheus would see them."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)

    def __call__(self, metric: Metric, number: float, labels: Mapping[str, str]) -> None:
        assert labels.keys() == {"run", *metric.tags}
        assert labels["run"] == "r"
        key = metric.name.removeprefix("phoenix_ray_"), tuple(labels[tag] for tag in metric.tags)
        self.numbers[key] = number + (self.numbers[key] if metric.kind == "counter" else 0)


def receipt(node: str, statuses: Mapping[str, int], size: int, memory_mb: float, timings: Timings) -> Receipt:
    tally = Tally(sum(statuses.values()), 0, dict(statuses))
    partition = PartitionInfo.__new__(PartitionInfo)
    for name, value in {"tally": tally, "bytes": size}.items():
        object.__setattr__(partition, name, value)
    return Receipt(partition, None, timings, memory_mb + 1, memory_mb, node=node)


def test_receipts_become_counters_by_node() -> None:
    collected = Collected()
    metrics = RunMetrics("r", pytest.fail, collected)
    metrics.shard_committed(receipt("a", {"ok": 3, "no_person": 2}, 100, 7, Timings(1, 2, 3, 0)))
    metrics.shard_committed(receipt("a", {"ok": 4}, 50, 5, Timings(1, 2, 3, 4)))
    metrics.shard_committed(receipt("b", {"failed": 1}, 10, 1, Timings(0, 1, 0, 0)))
    numbers = collected.numbers
    assert numbers["frames", ("a", "ok")] == 7
    assert numbers["frames", ("a", "no_person")] == 2
    assert numbers["frames", ("b", "failed")] == 1
    assert numbers["shards_committed", ("a",)] == 2
    assert numbers["written_bytes", ("a",)] == 150
    assert numbers["worker_seconds", ("a", "write")] == 6
    assert numbers["worker_seconds", ("a", "idle")] == 4
    assert ("worker_seconds", ("b", "idle")) not in numbers
    assert numbers["worker_memory_bytes", ("a",)] == 5 * 2**20
    assert numbers["worker_peak_memory_bytes", ("a",)] == 8 * 2**20


def test_what_a_finished_run_does_not_have_is_0_at_the_end() -> None:
    collected = Collected()
    metrics = RunMetrics("r", pytest.fail, collected)
    metrics.progress(Meter("r", 10, 0).status(3, 2, 1))
    assert collected.numbers["shards", ("waiting",)] == 3
    assert collected.numbers["workers", ()] == 1
    metrics.close()
    assert collected.numbers["shards", ("in_flight",)] == 0
    assert collected.numbers["workers", ()] == 0
    assert collected.numbers["frames_planned", ()] == 10


def test_metrics_that_fail_are_noted_once_and_end_nothing() -> None:
    def refuse(metric: Metric, number: float, labels: Mapping[str, str]) -> None:
        raise RuntimeError("no agent")

    notes: list[str] = []
    metrics = RunMetrics("r", notes.append, refuse)
    metrics.failed("model")
    metrics.shard_retried("model")
    metrics.close()
    assert len(notes) == 1
    assert "no agent" in notes[0]


def test_the_page_lists_all_metrics_with_their_labels() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ray_phoenix_ray_\w+)` \|([^|]*)\|([^|]+)\|$", page, re.MULTILINE)
    assert [(name, tuple(re.findall(r"`(\w+)`", labels))) for name, labels, _ in rows] == [
        (metric.exported_name, metric.tags) for metric in METRICS
    ]


def test_the_dashboard_draws_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "jobs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    drawn = {name for query in queries for name in re.findall(r"ray_phoenix_ray_\w+", query)}
    assert drawn <= {metric.exported_name for metric in METRICS}
    assert len(drawn) >= 10
    known = {metric.exported_name: {"run", *metric.tags} for metric in METRICS}
    for query in queries:
        for name, selector in re.findall(r"(ray_phoenix_ray_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= known[name], query
    boxes = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(boxes)


def test_an_error_that_ends_a_run_is_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"source.path={tmp_path / 'none'}", f"output.path={tmp_path / 'out'}"]
    assert run_job(load(None, [*words, "run.log_format=json"])) == EXIT_SOURCE
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[-1]["level"] == lines[-1]["event"] == "error"
    assert "none" in lines[-1]["message"]
    with pytest.raises(SourceError):
        run_job(load(None, words))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A Ray of its own folder and ports: its address, and the port of its metrics."""
    port, metrics = free_port(), free_port()
    # Sockets have short paths.
    folder = Path("/tmp") / f"phoenix-ray-metrics-{os.getpid()}"
    words = ["start", "--head", "--block", f"--port={port}", f"--metrics-export-port={metrics}", "--num-cpus=1"]
    words += ["--include-dashboard=false", f"--temp-dir={folder}", "--object-store-memory=100000000"]
    log = (tmp_path / "head.log").open("w")
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment() | {"RAY_AUTH_MODE": "disabled"},
        start_new_session=True,
    )
    try:
        wait_for(lambda: scraped(metrics), head, tmp_path / "head.log")
        address = re.search(r"--address='([^']+)'", (tmp_path / "head.log").read_text())
        yield (address[1] if address else f"127.0.0.1:{port}"), metrics
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        log.close()
        subprocess.run(["rm", "-rf", str(folder)], check=False)


def wait_for(condition: Callable[[], object], head: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def scraped(port: int) -> list[Sample]:
    """Return the samples of an endpoint, empty where nobody listens yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return []
    found = re.findall(r"^(\w+)\{([^}]*)\} (\S+)$", text, re.MULTILINE)
    return [(name, dict(re.findall(r"(\w+)=\"([^\"]*)\"", labels)), float(number)) for name, labels, number in found]


@pytest.mark.cluster
def test_prometheus_reads_the_counters_of_the_summary(
    ray_head: tuple[str, int], frame_folders: Path, tmp_path: Path
) -> None:
    address, port = ray_head
    words = [f"source.path={frame_folders}", f"output.path={tmp_path / 'out'}", "model.name=synthetic"]
    words += [f"cluster.address={address}", "output.compact=false", "run.log_format=json", "cluster.shard_frames=16"]
    done = subprocess.run(
        [sys.executable, "-m", "phoenix_ray.run", *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment() | {"RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert all({"time", "level", "run", "event"} <= line.keys() for line in lines)
    summary = next(line for line in lines if line["event"] == "summary")
    assert done.stdout == ""

    def total(name: str, **labels: str) -> float:
        """The sum over samples of this run; an agent may export some seconds late."""
        wanted = {"run": summary["run_id"], **labels}
        return sum(number for found, has, number in samples if found == name and wanted.items() <= has.items())

    deadline = time.monotonic() + 30
    samples: list[Sample] = []
    while total("ray_phoenix_ray_frames_total") < FRAMES and time.monotonic() < deadline:
        time.sleep(0.5)
        samples = scraped(port)
    assert total("ray_phoenix_ray_frames_total") == summary["frames_computed"] == FRAMES
    statuses: dict[str, int] = defaultdict(int)
    for split in summary["splits"].values():
        for status, frames in split["statuses"].items():
            statuses[status] += frames
    for status, frames in statuses.items():
        assert total("ray_phoenix_ray_frames_total", status=status) == frames
    for phase, seconds in summary["timings"].items():
        assert total("ray_phoenix_ray_worker_seconds_total", phase=phase) == pytest.approx(seconds)
    files = list((tmp_path / "out").glob("partitions/**/*.parquet"))
    assert total("ray_phoenix_ray_shards_committed_total") == len(files)
    assert total("ray_phoenix_ray_written_bytes_total") == sum(file.stat().st_size for file in files)
    assert total("ray_phoenix_ray_failures_total") == summary["failures"] == 0
    peak = total("ray_phoenix_ray_worker_peak_memory_bytes")
    assert peak == pytest.approx(summary["peak_memory_mb"] * 2**20)
    assert total("ray_phoenix_ray_workers") == total("ray_phoenix_ray_shards") == 0
