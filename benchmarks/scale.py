"""The suite `scale`: how plan, resume and driver grow with the number of videos, up to a million.

The datasets that are resumed are staged, not computed, and stay in the output folder for the next time: to write one of
a million videos takes minutes. docs/scale.md says how to read the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.contestants import in_scratch
from benchmarks.report import Findings
from benchmarks.results import Spread
from benchmarks.scale_measure import (
    Cost,
    drive,
    drive_nothing,
    measure,
    plan_all,
    rerun,
    resume,
    settings_for,
    stage,
)
from benchmarks.suites import Request
from benchmarks.table import Table
from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.config import Settings

# Videos of PHOENIX-2014-T: a dataset of so many should be found whole before anyone has to wait.
PHOENIX_VIDEOS = 8_257
SIZES = (1_000, PHOENIX_VIDEOS, 100_000)
SHARDS = 10_000
# Often enough for a short run to compact several times beside its workers.
COMPACTIONS_OF_A_RUN = 4
RESUME_STEPS = ("sweep", "committed", "plan", "totals")
COUNTS_OF_A_RUN = ("partitions", "largest_folder", "descriptors")


@dataclass(frozen=True, slots=True)
class Growth:
    """What was measured, a `Cost` for each round.

    Attributes:
        plan: Videos → planning them when none is committed.
        resume: Videos → finding out that all are committed and compacted.
        committed: Videos of the dataset for which the command was typed again.
        rerun: That command.
        shards: Shards of the two runs.
        null: A run of workers that do nothing.
        run: A run of workers that commit one frame a shard.
    """

    plan: Mapping[int, Sequence[Cost]]
    resume: Mapping[int, Sequence[Cost]]
    committed: int
    rerun: Sequence[Cost]
    shards: int
    null: Sequence[Cost]
    run: Sequence[Cost]


def run(request: Request) -> Findings:
    """Measure datasets of growing size, the command on one of them, and two runs of one frame a shard."""
    staged = {size: _stage_once(size, request) for size in sizes_up_to(request.videos)}
    committed, shards = min(PHOENIX_VIDEOS, request.videos), min(SHARDS, request.videos)
    plan: dict[int, list[Cost]] = {size: [] for size in staged}
    resumed: dict[int, list[Cost]] = {size: [] for size in staged}
    again: list[Cost] = []
    null: list[Cost] = []
    driven: list[Cost] = []
    for number in range(1, request.rounds + 1):
        for size, settings in staged.items():
            plan[size].append(measure(plan_all, settings))
            resumed[size].append(measure(resume, settings))
            told = f"plan {_seconds(plan[size][-1])}, resume {_seconds(resumed[size][-1])}"
            request.tell(f"round {number}: {size:,} videos: {told}")
        again.append(measure(rerun, staged[committed]))
        null.append(in_scratch(request.output, partial(_drive, drive_nothing, shards)))
        driven.append(in_scratch(request.output, partial(_drive, drive, shards)))
        rates = (f"{one.found['shards_per_second']:,.0f} shards/s" for one in (null[-1], driven[-1]))
        request.tell(f"round {number}: null work {next(rates)}, one frame each {next(rates)}")
    growth = Growth(plan, resumed, committed, again, shards, null, driven)
    tables = [_sizes(growth), _command(growth), _runs(growth)]
    described = f"Synthetic videos, up to {request.videos:,}"
    return Findings(described, request.rounds, tables, quantities(growth), _notes(), raw=asdict(growth))


def sizes_up_to(videos: int) -> list[int]:
    """Return the sizes at which growth is measured; the last one is `videos`."""
    return [*(size for size in SIZES if size < videos), videos]


def quantities(growth: Growth) -> dict[str, Spread]:
    """Return what bars are held against. Each name has its size, so that nothing smaller stands for a million."""
    found = {}
    for videos, plans in growth.plan.items():
        resumes = growth.resume[videos]
        found[f"seconds to plan {videos:,} videos"] = Spread.of(one.seconds for one in plans)
        found[f"seconds to resume {videos:,} videos"] = Spread.of(one.seconds for one in resumes)
        found[f"driver's memory for {videos:,} videos, MB"] = Spread.of(
            max(plan.peak_mb, resume.peak_mb) for plan, resume in zip(plans, resumes, strict=True)
        )
    found[f"seconds of the command when {growth.committed:,} videos are committed"] = _found(growth.rerun, "seconds")
    found[f"shards/s of null work, {growth.shards:,} shards"] = _found(growth.null, "shards_per_second")
    return found


def _stage_once(videos: int, request: Request) -> Settings:
    """Return the settings of a dataset in the output folder, which is written first where it is missing."""
    fingerprint = make_identity(settings_for(videos, Path()), "").fingerprint
    folder = request.output.absolute() / f"scale-{videos}-{fingerprint[:8]}"
    if folder.is_dir():
        request.tell(f"{folder} is there already: delete it to have it written anew")
    else:
        request.tell(f"writing a dataset of {videos:,} videos into {folder}")

        def write(scratch: Path) -> None:
            dataset = scratch / "dataset"
            measure(stage, settings_for(videos, dataset))
            dataset.rename(folder)

        in_scratch(request.output, write)
    return settings_for(videos, folder)


def _drive(action: Callable[[Settings], dict[str, float]], shards: int, scratch: Path) -> Cost:
    settings = settings_for(shards, scratch / "dataset")
    compacting = settings.output.model_copy(update={"compact_every": max(1, shards // COMPACTIONS_OF_A_RUN)})
    return measure(action, settings.model_copy(update={"output": compacting}))


def _sizes(growth: Growth) -> Table:
    head = ("videos", *_head("plan"), *_head("resume"), *(f"resume's {step}, s" for step in RESUME_STEPS), "data files")
    rows = [
        (
            f"{videos:,}",
            *_cells(plans),
            *_cells(growth.resume[videos]),
            *(_found(growth.resume[videos], step).show(2) for step in RESUME_STEPS),
            _found(growth.resume[videos], "data_files").show(0),
        )
        for videos, plans in growth.plan.items()
    ]
    return Table(head, rows)


def _command(growth: Growth) -> Table:
    name = f"the command when all of {growth.committed:,} videos are committed"
    seconds, cpu_seconds = (_found(growth.rerun, key).show() for key in ("seconds", "cpu_seconds"))
    return Table(("", "s", "CPU s", "MB"), [(name, seconds, cpu_seconds, _found(growth.rerun, "peak_mb").show(0))])


def _runs(growth: Growth) -> Table:
    head = (
        *(f"{growth.shards:,} shards through Ray", "shards/s", "driver's CPU, ms a shard", "driver's MB"),
        *("open partitions at most", "entries of a folder at most", "open files at most"),
    )
    rows = [
        (
            name,
            _found(costs, "shards_per_second").show(0),
            Spread.of(1000 * one.cpu_seconds / growth.shards for one in costs).show(2),
            Spread.of(one.peak_mb for one in costs).show(0),
            *(f"{max(one.found.get(f'most_{count}', 0) for one in costs):,.0f}" for count in COUNTS_OF_A_RUN),
        )
        for name, costs in (("null work", growth.null), ("one frame each, committed", growth.run))
    ]
    return Table(head, rows)


def _head(action: str) -> tuple[str, ...]:
    return f"{action}, s", "CPU s", "MB"


def _cells(costs: Sequence[Cost]) -> Iterable[str]:
    yield Spread.of(one.seconds for one in costs).show()
    yield Spread.of(one.cpu_seconds for one in costs).show()
    yield Spread.of(one.peak_mb for one in costs).show(0)


def _found(costs: Sequence[Cost], name: str) -> Spread:
    return Spread.of(one.found[name] for one in costs)


def _seconds(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s (CPU {cost.cpu_seconds:.1f} s)"


def _notes() -> list[str]:
    return [
        "Seconds are the clock's, which the load of the machine lengthens; CPU seconds beside them are those of all "
        "threads of the process.",
        "Plan: whole videos of which none is committed. Resume: all are committed and compacted, one frame each. "
        "Memory is the largest resident size of a process that has not started Ray.",
        "The command: from its start to its exit, Python's start included; with nothing to do it starts no Ray.",
        "Null work: workers answer at once and commit nothing. What lies open in a run is looked at every few seconds.",
    ]
