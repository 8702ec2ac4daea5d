"""Runs suites one after another and writes a report of each, for `python -m benchmarks`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from benchmarks.machine import this_machine
from benchmarks.report import SuiteReport, to_json, to_markdown
from benchmarks.results import judge, read_bars
from benchmarks.suites import SUITES, Request, Suite
from phoenix_ray.errors import ConfigError, PhoenixRayError, did_you_mean


def run_suites(names: Sequence[str], request: Request) -> bool:
    """Run the named suites and return whether every bar that was measured is met.

    If none is named, all suites run that can run on this machine; the others are announced with the reason.

    Raises:
        ConfigError: There is no such suite.
        PhoenixRayError: A named suite cannot run on this machine, or a measurement failed. The reports of the suites
            before it have been written.
    """
    suites = choose_suites(names)
    if names:
        for suite in suites:
            suite.check_machine()
    else:
        suites = [suite for suite in suites if _can_run(suite, request)]
    request.output.mkdir(parents=True, exist_ok=True)
    passed = [_run(suite, request) for suite in suites]
    return all(passed)


def choose_suites(names: Sequence[str]) -> list[Suite]:
    """Return suites by name, or all suites if none is named.

    Raises:
        ConfigError: There is no such suite.
    """
    known = {suite.name: suite for suite in SUITES}
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no suite {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}.")
    return [known[name] for name in names or known]


def _can_run(suite: Suite, request: Request) -> bool:
    try:
        suite.check_machine()
    except PhoenixRayError as reason:
        request.announce(f"{suite.name} is left out: {reason}")
        return False
    return True


def _run(suite: Suite, request: Request) -> bool:
    machine = this_machine()
    began = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    request.announce(f"{suite.name}: {machine.processor}, {machine.cores} cores, load {machine.load}")
    findings = suite.run(request)
    verdicts = judge(findings.quantities, read_bars(suite.name))
    report = SuiteReport(suite.name, began, machine, findings, verdicts)
    text = to_markdown(report)
    for suffix, content in (("md", text), ("json", to_json(report))):
        (request.output / f"{suite.name}.{suffix}").write_text(content, encoding="utf-8")
    request.announce(f"\n{text}")
    return report.passed
