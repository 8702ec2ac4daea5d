"""The suite `losses`: whose results change with the number of workers, and what a kill costs each contestant.

Every contestant computes all frames with one process and with several, which should make no difference. Then it is
killed in the middle (`kill -9` of all its processes) and started again with the same command, as its users would do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.contestants import in_scratch, own_environment, run_command
from benchmarks.environments import install_peers
from benchmarks.outcomes import (
    Contestant,
    FramePoints,
    MediaPipePool,
    PhoenixRay,
    PoseFormat,
    RayData,
)
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from benchmarks.table import Table

# Pixels of the frame. Smaller differences come from rounding in a file format.
SAME_PIXELS = 1e-4
# When the kill comes, as a share of the time of an undisturbed run.
KILLED_AT = 0.75


@dataclass(frozen=True, slots=True)
class Loss:
    """The losses of one contestant.

    Attributes:
        frames: Number of frames.
        changed: Frames in which a landmark, or its presence, differs between one process and several.
        largest: Largest distance of such a landmark in pixels; 0 if only presence differs.
        survived: Frames whose landmarks could be read after the kill.
        missing: Frames without a row after the rerun.
        twice: Frames with more than one row after the rerun.
        rerun_share: Time of the rerun ÷ time of an undisturbed run.
    """

    frames: int
    changed: int
    largest: float
    survived: int
    missing: int
    twice: int
    rerun_share: float


def run(request: Request) -> Findings:
    """Measure the losses of all contestants once: they are counts, not times."""
    contestants: list[Contestant] = [PhoenixRay(request.frames)]
    if request.peers:
        mediapipe, pose_format, ray_data = install_peers(request.environments, request.announce)
        contestants += [
            MediaPipePool(request.frames, mediapipe),
            PoseFormat(request.frames, pose_format),
            RayData(request.frames, ray_data),
        ]
    losses: dict[str, Loss] = {}
    for contestant in contestants:
        loss = in_scratch(request.output, partial(_measure, contestant, request.workers))
        losses[contestant.name] = loss
        request.announce(f"{contestant.name}: {loss}")
    ours = losses[contestants[0].name]
    quantities = {
        "frames of ours that change with the number of workers": Rounds.of([ours.changed]),
        "frames of ours lost or twice after a kill and a rerun": Rounds.of([ours.missing + ours.twice]),
    }
    raw = {name: asdict(loss) for name, loss in losses.items()}
    return Findings(str(request.frames), 1, [_table(losses)], quantities, _notes(request.workers), raw=raw)


def _measure(contestant: Contestant, workers: int, scratch: Path) -> Loss:
    results: list[FramePoints] = []
    seconds = 0.0
    for count in (1, workers):
        folder = scratch / f"{count}-processes"
        folder.mkdir()
        seconds = run_command(contestant.command(folder, count), folder, own_environment())
        results.append(contestant.landmarks(folder))
    folder = scratch / "killed"
    folder.mkdir()
    _run_and_kill(contestant.command(folder, workers), folder, KILLED_AT * seconds)
    survived = len(set(contestant.rows(folder)))
    rerun = run_command(contestant.command(folder, workers), folder, own_environment())
    rows = Counter(contestant.rows(folder))
    changed, largest = compare(*results)
    return Loss(
        frames=contestant.frame_count,
        changed=changed,
        largest=largest,
        survived=survived,
        missing=contestant.frame_count - len(rows),
        twice=sum(count > 1 for count in rows.values()),
        rerun_share=rerun / seconds,
    )


def compare(first: FramePoints, second: FramePoints) -> tuple[int, float]:
    """Return how many frames differ between two results, and the largest distance in pixels."""
    import numpy as np

    changed, largest = 0, 0.0
    for frame in first.keys() | second.keys():
        if frame not in first or frame not in second:
            changed += 1
            continue
        left, right = first[frame], second[frame]
        missing_left, missing_right = np.isnan(left), np.isnan(right)
        distances = np.abs(left - right)[~(missing_left | missing_right)]
        distance = float(distances.max(initial=0.0))
        changed += bool((missing_left != missing_right).any() or distance > SAME_PIXELS)
        largest = max(largest, distance)
    return changed, largest


def _run_and_kill(command: Sequence[str], folder: Path, seconds: float) -> None:
    """Start a command, and after some seconds kill it and all processes that it has started."""
    with (folder / "killed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=own_environment(), start_new_session=True)
        time.sleep(seconds)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for pid in (process.pid, *(child.pid for child in family)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _table(losses: Mapping[str, Loss]) -> Table:
    rows = [
        (
            name,
            f"{loss.changed:,} of {loss.frames:,}",
            f"{loss.largest:.2f}" if loss.changed else "",
            f"{loss.survived:,}",
            f"{loss.missing:,}",
            f"{loss.twice:,}",
            f"{loss.rerun_share:.2f}",
        )
        for name, loss in losses.items()
    ]
    head = (
        "",
        "frames that change with the number of processes",
        "largest change, px",
        "frames readable after the kill",
        "missing after the rerun",
        "twice after the rerun",
        "time of the rerun ÷ a whole run",
    )
    return Table(head, rows)


def _notes(workers: int) -> list[str]:
    return [
        f"Results with 1 and with {workers} processes are compared frame by frame. All peers run MediaPipe in static "
        "image mode, where the regions of hands and face come from the picture before, which depends on how "
        "the work is divided.",
        f"All processes are killed at once with `kill -9` after {KILLED_AT:.0%} of the time of an undisturbed run. "
        "Then the same command runs again into the same folder, as users would do.",
    ]
