"""Runs suites one after the other and writes a report of each; `phoenix-ray bench` calls it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix_ray.bench.frames import BenchmarkFrames, choose_source, list_frames
from phoenix_ray.bench.machine import this_machine
from phoenix_ray.bench.report import Report, to_json, to_markdown
from phoenix_ray.bench.results import judge, read_bars
from phoenix_ray.bench.suites import SUITES, Request, Suite
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.models import registry


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller chose; see `suites.Request`. A source of None is the sample videos."""

    source: Path | None
    rounds: int
    passes: int
    workers: int
    peers: bool
    output: Path
    environments: Path


def run_suites(names: Sequence[str], options: Options, tell: Callable[[str], None]) -> bool:
    """Run the named suites, all when none is named, and return whether no bar that was measured is missed.

    Raises:
        ConfigError: A suite is not known.
        PhoenixRayError: Something cannot be measured; reports of the suites before it are written.
    """
    chosen = choose_suites(names)
    registry.prepare(ModelSettings(engine="litert"), tell)
    frames = list_frames(choose_source(options.source))
    options.output.mkdir(parents=True, exist_ok=True)
    passed = [_run(suite, frames, options, tell) for suite in chosen]
    return all(passed)


def choose_suites(names: Sequence[str]) -> list[Suite]:
    """Return suites by name, all when none is named.

    Raises:
        ConfigError: There is no such suite.
    """
    known = {suite.name: suite for suite in SUITES}
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no suite {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}.")
    return [known[name] for name in names or known]


def _run(suite: Suite, frames: BenchmarkFrames, options: Options, tell: Callable[[str], None]) -> bool:
    machine = this_machine()
    began = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    tell(f"{suite.name}: {frames}; {machine.processor}, {machine.cores} cores, load {machine.load}")
    request = Request(
        frames,
        options.rounds,
        options.passes,
        options.workers,
        options.peers,
        options.output,
        options.environments,
        lambda line: tell(f"  {line}"),
    )
    findings = suite.run(request)
    verdicts = judge(findings.quantities, read_bars(suite.name))
    report = Report(suite.name, began, machine, findings, verdicts)
    text = to_markdown(report)
    for suffix, content in (("md", text), ("json", to_json(report))):
        (options.output / f"{suite.name}.{suffix}").write_text(content, encoding="utf-8")
    tell(f"\n{text}")
    return report.passed
