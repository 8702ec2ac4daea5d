from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phoenix_ray.cluster.progress import Meter
from phoenix_ray.cluster.run_status import describe_runs, find_runs
from phoenix_ray.cluster.status import CommittedShard, ShardAtWork, Status
from phoenix_ray.commands import status
from phoenix_ray.commands.failures import print_failures
from phoenix_ray.commands.status import print_status, serve_status, take_snapshot
from phoenix_ray.dataset.array_lease import lease_name
from phoenix_ray.dataset.failures import FailureRecord, record_failure
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.viewer.library import Library
from tests.dataset.made_up import commit, commit_truncated, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish

Captured = pytest.CaptureFixture[str]


def record(
    storage: Storage, run_id: str, state: str, done: int = 0, age: float = 0.0, share: str = "", **values: Any
) -> None:
    """Write the status of a run of twenty frames."""
    shown = replace(
        Meter(run_id, 20, 0, share=share).status(0, 0, 1),
        state=state,
        frames_done=done,
        updated=time.time() - age,
        **values,
    )
    storage.write(f"runs/{run_id}/status.json", json.dumps(asdict(shown)).encode())


def hold(storage: Storage, run_id: str, pid: int | None = None, share: str = "") -> None:
    """Write the lease of a run in another process: that which started this one."""
    now = time.time()
    holder = LeaseHolder(run_id, socket.gethostname(), pid or os.getppid(), since=now, heartbeat=now, share=share)
    storage.write(lease_name(Share.parse(share)), json.dumps(asdict(holder)).encode())


def look(folder: Path, capsys: Captured, *, watch: bool = False) -> str:
    print_status(str(folder), watch=watch, as_json=False)
    return capsys.readouterr().out


def happening(monkeypatch: pytest.MonkeyPatch, *events: Callable[[], object]) -> list[int]:
    """Let each wait of a watch be over at once, with one event after the other; return how often it waited."""
    waits: list[int] = []

    def wait(seconds: float) -> None:
        if len(waits) < len(events):
            events[len(waits)]()
        waits.append(len(waits))

    monkeypatch.setattr("phoenix_ray.commands.status.time.sleep", wait)
    return waits


def test_frames_count_when_they_are_committed_and_not_only_when_they_are_merged(
    tmp_path: Path, capsys: Captured
) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    commit(storage, make_video("b"), 0, 4)
    assert "14 frames of 2 videos are committed (14 of them not merged into data files yet)" in look(tmp_path, capsys)
    compact_and_publish(storage)
    assert "14 frames of 2 videos are committed (4 of them not merged" in look(tmp_path, capsys)
    commit(storage, make_video("b"), 4, 10)
    compact_and_publish(storage)
    assert "20 frames of 2 videos are committed\n" in look(tmp_path, capsys)


