from __future__ import annotations

import json

from phoenix_ray.bench.machine import Machine, this_machine
from phoenix_ray.bench.report import Report, show, to_json, to_markdown
from phoenix_ray.bench.results import EngineTimes, Measurement, Round, Spread, judge, quantities


def make_report(ours_seconds: float = 5.0, *, peers: bool = True) -> Report:
    ours = Measurement(267, ours_seconds, 12.0, 380.4, {"versions": {"phoenix-ray": "0.1.0"}})
    static = Measurement(267, 8.5, 11.0, 420.0, {"versions": {"mediapipe": "0.10.21"}}) if peers else None
    stateless = Measurement(67, 4.5, 7.0, 430.0) if peers else None
    rounds = [Round(ours, EngineTimes(24.0, 3.0, 1.0, 1.5, 0.5), static, stateless)] * 2
    found = quantities(rounds, workers=2)
    machine = Machine("Imaginary CPU", 2, "Linux", 0.1)
    return Report("2026-01-01", machine, "267 frames", 2, {"model": {}}, rounds, found, judge(found))


def rows(report: Report) -> list[list[str]]:
    return [line.strip("|").split("|") for line in to_markdown(report).splitlines() if line.startswith("|")]


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = to_markdown(make_report()).split("\n\n")
    for table in tables:
        widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_the_report_names_the_machine_the_frames_and_both_sides_versions() -> None:
    text = to_markdown(make_report())
    for words in ("Imaginary CPU, 2 cores", "267 frames", "phoenix-ray 0.1.0", "mediapipe 0.10.21", "not pinned"):
        assert words in text


def test_shares_of_one_worker_add_up_to_the_whole_frame() -> None:
    cells = {row[0].strip(): row[1].strip() for row in rows(make_report())}
    assert (cells["networks"], cells["together"]) == ("24.00", "30.00")


def test_a_missed_bar_is_marked_and_fails_the_report() -> None:
    slow = make_report(ours_seconds=9.0)
    assert not slow.passed
    assert "**missed**" in to_markdown(slow)
    assert make_report().passed
    assert "**missed**" not in to_markdown(make_report())


def test_without_peers_their_bars_are_not_measured_and_not_missed() -> None:
    alone = make_report(peers=False)
    assert alone.passed
    assert to_markdown(alone).count("not measured") == 2
    assert "static image mode" not in to_markdown(alone)


def test_json_holds_every_round_and_the_verdicts() -> None:
    tree = json.loads(to_json(make_report()))
    assert len(tree["rounds"]) == 2
    assert tree["rounds"][0]["static"]["details"]["versions"] == {"mediapipe": "0.10.21"}
    assert [verdict["met"] for verdict in tree["verdicts"]] == [True, True, True]
    assert tree["passed"] is True


def test_a_spread_without_width_is_one_number() -> None:
    assert show(Spread(1.5, 1.5, 1.5), 2) == "1.50"
    assert show(Spread(1.5, 1.2, 1.7)) == "1.5 (1.2 to 1.7)"


def test_this_machine_has_a_name_and_a_core() -> None:
    machine = this_machine()
    assert machine.processor
    assert machine.cores >= 1
