"""The metrics of a run: what the driver counts, what the pages list, and what Prometheus reads from Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from phoenix_ray.cluster.job import run_job
from phoenix_ray.cluster.metrics import METRICS, Metric, RunMetrics
from phoenix_ray.cluster.progress import Meter
from phoenix_ray.cluster.worker import Receipt, Timings
from phoenix_ray.config_files import load
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.errors import EXIT_INCOMPLETE, EXIT_SOURCE, SourceError
from tests.cluster.conftest import FRAMES, environment
from tests.machine import free_ports

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


def dashboard() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((ROOT / "jobs" / "grafana-dashboard.json").read_text(encoding="utf-8")))


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_the_dashboard_draws_metrics_that_exist() -> None:
    panels, queries = dashboard()["panels"], dashboard_queries()
    drawn = {name for query in queries for name in re.findall(r"ray_phoenix_ray_\w+", query)}
    assert drawn <= {metric.exported_name for metric in METRICS}
    assert len(drawn) >= 10
    known = {metric.exported_name: {"run", *metric.tags} for metric in METRICS}
    for query in queries:
        for name, selector in re.findall(r"(ray_phoenix_ray_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= known[name], query
    boxes = [panel["gridPos"] for panel in panels]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert len({panel["id"] for panel in panels}) == len(boxes)


def test_an_error_that_ends_a_run_is_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"source.path={tmp_path / 'none'}", f"output.path={tmp_path / 'out'}"]
    assert run_job(load(None, [*words, "run.log_format=json"])) == EXIT_SOURCE
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[-1]["level"] == lines[-1]["event"] == "error"
    assert "none" in lines[-1]["message"]
    with pytest.raises(SourceError):
        run_job(load(None, words))


@pytest.fixture
def ray_head(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A Ray of its own folder and ports: its address, and the port of its metrics."""
    port, metrics = free_ports(2)
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
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log.read_text()
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


@pytest.fixture
def troubled(frame_folders: Path, tmp_path: Path) -> Path:
    """The frame folders, one frame of which is damaged, and a video that cannot be opened."""
    source = tmp_path / "troubled"
    shutil.copytree(frame_folders, source)
    (source / "train" / "alpha" / "3.png").write_bytes(b"not a picture")
    (source / "train" / "broken.mp4").write_bytes(b"not a video")
    return source


def run_on(address: str, source: Path, output: Path) -> dict[str, Any]:
    """Run with JSON lines, and return the event `summary`; the broken video makes it incomplete."""
    words = [f"source.path={source}", f"output.path={output}", "model.name=synthetic", "output.compact=false"]
    words += [f"cluster.address={address}", "run.log_format=json", "cluster.shard_frames=16"]
    done = subprocess.run(
        [sys.executable, "-m", "phoenix_ray.run", *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment() | {"RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == EXIT_INCOMPLETE, done.stderr
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert all({"time", "level", "run", "event"} <= line.keys() for line in lines)
    (failure,) = [line for line in lines if line["level"] == "error"]
    assert failure["event"] == "failure"
    assert "broken" in failure["message"]
    (summary,) = [line for line in lines if line["event"] == "summary"]
    assert summary["failures"] == 1
    return cast("dict[str, Any]", summary)


def statuses(summary: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for split in summary["splits"].values():
        for status, frames in split["statuses"].items():
            counts[status] += frames
    return counts


@pytest.mark.cluster
def test_the_endpoint_has_the_numbers_of_the_summary(ray_head: tuple[str, int], troubled: Path, tmp_path: Path) -> None:
    address, port = ray_head
    output = tmp_path / "out"
    summary = run_on(address, troubled, output)
    samples = scraped(port)

    def total(name: str, **labels: str) -> float:
        wanted = {"run": summary["run_id"], **labels}
        return sum(number for found, has, number in samples if found == name and wanted.items() <= has.items())

    assert total("ray_phoenix_ray_frames_total") == summary["frames_computed"] == FRAMES
    counts = statuses(summary)
    assert counts["unreadable"] == 1
    assert {status: total("ray_phoenix_ray_frames_total", status=status) for status in counts} == counts
    for phase, seconds in summary["timings"].items():
        assert total("ray_phoenix_ray_worker_seconds_total", phase=phase) == pytest.approx(seconds)
    files = list(output.glob("partitions/**/*.parquet"))
    assert total("ray_phoenix_ray_shards_committed_total") == len(files)
    assert total("ray_phoenix_ray_written_bytes_total") == sum(file.stat().st_size for file in files)
    assert total("ray_phoenix_ray_failures_total", failure_class="input") == summary["failures"]
    peak = total("ray_phoenix_ray_worker_peak_memory_bytes")
    assert peak == pytest.approx(summary["peak_memory_mb"] * 2**20)
    assert total("ray_phoenix_ray_workers") == total("ray_phoenix_ray_shards") == 0


@pytest.mark.cluster
def test_prometheus_has_the_counters_of_the_summary(ray_head: tuple[str, int], troubled: Path, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs the program `prometheus` (Debian: apt-get install prometheus)")
    address, port = ray_head
    (web,) = free_ports(1)
    scrape = {"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    words = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{web}",
    ]

    def ask(query: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{web}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(url, timeout=10) as answer:
            return cast("list[dict[str, Any]]", json.load(answer)["data"]["result"])

    log = tmp_path / "prometheus.log"
    with (
        log.open("w") as said,
        subprocess.Popen([program, *words], stdout=said, stderr=subprocess.STDOUT) as prometheus,
    ):
        try:
            summary = run_on(address, troubled, tmp_path / "out")
            last = (
                f'timestamp(sum by (run) (ray_phoenix_ray_workers{{run="{summary["run_id"]}"}} == 0)) > {time.time()}'
            )
            # A rate takes two samples.
            wait_for(lambda: ask(last) and ask("rate(ray_phoenix_ray_frames_total[2m])"), prometheus, log)
            counted = ask(f'sum by (status) (ray_phoenix_ray_frames_total{{run="{summary["run_id"]}"}})')
            assert {sample["metric"]["status"]: int(sample["value"][1]) for sample in counted} == statuses(summary)
            (failures,) = ask(f'sum(ray_phoenix_ray_failures_total{{run="{summary["run_id"]}"}})')
            assert int(failures["value"][1]) == summary["failures"]
            empty = [query for query in dashboard_queries() if not ask(query.replace("$run", summary["run_id"]))]
            # This run repeats no attempt and has no GPU.
            assert [re.findall(r"ray_\w+", query)[0] for query in empty] == [
                "ray_phoenix_ray_retries_total",
                "ray_node_gram_used",
            ]
        finally:
            prometheus.terminate()
