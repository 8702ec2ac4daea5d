"""The third step of `benchmarks.gpu`: the device's landmarks beside the CPU engine's, in pixels and in bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu_cases import Case, cpu_landmarks, landmarks_of, store_landmarks, stored_landmarks
from benchmarks.gpu_report import LANDMARKS, VERDICTS
from benchmarks.gpu_results import Chapter, Kernels
from benchmarks.gpu_task import GpuTask, Record, usable_kernels
from benchmarks.parity_report import ParityReport, compare
from benchmarks.table import Table
from phoenix_ray import layouts
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.setting_types import Precision


@dataclass(frozen=True, slots=True)
class Compared:
    """A case, what computed it, and how it compares.

    Attributes:
        case: Name of the case.
        kernels: What computed.
        precision: Precision of products.
        report: The comparison with the CPU engine.
        identical: Share of frames in which every number has the CPU engine's bits, also those of missing parts.
        repeated: Share of frames that had the same bits again when the frames came in reverse order, beside other
            neighbours; None if that was not tried.
    """

    case: str
    kernels: Kernels
    precision: Precision
    report: ParityReport
    identical: float
    repeated: float | None


def run(task: GpuTask, record: Record) -> None:
    """Compare case after case: the kernels that users get first, then torch's; other precisions last."""
    kernels, objection = usable_kernels(task.device)
    if objection:
        record.leave_out(f"landmarks by the kernels of this package: {objection}")
    expected: dict[str, LandmarkBatch | None] = {}
    found: list[Compared] = []
    for case, which, precision in _plan(task, kernels):
        if case.name not in expected:
            look_up = partial(expected_landmarks, task, case)
            expected[case.name] = record.attempt(f"landmarks of the CPU engine, {case.name}", look_up)
        wanted = expected[case.name]
        if wanted is None:
            continue
        subject = f"landmarks, {case.name}, {which}, {precision}"
        compared = record.attempt(subject, partial(_compare, task, case, which, precision, wanted))
        if compared is not None:
            found.append(compared)
            record.results.put(_landmarks(found))
            record.put(_verdicts(found), parity=[_plain(each) for each in found])


def _plan(task: GpuTask, kernels: tuple[Kernels, ...]) -> Iterator[tuple[Case, Kernels, Precision]]:
    for case in task.cases:
        for which in kernels:
            yield case, which, "exact"
    for precision in task.precisions:
        if precision != "exact":
            yield task.cases[0], kernels[0], precision


def expected_landmarks(task: GpuTask, case: Case) -> LandmarkBatch:
    """Return the CPU engine's landmarks: stored ones, else from LiteRT, and then they are stored.

    Raises:
        ImportError: None are stored, and LiteRT is not installed.
        ModelError: Those of other frames are stored.
    """
    if task.references is not None and (file := case.file(task.references)).exists():
        return stored_landmarks(file, task.frames)
    found = cpu_landmarks(case, task.weights, task.frames)
    if task.references is not None:
        task.references.mkdir(parents=True, exist_ok=True)
        store_landmarks(case.file(task.references), task.frames, found)
    return found


def _compare(task: GpuTask, case: Case, kernels: Kernels, precision: Precision, expected: LandmarkBatch) -> Compared:
    frames, repeated, size = task.frames, None, task.batch_sizes[0]
    if case.mode == "tracking" and task.device.type == "cpu":
        # Batches are filled up with stand-ins, which a CPU would compute too.
        size = min(size, len(frames.videos))
    with closing(task.load(kernels, precision, size, case)) as model:
        found = landmarks_of(model, frames)
        if case.mode == "static":
            again = model.estimate(frames.images[::-1])
            repeated = _identical(found, LandmarkBatch({name: all_[::-1] for name, all_ in again.points.items()}, {}))
    layout = layouts.holistic(case.face_points)
    report = compare(layout, frames.sizes, expected, found, names=("CPU engine", f"torch, {kernels}"))
    return Compared(case.name, kernels, precision, report, _identical(expected, found), repeated)


def _identical(expected: LandmarkBatch, found: LandmarkBatch) -> float:
    """Return the share of frames in which all points have the same bits."""
    same = [same_bits(expected.points[name], found.points[name]).all(axis=(1, 2)) for name in found.points]
    return float(np.all(same, axis=0).mean())


def _landmarks(found: list[Compared]) -> Chapter:
    head = (
        "case",
        "kernels",
        "precision",
        "part",
        "both",
        "only one",
        "mean px",
        "p99 px",
        "max px",
        "identical",
    )
    rows = [cells for compared in found for cells in _part_cells(compared)]
    words = (
        "Distances in pixels of the frame, for parts that both engines found; identical are frames in which every "
        "number of the part has the same bits."
    )
    return Chapter(LANDMARKS, words, Table(head, rows))


def _part_cells(compared: Compared) -> Iterator[tuple[str, ...]]:
    for part in compared.report.parts:
        spread = part.errors.get("xy px")
        if spread is None:
            continue
        counts = (str(part.both), str(part.only_reference + part.only_candidate))
        figures = (f"{value:.4f}" for value in (spread.mean, spread.p99, spread.maximum))
        share = f"{part.identical / part.both:.1%}"
        yield compared.case, compared.kernels, compared.precision, part.part, *counts, *figures, share


def _verdicts(found: list[Compared]) -> Chapter:
    head = ("case", "kernels", "precision", "presence agrees", "identical frames", "same again", "bars missed")
    rows = []
    for compared in found:
        again = "" if compared.repeated is None else f"{compared.repeated:.1%}"
        shares = (f"{compared.report.presence:.2%}", f"{compared.identical:.1%}", again)
        missed = " ".join(compared.report.failures()) or "none"
        rows.append((compared.case, compared.kernels, compared.precision, *shares, missed))
    words = (
        "Identical: frames in which all parts have the CPU engine's bits. Same again: frames with the same bits when "
        "all frames came in reverse order, beside other neighbours. Bars are those of docs/parity.md, for 'exact'."
    )
    return Chapter(VERDICTS, words, Table(head, rows))


def _plain(compared: Compared) -> dict[str, Any]:
    names = ("case", "kernels", "precision", "identical", "repeated")
    return {name: getattr(compared, name) for name in names} | {"report": compared.report.to_json()}
