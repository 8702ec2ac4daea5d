"""The suite `scale`: how the costs of plan, resume and driver grow with the number of videos, up to a million.

The datasets to resume are written directly, not computed, and stay in the output folder for the next time: writing a
million videos takes minutes. docs/scale.md says how to read the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.contestants import in_scratch
from benchmarks.report import Findings
from benchmarks.results import Rounds
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
from phoenix_ray.text import counted

# Videos in PHOENIX-2014-T. The command should find such a dataset complete before anyone has to wait.
PHOENIX_VIDEOS = 8_257
SIZES = (1_000, PHOENIX_VIDEOS, 100_000)
SHARDS = 10_000
# So that even a short run compacts several times while its workers work.
COMPACTIONS_OF_A_RUN = 4
RESUME_STEPS = ("sweep", "committed", "plan", "totals")
COUNTS_OF_A_RUN = ("partitions", "largest_folder", "descriptors")


@dataclass(frozen=True, slots=True)
class Growth:
    """All measurements, as one `Cost` for each round.

    Attributes:
        plan: Number of videos → planning them when none is committed.
        resume: Number of videos → finding out that all are committed and compacted.
        committed: Number of videos in the complete dataset on which the command ran again.
        rerun: That command.
        shards: Number of shards in `null` and `run`.
        null: A run whose workers do nothing.
        run: A run whose workers commit one frame for each shard.
    """

    plan: Mapping[int, Sequence[Cost]]
    resume: Mapping[int, Sequence[Cost]]
    committed: int
    rerun: Sequence[Cost]
    shards: int
    null: Sequence[Cost]
    run: Sequence[Cost]


def run(request: Request) -> Findings:
    """Measure datasets of growing size, the command on one of them, and two runs with one frame for each shard."""
    staged = {size: stage_once(size, request) for size in sizes_up_to(request.videos)}
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
            times = f"plan {_seconds(plan[size][-1])}, resume {_seconds(resumed[size][-1])}"
            request.announce(f"round {number}: {counted(size, 'video')}: {times}")
        again.append(measure(rerun, staged[committed]))
        null.append(in_scratch(request.output, partial(_drive, drive_nothing, shards)))
        driven.append(in_scratch(request.output, partial(_drive, drive, shards)))
        rates = (f"{cost.found['shards_per_second']:,.0f} shards/s" for cost in (null[-1], driven[-1]))
        request.announce(f"round {number}: null work {next(rates)}, one frame each {next(rates)}")
    growth = Growth(plan, resumed, committed, again, shards, null, driven)
    tables = [_sizes(growth), _command(growth), _runs(growth)]
    described = f"Synthetic videos, up to {request.videos:,}"
    return Findings(described, request.rounds, tables, quantities(growth), _notes(), raw=asdict(growth))


def sizes_up_to(videos: int) -> list[int]:
    """Return the numbers of videos at which growth is measured; `videos` is the last."""
    return [*(size for size in SIZES if size < videos), videos]


def quantities(growth: Growth) -> dict[str, Rounds]:
    """Return the quantities that bars limit. Names include the size, so that no smaller one stands for a million."""
    found = {}
    for videos, plans in growth.plan.items():
        resumes = growth.resume[videos]
        found[f"seconds to plan {videos:,} videos"] = Rounds.of(cost.seconds for cost in plans)
        found[f"seconds to resume {videos:,} videos"] = Rounds.of(cost.seconds for cost in resumes)
        found[f"driver's memory for {videos:,} videos, MB"] = Rounds.of(
            max(plan.peak_mb, resume.peak_mb) for plan, resume in zip(plans, resumes, strict=True)
        )
    found[f"seconds of the command when {growth.committed:,} videos are committed"] = _found(growth.rerun, "seconds")
    found[f"shards/s of null work, {growth.shards:,} shards"] = _found(growth.null, "shards_per_second")
    return found


def stage_once(videos: int, request: Request) -> Settings:
    """Return the settings of a dataset in the output folder, which is written first if it is missing."""
    fingerprint = make_identity(settings_for(videos, Path()), "").fingerprint
    folder = request.output.absolute() / f"scale-{videos}-{fingerprint[:8]}"
    if folder.is_dir():
        request.announce(f"{folder} exists already: delete it to have it written again")
    else:
        request.announce(f"writing a dataset of {videos:,} videos into {folder}")

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
        *(f"{growth.shards:,} shards through Ray", "shards/s", "driver's CPU, ms per shard", "driver's MB"),
        *("open partitions at most", "entries of a folder at most", "open files at most"),
    )
    rows = [
        (
            name,
            _found(costs, "shards_per_second").show(0),
            Rounds.of(1000 * cost.cpu_seconds / growth.shards for cost in costs).show(2),
            Rounds.of(cost.peak_mb for cost in costs).show(0),
            *(f"{max(cost.found.get(f'most_{count}', 0) for cost in costs):,.0f}" for count in COUNTS_OF_A_RUN),
        )
        for name, costs in (("null work", growth.null), ("one frame each, committed", growth.run))
    ]
    return Table(head, rows)


def _head(action: str) -> tuple[str, ...]:
    return f"{action}, s", "CPU s", "MB"


def _cells(costs: Sequence[Cost]) -> Iterable[str]:
    yield Rounds.of(cost.seconds for cost in costs).show()
    yield Rounds.of(cost.cpu_seconds for cost in costs).show()
    yield Rounds.of(cost.peak_mb for cost in costs).show(0)


def _found(costs: Sequence[Cost], name: str) -> Rounds:
    return Rounds.of(cost.found[name] for cost in costs)


def _seconds(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s (CPU {cost.cpu_seconds:.1f} s)"


def _notes() -> list[str]:
    return [
        "Seconds are wall time, which grows with the load of the machine; CPU seconds beside them are those of all "
        "threads of the process.",
        "Plan: none of the videos, of full length, is committed. Resume: all are committed and compacted, with one "
        "frame each. Memory is the largest resident size of a process that has not started Ray.",
        "The command: from its start to its exit, including Python's start. With nothing to do it does not start Ray.",
        "Null work: workers answer at once and commit nothing. Partitions and open files are counted every few "
        "seconds.",
    ]
