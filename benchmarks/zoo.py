"""The suite `zoo`: networks in ONNX files through our job, and their peers in a pool of processes, on the same frames.

YOLO11n-pose beside Ultralytics' own predictor, and a network of RTMW's shapes and cost beside rtmlib, whose RTMPose
takes the whole picture as its box, as ours does. Ratios are taken within a round, as in the suite `peers`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import rtmlib_practice, ultralytics_practice
from benchmarks.contestants import in_scratch, run_ours, run_script
from benchmarks.environments import POSE_NETWORKS, install
from benchmarks.pose_networks import (
    RTMW_MANIFEST,
    YOLO,
    YOLO_MANIFEST,
    write_manifest,
    write_rtmw_like,
    yolo_weights,
)
from benchmarks.report import Findings
from benchmarks.results import Measurement, Rounds, ratios
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.errors import ConfigError
from phoenix_ray.models.provenance import vector_architecture

OUR_YOLO, OUR_RTMW = "phoenix_ray, yolo11n-pose", "phoenix_ray, network like RTMW"
# With the kernels that onnxruntime has for this kind of processor alone (docs/engines.md).
FASTER = ", kernels of this processor"
# Peer → the contestant of ours that runs the same network, and the name of their ratio.
RIVALS = {
    "Ultralytics": (OUR_YOLO, "yolo11n-pose ÷ Ultralytics"),
    "Ultralytics with the ONNX file": (OUR_YOLO, "yolo11n-pose ÷ Ultralytics with the ONNX file"),
    "rtmlib": (OUR_RTMW, "network like RTMW ÷ rtmlib"),
    "rtmlib, threads left to it": (OUR_RTMW, "network like RTMW ÷ rtmlib, threads left to it"),
}

Run = Callable[[Path], Measurement]


def run(request: Request) -> Findings:
    """Measure all contestants one after another, round after round."""
    if not request.peers:
        raise ConfigError("zoo takes its network from a peer's package: it needs --peers.")
    contestants = _contestants(request)
    measured: dict[str, list[Measurement]] = defaultdict(list)
    for number in range(1, request.rounds + 1):
        for name, contestant in contestants.items():
            measurement = in_scratch(request.output, contestant)
            measured[name].append(measurement)
            request.announce(f"round {number}: {name} {measurement.steady_rate:.1f} frames/s")
    quantities = {
        quantity + speed: ratios(measured[ours + speed], measured[peer])
        for peer, (ours, quantity) in RIVALS.items()
        for speed in ("", FASTER)
    }
    frames = f"{request.frames}, {request.passes} times, {request.workers} processes each"
    raw = {name: [asdict(measurement) for measurement in runs] for name, runs in measured.items()}
    return Findings(frames, request.rounds, [_table(measured)], quantities, _notes(request, measured), raw=raw)


def _contestants(request: Request) -> dict[str, Run]:
    python = install(POSE_NETWORKS, request.environments, request.announce)
    folder = request.output.absolute() / "networks"
    folder.mkdir(exist_ok=True)
    exported, rtmw = folder / f"{YOLO}.onnx", folder / "rtmw-like.onnx"
    write_rtmw_like(rtmw)
    weights = yolo_weights(python)
    pictures = list(request.frames.pictures) * request.passes
    threads = max(1, (os.cpu_count() or 1) // request.workers)
    shared = {"pictures": pictures, "workers": request.workers, "threads": threads}
    export = {**shared, "network": str(weights), "export": str(exported), "pictures": pictures[:1], "workers": 1}
    in_scratch(request.output, partial(_run_peer, python, ultralytics_practice.__file__, export))
    yolo = {**shared, "export": ""}
    rtmlib = {**shared, "network": str(rtmw), "size": RTMW_MANIFEST["input"]["size"]}

    def ours(manifest: Path, architecture: str = "auto") -> Run:
        model = {"name": str(manifest), "engine": "onnx", "threads": threads, "architecture": architecture}
        return partial(run_ours, request.frames, request.workers, request.passes, model=model)

    our_yolo, our_rtmw = write_manifest(exported, YOLO_MANIFEST), write_manifest(rtmw, RTMW_MANIFEST)

    def peer(script: str, asked: Mapping[str, Any]) -> Run:
        return partial(_run_peer, python, script, asked)

    return {
        OUR_YOLO: ours(our_yolo),
        OUR_YOLO + FASTER: ours(our_yolo, vector_architecture()),
        "Ultralytics": peer(ultralytics_practice.__file__, {**yolo, "network": str(weights)}),
        "Ultralytics with the ONNX file": peer(ultralytics_practice.__file__, {**yolo, "network": str(exported)}),
        OUR_RTMW: ours(our_rtmw),
        OUR_RTMW + FASTER: ours(our_rtmw, vector_architecture()),
        "rtmlib": peer(rtmlib_practice.__file__, rtmlib),
        "rtmlib, threads left to it": peer(rtmlib_practice.__file__, {**rtmlib, "threads": 0}),
    }


def _run_peer(python: Path, script: str, asked: Mapping[str, Any], scratch: Path) -> Measurement:
    result, wall_seconds = run_script(python, script, asked, scratch)
    return Measurement(
        result["frames"], result["steady_seconds"], wall_seconds, details={"versions": result["versions"]}
    )


def _table(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    rows = []
    for name, runs in measured.items():
        ratio = ratios(measured[RIVALS[name][0]], runs).show(2) if name in RIVALS else ""
        steady, whole = (
            Rounds.of(rates).show() for rates in ([run.steady_rate for run in runs], [run.whole_rate for run in runs])
        )
        rows.append((name, f"{runs[0].frames:,}", steady, whole, ratio))
    return Table(("", "frames", "frames/s, steady", "frames/s, whole command", "phoenix_ray ÷ it"), rows)


def _notes(request: Request, measured: Mapping[str, Sequence[Measurement]]) -> list[str]:
    versions = measured["rtmlib"][0].details["versions"], measured["Ultralytics"][0].details["versions"]
    named = {name: version for found in versions if isinstance(found, Mapping) for name, version in found.items()}
    return [
        "Contestants run in turn, and ratios are taken within a round. Peers read their pictures with OpenCV and keep "
        "their results in memory; phoenix_ray commits them to Parquet through Ray.",
        f"{request.workers} processes each, with an equal share of the cores as threads. rtmlib has no setting for "
        "that: its session is given the number of threads here, and left as it is in the last line.",
        "The network like RTMW has RTMW's inputs and outputs, random weights, and 4.3 billion multiplications.",
        f"Peers: {', '.join(f'{name} {version}' for name, version in sorted(named.items()))}.",
    ]