def test_an_older_version_of_a_video_does_not_count_beside_the_newer(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a", frames=10), 0, 10)
    compact_and_publish(storage)
    commit(storage, make_video("a", frames=6, signature="2"), 0, 6)
    assert "6 frames of 1 video are committed (6 of them" in look(tmp_path, capsys)


def test_videos_that_could_be_read_in_part_are_reported_by_status_and_listed_by_failures(
    tmp_path: Path, capsys: Captured
) -> None:
    storage = new_dataset(tmp_path)
    commit_truncated(storage, make_video("cut", frames=58), 0, 58, range(9, 58))
    partly = "1 video partly unreadable: train/cut (49 of 58 frames)"
    assert f"{partly}; `phoenix-ray failures {tmp_path}` says more" in look(tmp_path, capsys)
    print_failures(str(tmp_path), traceback=False)
    said = capsys.readouterr().out
    assert "No failures." in said
    assert "train/cut  49 of 58 frames" in said


def test_failures_are_reported_of_a_run_that_never_began_the_dataset(tmp_path: Path, capsys: Captured) -> None:
    storage = LocalStorage(str(tmp_path))
    record(storage, "20260101-000000-0001", "incomplete")
    record_failure(storage, FailureRecord("all", "v", 0, 0, "input", "no such file", "", 1, "", "run", 0.0))
    print_failures(str(tmp_path), traceback=False)
    assert "no such file" in capsys.readouterr().out
    assert "nothing is committed yet" in look(tmp_path, capsys)


def test_a_run_that_died_is_not_taken_for_one_at_work(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001", "running", done=5, age=5000)
    hold(storage, "20260101-000000-0001", pid=2**22 - 1)
    assert "ended without a report while running, last seen 1 h 23 min ago; the same `phoenix-ray run` goes on" in look(
        tmp_path, capsys
    )


def test_an_incomplete_run_names_the_command_that_says_why(tmp_path: Path, capsys: Captured) -> None:
    new_dataset(tmp_path)
    record(LocalStorage(str(tmp_path)), "20260101-000000-0001", "incomplete", done=5, age=5)
    shown = look(tmp_path, capsys)
    assert f"`phoenix-ray failures {tmp_path}` says why, and the same `phoenix-ray run` tries again" in shown


def test_a_repair_is_not_taken_for_a_run(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001", "finished", done=20)
    hold(storage, "repair-20260101-000001")
    assert f"repair: at work on {socket.gethostname()} (process {os.getppid()})" in look(tmp_path, capsys)


def test_a_damaged_status_is_reported_with_the_way_out(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    storage.write("runs/20260101-000000-0001/status.json", b'{"state": "running"}')
    with pytest.raises(OutputError, match=r"status\.json is damaged.*Delete it"):
        print_status(str(tmp_path), watch=False, as_json=False)


@pytest.mark.parametrize("share", ["x", "4/4", "1/"])
def test_a_share_that_makes_no_sense_is_damage(tmp_path: Path, share: str) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001", "finished", share=share)
    with pytest.raises(OutputError, match=r"status\.json is damaged: share: .*Delete it"):
        print_status(str(tmp_path), watch=False, as_json=False)


def test_a_watch_waits_for_a_resume_that_is_starting_and_ends_with_it(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    record(storage, "20260101-000000-0001", "stopped", done=10)
    second, said = "20260101-000001-0002", []

    def listen(event: Callable[[], object]) -> Callable[[], None]:
        def act() -> None:
            said.append(capsys.readouterr().out)
            event()

        return act

    def finish() -> None:
        commit(storage, make_video("b"), 0, 10)
        record(storage, second, "finished", done=20)
        storage.delete("lease.json")

    waits = happening(
        monkeypatch,
        listen(lambda: hold(storage, second)),
        listen(lambda: record(storage, second, "running")),
        listen(finish),
    )
    look(tmp_path, capsys, watch=True)
    assert len(waits) == 3
    assert "No run is at work here; waiting" in said[0]
    assert f"run {second}: starting on" in said[1]
    assert f"run {second}: running" in said[2]


def test_a_watch_leaves_when_no_run_comes(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001", "stopped")
    monkeypatch.setattr(status, "START_SECONDS", 0.0)
    waits = happening(monkeypatch)
    assert "stopped" in look(tmp_path, capsys, watch=True)
    assert not waits


def test_a_watch_of_a_finished_dataset_leaves_at_once(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001", "finished", done=20)
    waits = happening(monkeypatch)
    assert "finished" in look(tmp_path, capsys, watch=True)
    assert not waits


def test_a_watch_waits_for_a_run_that_has_not_made_its_output_yet(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "20260101-000000-0001"
    storage = LocalStorage(str(tmp_path / "output"))

    def fail() -> None:
        record(storage, run, "failed")
        storage.delete("lease.json")

    waits = happening(monkeypatch, lambda: hold(storage, run), fail)
    assert "failed" in look(tmp_path / "output", capsys, watch=True)
    assert len(waits) == 2


def test_a_watch_of_what_never_becomes_a_dataset_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "START_SECONDS", 0.0)
    with pytest.raises(OutputError, match="not a dataset of phoenix_ray"):
        print_status(str(tmp_path), watch=True, as_json=False)


def test_json_is_the_status_of_the_latest_run(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    print_status(str(tmp_path), watch=False, as_json=True)
    assert json.loads(capsys.readouterr().out) == {}
    record(storage, "20260101-000000-0001", "stopped")
    record(storage, "20260101-000001-0002", "running", done=3)
    print_status(str(tmp_path), watch=False, as_json=True)
    assert Status(**json.loads(capsys.readouterr().out)).frames_done == 3


def test_the_shares_of_an_array_are_shown_one_by_one_and_as_a_sum(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001-0-of-4", "finished", done=20, share="0/4", frames_per_second=9.0)
    for index, left in ((1, 30.0), (2, 90.0)):
        run_id = f"20260101-000000-0001-{index}-of-4"
        record(storage, run_id, "running", 5, share=f"{index}/4", frames_per_second=2.0, seconds_left=left)
        hold(storage, run_id, share=f"{index}/4")
    shown = look(tmp_path, capsys).splitlines()
    assert shown[1:3] == [
        "array of 4 shares: 1 finished, 2 running, 1 not begun and not counted here",
        " 50.0%  30/60 frames, 4.0 frames/s, 1 min 30 s left, 2 workers",
    ]
    assert shown[3].startswith("share 1/4: run 20260101-000000-0001-1-of-4: running; 25.0%  5/20 frames")
    assert len(shown) == 5
    hold(storage, "20260101-000009-0001-3-of-4", share="3/4")
    assert "share 3/4: run 20260101-000009-0001-3-of-4: starting on" in look(tmp_path, capsys)
    print_status(str(tmp_path), watch=False, as_json=True)
    tree = json.loads(capsys.readouterr().out)
    assert (tree["state"], tree["frames_done"], tree["frames_planned"], tree["workers"]) == ("running", 30, 60, 2)
    assert [share["share"] for share in tree["shares"]] == ["0/4", "1/4", "2/4"]


def test_an_element_that_died_is_shown_with_the_way_out(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001-0-of-2", "finished", done=20, share="0/2")
    record(storage, "20260101-000000-0002-1-of-2", "running", done=5, share="1/2", age=5000)
    hold(storage, "20260101-000000-0002-1-of-2", pid=2**22 - 1, share="1/2")
    shown = look(tmp_path, capsys)
    assert "1 finished, 1 died" in shown
    assert "share 1/2: run 20260101-000000-0002-1-of-2: ended without a report while running, last seen 1 h" in shown
    assert shown.endswith("the same array goes on from there\n")


def test_an_array_is_finished_when_all_of_its_shares_are(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001-0-of-2", "finished", done=20, share="0/2")
    assert "the same array goes on" in look(tmp_path, capsys)
    # A share is tried twice: the second time counts.
    record(storage, "20260101-000000-0002-1-of-2", "incomplete", done=15, share="1/2")
    record(storage, "20260101-000001-0002-1-of-2", "finished", done=5, share="1/2")
    shown = look(tmp_path, capsys)
    assert "array of 2 shares: 2 finished\n" in shown
    assert "the same array" not in shown
    assert take_snapshot(storage).state == "finished"


def test_a_run_over_all_videos_and_an_array_of_another_number_replace_an_array(
    tmp_path: Path, capsys: Captured
) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001-0-of-2", "failed", share="0/2")
    record(storage, "20260101-000001-0001", "stopped", done=3)
    assert "run 20260101-000001-0001: stopped" in look(tmp_path, capsys)
    record(storage, "20260101-000002-0001-0-of-3", "finished", done=7, share="0/3")
    shown = look(tmp_path, capsys)
    assert "array of 3 shares: 1 finished, 2 not begun" in shown
    hold(storage, "20260101-000003-0001")
    assert "array" not in look(tmp_path, capsys)


def test_the_driver_that_merges_an_array_is_one_of_its_elements(tmp_path: Path, capsys: Captured) -> None:
    storage = new_dataset(tmp_path)
    record(storage, "20260101-000000-0001-0-of-1", "running", done=20, share="0/1")
    hold(storage, "20260101-000000-0001-0-of-1", share="0/1")
    storage.write("lease.json", storage.read("leases/0-of-1.json"))
    assert "array of 1 share: 1 running" in look(tmp_path, capsys)


def test_a_watch_of_an_array_ends_with_its_last_element(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = new_dataset(tmp_path)
    runs = [f"20260101-000000-0001-{index}-of-2" for index in range(2)]
    for index, run_id in enumerate(runs):
        record(storage, run_id, "running", share=f"{index}/2")
        hold(storage, run_id, share=f"{index}/2")

    def finish(index: int) -> None:
        record(storage, runs[index], "finished", done=20, share=f"{index}/2")
        storage.delete(f"leases/{index}-of-2.json")

    waits = happening(monkeypatch, lambda: finish(1), lambda: finish(0))
    assert look(tmp_path, capsys, watch=True).rstrip().endswith("100.0%  40/40 frames")
    assert len(waits) == 2


def test_the_page_of_a_run_has_what_its_status_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "20260101-000000-0001"
    seen: list[tuple[Any, int]] = []

    def visit(library: Library, host: str, port: int, announce: object, run_status: Any, page: str) -> None:
        # The page may be opened before the run has made its output.
        seen.append((run_status(), len(library.datasets)))
        storage = new_dataset(tmp_path)
        record(storage, run, "running", done=5, at_work=(ShardAtWork("node", 7, "dev", "手", 0, 4, 1.0),))
        hold(storage, run)
        seen.append((run_status(), len(library.datasets)))
        record(storage, run, "incomplete", done=15)
        storage.delete("lease.json")
        seen.append((json.loads(json.dumps(run_status())), len(library.datasets)))

    monkeypatch.setattr("phoenix_ray.viewer.server.serve", visit)
    serve_status(str(tmp_path), "127.0.0.1", 0, shows_frames=False, opens_browser=False)
    (before, no_dataset), (during, one), (after, _) = seen
    assert (before["state"], before["whole"], before["has_dataset"], no_dataset) == ("no run yet", None, False, 0)
    assert (during["state"], during["is_over"], during["has_dataset"], one) == ("running", False, True, 1)
    assert during["whole"]["at_work"][0]["video_id"] == "手"
    assert during["remarks"] == []
    assert (after["state"], after["is_over"], after["whole"]["frames_done"]) == ("incomplete", True, 15)
    assert "phoenix-ray failures" in after["remarks"][0]


def test_the_page_shows_an_array_as_a_whole_and_by_share(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for index, node in enumerate(("a", "b")):
        run_id, share = f"20260101-000000-0001-{index}-of-2", f"{index}/2"
        latest = tuple(CommittedShard("dev", f"{node}{number}", 0, 4) for number in range(2))
        at_work = (ShardAtWork(node, 7, "dev", "v", 0, 4, 1.0),)
        record(storage, run_id, "running", done=5, share=share, at_work=at_work, latest=latest)
        hold(storage, run_id, share=share)
    described = describe_runs(find_runs(storage), time.time())
    assert [run["share"] for run in described["runs"]] == ["0/2", "1/2"]
    assert [shard["node"] for shard in described["whole"]["at_work"]] == ["a", "b"]
    assert [shard["video_id"] for shard in described["whole"]["latest"]] == ["a0", "b0", "a1", "b1"]


def test_the_page_is_no_watch(tmp_path: Path) -> None:
    done = CliRunner().invoke(status.status, [str(tmp_path), "--web", "--watch"])
    assert done.exit_code == 2
    assert "leave out --watch" in done.output
