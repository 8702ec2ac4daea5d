"""What `phoenix-ray drop` asks, refuses and says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.cluster.run_status import find_runs
from phoenix_ray.cluster.status import CommittedShard, Status
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.drop import drop_videos
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from tests.dataset import dropped_videos
from tests.dataset.dropped_videos import (
    COMMAND,
    LONG,
    NAMED,
    OF_SIGNER,
    OTHERS,
    SIGNER,
    SOURCE,
    TRACES,
    assert_gone,
    keys_of,
    numbers_of_dropped,
    record_only,
    run_again,
    same_command,
    traces_in,
)
from tests.dataset.made_up import IDENTITY

_no_power_cut = dropped_videos.no_power_cut
filled, folder = dropped_videos.filled, dropped_videos.folder


def test_a_second_drop_of_the_same_videos_adds_no_record(folder: Path) -> None:
    same_command(folder)
    assert "no rows: what is named is dropped already" in same_command(folder).output
    assert read_drops(LocalStorage(str(folder))).newest == 1


def test_a_drop_is_refused_while_a_run_is_at_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(folder))
    Lease.acquire(storage, "20260101-000000-abcd", name=f"{paths.LEASES}/0-of-4.json", share="0/4")
    monkeypatch.setattr("phoenix_ray.dataset.array_lease.is_alive", lambda holder, now: True)
    before = {file.name for file in storage.list("")}
    result = CliRunner().invoke(cli, ["drop", str(folder), *COMMAND])
    assert result.exit_code == 6
    assert "is being written by the run 20260101-000000-abcd" in result.output
    assert "Nothing was changed." in result.output
    assert {file.name for file in storage.list("")} == before


@pytest.mark.parametrize(
    "words", [["--video", "Zanzibar/öffentlic"], ["--signer", "Quaga"], ["--video", "a", "--video", "no"]]
)
def test_an_unknown_name_drops_nothing(folder: Path, words: list[str]) -> None:
    result = CliRunner().invoke(cli, ["drop", str(folder), *words, "--yes"])
    assert result.exit_code == 2
    assert "Did you mean" in result.output or "It has" in result.output
    assert not read_drops(LocalStorage(str(folder)))


def test_without_a_terminal_it_wants_to_be_asked_for(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["drop", str(folder), "--video", "a"])
    assert (result.exit_code, "Give --yes" in result.output) == (2, True)
    looked = CliRunner().invoke(cli, ["drop", str(folder), "--signer", SIGNER, "--dry-run"])
    assert looked.exit_code == 0
    assert "dev: 1 video, 5 rows" in looked.output
    assert not read_drops(LocalStorage(str(folder)))


def test_names_come_from_a_file_too(folder: Path) -> None:
    names = folder.parent / "names"
    names.write_text(f"{NAMED[1]}\n\n  {'/'.join(LONG)}\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["drop", str(folder), "--from", str(names), "--yes"])
    assert result.exit_code == 0
    assert "Dropped 2 videos" in result.output


def test_the_history_names_nobody(folder: Path) -> None:
    same_command(folder)
    listed = CliRunner().invoke(cli, ["drop", str(folder), "--list"]).output
    assert "drop  4 videos and 1 signer with 23 rows: consent" in listed
    (record,) = folder.glob(f"{paths.DROPPED}/*")
    assert not any(trace in record.read_text() for trace in TRACES)


def test_allowed_videos_are_computed_anew_and_the_old_rows_stay_away(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    same_command(folder)
    refused = CliRunner().invoke(cli, ["drop", str(folder), "--allow", "--video", OF_SIGNER[0][1]])
    assert (refused.exit_code, "--allow --signer" in refused.output) == (2, True)
    for words in (["--video", NAMED[1]], ["--signer", SIGNER]):
        result = CliRunner().invoke(cli, ["drop", str(folder), "--allow", *words])
        assert result.exit_code == 0, result.output
    assert keys_of(OTHERS) == set(Dataset(storage, IDENTITY).keys())
    run_again(folder)
    assert set(Dataset(storage, IDENTITY).keys()) == keys_of(SOURCE) - {LONG}
    # Dropped once more, after its rows are there again.
    drop_videos(storage, IDENTITY, [NAMED], [])
    assert set(Dataset(storage, IDENTITY).keys()) == keys_of(SOURCE) - {LONG, NAMED}
    assert "Zanzibar" not in "".join(traces_in(storage))


def test_a_check_reports_a_drop_that_is_not_completed_and_repairs_it(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    record_only(folder)
    assert "their bytes are not all removed" in CliRunner().invoke(cli, ["check", str(folder), "--workers", "1"]).output
    result = CliRunner().invoke(cli, ["check", str(folder), "--workers", "1", "--repair"])
    assert result.exit_code == 3, result.output
    assert_gone(storage, numbers)


def test_the_status_of_an_earlier_run_names_no_dropped_video(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    shards = [CommittedShard(*NAMED, 0, 7), CommittedShard("train", "a", 0, 9)]
    status = Status("20990101-000000-abcd", "finished", 1, 1, 0, 0, 0, 0, 1, 1.0, None, 1.0, 1.0, latest=tuple(shards))
    storage.write(f"{paths.RUNS}/{status.run_id}/status.json", json.dumps(asdict(status)).encode())
    record_only(folder)
    (run,) = find_runs(storage)
    assert run.latest is not None
    assert [shard.video_id for shard in run.latest.latest] == ["a"]
