from __future__ import annotations

import io
import json
from dataclasses import asdict

import pytest

from phoenix_ray.cluster.progress import JsonDisplay, LineDisplay, Meter
from phoenix_ray.cluster.screen import Screen, ScreenKind
from phoenix_ray.cluster.status import format_seconds, read_status


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_follow_the_last_minute() -> None:
    clock = Clock()
    meter = Meter("r", 1_000, 0, clock)
    for _ in range(10):
        clock.now += 30.0
        meter.add(30)
    for _ in range(4):
        clock.now += 30.0
        meter.add(60)
    status = meter.status(0, 0, 2)
    assert status.frames_done == 540
    assert status.frames_per_second == pytest.approx(2.0)
    assert status.seconds_left == pytest.approx(230.0)


def test_there_is_no_estimate_before_the_first_frames() -> None:
    clock = Clock()
    meter = Meter("r", 100, 0, clock)
    clock.now = 5.0
    assert meter.status(1, 1, 0).seconds_left is None


def test_a_log_gets_one_line_per_interval() -> None:
    clock, stream = Clock(), io.StringIO()
    display, meter = LineDisplay(10.0, stream, clock), Meter("r", 100, 0, clock)
    for _ in range(41):
        display.show(meter.status(0, 0, 1))
        clock.now += 0.5
    assert len(stream.getvalue().splitlines()) == 2


def test_a_line_says_share_rate_time_left_workers_and_failures() -> None:
    clock = Clock()
    meter = Meter("r", 200, 0, clock)
    clock.now = 10.0
    meter.add(100)
    meter.failures = 3
    assert meter.status(0, 0, 2).line() == " 50.0%  100/200 frames, 10.0 frames/s, 10 s left, 2 workers, 3 failed"


def test_a_run_without_a_node_says_what_it_waits_for() -> None:
    meter = Meter("r", 200, 0, Clock())
    status = meter.status(2, 0, 0, 4, waits_for_nodes=True)
    assert status.state == "waiting"
    assert status.line() == "  0.0%  0/200 frames, waiting for nodes: 0 of 4 workers"
    meter.state = "draining"
    assert meter.status(2, 0, 0, 4, waits_for_nodes=True).state == "draining"


def test_a_status_of_an_earlier_version_is_read() -> None:
    fields = asdict(Meter("r", 200, 0, Clock()).status(2, 0, 1))
    del fields["workers_wanted"]
    assert read_status(json.dumps(fields).encode()).workers_wanted == 0


def test_a_json_log_gets_objects_with_time_level_run_and_event() -> None:
    clock, stream = Clock(), io.StringIO()
    display, meter = JsonDisplay(10.0, stream, "r", clock), Meter("r", 100, 0, clock)
    for _ in range(41):
        display.show(meter.status(3, 2, 1))
        clock.now += 0.5
    display.say("a video\n\u202e from https://me:secret@host/x", "warning", "worker_lost")
    display.close(meter.status(0, 0, 1))
    assert stream.getvalue().isascii()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["progress", "progress", "worker_lost", "progress"]
    assert all(list(line)[:4] == ["time", "level", "run", "event"] for line in lines)
    assert {line["run"] for line in lines} == {"r"}
    assert lines[0]["shards_waiting"] == 3
    assert lines[2]["message"] == "a video\n\u202e from https://***@host/x"
    assert lines[2]["level"] == "warning"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_before_the_run_keeps_the_format(log_format: ScreenKind, capsys: pytest.CaptureFixture[str]) -> None:
    Screen(log_format, "r").say("hello")
    said = capsys.readouterr().err
    assert (said == "hello\n") if log_format == "text" else (json.loads(said)["message"] == "hello")


def test_the_status_is_plain_json() -> None:
    document = asdict(Meter("r", 10, 5).status(1, 2, 3))
    assert json.loads(json.dumps(document))["frames_committed_before"] == 5


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
