"""`python -m phoenix_ray.bench.scale`: how plan, resume and driver grow with the number of videos, up to a million.

Writes `scale.md` and `scale.json` into the output folder. docs/scale.md says how to read them. Exit code 1 when a bar
is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from phoenix_ray.bench.machine import Machine, this_machine
from phoenix_ray.bench.scale_measure import (
    Cost,
    drive,
    drive_nothing,
    measure,
    plan_all,
    resume,
    settings_for,
    stage,
)
from phoenix_ray.config import Settings

SIZES = (1_000, 10_000, 100_000, 1_000_000)
EXIT_MISSED = 1

# The bars: of a million videos in seconds and MB, and of null work in shards a second.
MOST_PLAN_SECONDS = 60.0
MOST_RESUME_SECONDS = 60.0
MOST_MEMORY_MB = 1000.0
LEAST_SHARDS_PER_SECOND = 500.0
# Often enough for a short run to compact several times beside its workers.
COMPACTIONS_OF_A_RUN = 4


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """All measurements.

    Attributes:
        machine: Where.
        plan: Videos → planning them when none is committed.
        resume: Videos → finding out that all are committed and compacted.
        shards: Shards of the two runs.
        null: A run of workers that do nothing.
        run: A run of workers that commit one frame a shard.
    """

    machine: Machine
    plan: dict[int, Cost]
    resume: dict[int, Cost]
    shards: int
    null: Cost
    run: Cost

    @property
    def missed(self) -> list[str]:
        """Bars that are missed, each as a sentence."""
        checks = [
            *((f"plan of {videos:,}", cost.seconds, MOST_PLAN_SECONDS) for videos, cost in self.plan.items()),
            *((f"resume of {videos:,}", cost.seconds, MOST_RESUME_SECONDS) for videos, cost in self.resume.items()),
            *(
                (f"memory at {videos:,}", cost.peak_mb, MOST_MEMORY_MB)
                for costs in (self.plan, self.resume)
                for videos, cost in costs.items()
            ),
        ]
        missed = [f"{name}: {value:,.1f}, at most {limit:g}" for name, value, limit in checks if value > limit]
        rate = self.null.found["shards_per_second"]
        if rate < LEAST_SHARDS_PER_SECOND:
            missed.append(f"null work: {rate:,.0f} shards/s, at least {LEAST_SHARDS_PER_SECOND:g}")
        return missed

    def to_markdown(self) -> str:
        """Return the tables."""
        machine = self.machine
        lines = [
            f"{machine.processor}, {machine.cores} cores, load before {machine.load}",
            "",
            "| videos | plan | CPU | peak | resume | CPU | peak | sweep | committed | plan | totals | data files |",
            "|---" * 12 + "|",
        ]
        for videos, plan in self.plan.items():
            again = self.resume[videos]
            steps = " | ".join(f"{again.found[name]:.2f} s" for name in ("sweep", "committed", "plan", "totals"))
            lines.append(
                f"| {videos:,} | {_cost(plan)} | {_cost(again)} | {steps} | {again.found['data_files']:,.0f} |"
            )
        lines += [
            "",
            f"| {self.shards:,} shards | shards/s | driver's CPU a shard | driver's peak | open partitions at most "
            "| entries of a folder at most | open files at most |",
            "|---" * 7 + "|",
            *(self._row(name, cost) for name, cost in (("null work", self.null), ("one frame each", self.run))),
            "",
            *(f"missed: {sentence}" for sentence in self.missed),
        ]
        return "\n".join(lines) + "\n"

    def _row(self, name: str, cost: Cost) -> str:
        found = cost.found
        counts = (found.get(f"most_{key}", 0) for key in ("partitions", "largest_folder", "descriptors"))
        return (
            f"| {name} | {found['shards_per_second']:,.0f} | {cost.cpu_seconds / self.shards * 1000:.2f} ms "
            f"| {cost.peak_mb:,.0f} MB | {' | '.join(f'{count:,.0f}' for count in counts)} |"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--videos", type=click.IntRange(min=1), multiple=True, default=SIZES, show_default=True, help="Sizes.")
@click.option("--shards", type=click.IntRange(min=1), default=10_000, show_default=True, help="Shards of a run.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True, help="Folder."
)
def main(videos: Sequence[int], shards: int, output: Path) -> None:
    """Measure how plan, resume and driver grow with the number of videos."""
    output.mkdir(parents=True, exist_ok=True)
    report = measure_scale(videos, shards, output)
    text = report.to_markdown()
    (output / "scale.md").write_text(text, encoding="utf-8")
    (output / "scale.json").write_text(json.dumps(asdict(report), indent=2), encoding="utf-8")
    click.echo(f"\n{text}\nIn {output}: scale.md, scale.json")
    sys.exit(EXIT_MISSED if report.missed else 0)


def measure_scale(videos: Sequence[int], shards: int, output: Path) -> ScaleReport:
    """Measure datasets of each size, written into scratch folders of `output`, and two runs of `shards` shards."""
    machine = this_machine()
    plans: dict[int, Cost] = {}
    resumes: dict[int, Cost] = {}
    for size in videos:
        plans[size] = measure(plan_all, settings_for(size, output))
        resumes[size] = _in_scratch(output, size, _stage_and_resume)
        click.echo(f"{size:,} videos: plan {_cost(plans[size])}, resume {_cost(resumes[size])}")
    null = _in_scratch(output, shards, lambda settings: measure(drive_nothing, settings))
    run = _in_scratch(output, shards, _drive_compacting)
    return ScaleReport(machine, plans, resumes, shards, null, run)


def _stage_and_resume(settings: Settings) -> Cost:
    measure(stage, settings)
    return measure(resume, settings)


def _drive_compacting(settings: Settings) -> Cost:
    every = max(1, (settings.source.max_videos_per_split or 0) // COMPACTIONS_OF_A_RUN)
    compacting = settings.output.model_copy(update={"compact_every": every})
    return measure(drive, settings.model_copy(update={"output": compacting}))


def _in_scratch(output: Path, videos: int, run: Callable[[Settings], Cost]) -> Cost:
    with tempfile.TemporaryDirectory(prefix="scale-", dir=output) as scratch:
        return run(settings_for(videos, Path(scratch).absolute() / "dataset"))


def _cost(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s | {cost.cpu_seconds:.1f} s | {cost.peak_mb:,.0f} MB"


if __name__ == "__main__":
    main()
