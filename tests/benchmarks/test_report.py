from __future__ import annotations

import json

from benchmarks.machine import Machine, this_machine
from benchmarks.report import Findings, SuiteReport, to_json, to_markdown
from benchmarks.results import Bar, Rounds, judge
from benchmarks.table import Table

BARS = [Bar("÷ MediaPipe", "at least", 1.25), Bar("memory, MB", "at most", 450.0)]


def make_report(ratio: float = 1.5, *, peers: bool = True) -> SuiteReport:
    quantities = {"memory, MB": Rounds(400.0, 390.0, 410.0)}
    if peers:
        quantities["÷ MediaPipe"] = Rounds.of([ratio])
    table = Table(("", "frames/s"), [("**phoenix_ray**", "35.0"), ("MediaPipe", "28.0")])
    findings = Findings("267 frames", 3, [table], quantities, ["Processes are not pinned."], ["rates.png"], {"raw": 1})
    return SuiteReport(
        "peers", "2026-01-01", Machine("Imaginary CPU", 2, "Linux", 0.1), findings, judge(quantities, BARS)
    )


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    for block in to_markdown(make_report()).split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_the_report_names_the_machine_the_frames_and_what_limits_trust() -> None:
    text = to_markdown(make_report())
    for words in ("Imaginary CPU, 2 cores", "load 0.1", "267 frames", "3 rounds", "not pinned", "](rates.png)"):
        assert words in text


def test_a_missed_bar_is_marked_and_fails_the_report() -> None:
    slow = make_report(1.24)
    assert not slow.passed
    assert "| ÷ MediaPipe | at least 1.25 | 1.24 | **missed** |" in to_markdown(slow)
    assert make_report().passed
    assert "**missed**" not in to_markdown(make_report())


def test_without_peers_their_bars_are_not_measured_and_not_missed() -> None:
    alone = make_report(peers=False)
    assert alone.passed
    assert to_markdown(alone).count("not measured") == 1


def test_json_holds_what_was_measured_and_the_verdicts() -> None:
    tree = json.loads(to_json(make_report()))
    assert tree["findings"]["raw"] == {"raw": 1}
    assert [verdict["met"] for verdict in tree["verdicts"]] == [True, True]
    assert tree["passed"] is True


def test_this_machine_has_a_name_and_a_core() -> None:
    machine = this_machine()
    assert machine.processor
    assert machine.cores >= 1
