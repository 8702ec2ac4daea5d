"""Datasets and names as an attacker would make them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.failures import FailureRecord, read_failures, record_failure
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.lease import Lease, read_holder
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.sealing import seal_json
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_crashes import compact_all, work


@pytest.mark.parametrize(
    "name", ["dataset.json", "../x", "data/../dataset.json", "/etc/passwd", "data", "data//x", "data/./x", "data/a\0b"]
)
def test_a_manifest_that_names_other_files_is_damaged(tmp_path: Path, name: str) -> None:
    storage = LocalStorage(str(tmp_path / "dataset"))
    work(storage, [make_video("a")])
    tree = json.loads(storage.read(paths.manifest_path(1)))
    tree.pop("seal")
    tree["files"][0]["name"] = name
    storage.write(paths.manifest_path(1), seal_json(tree))
    with pytest.raises(OutputError, match="is not the name of a data file"):
        read_manifest(storage, IDENTITY)


def test_ids_that_share_their_letters_are_told_apart(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("b\0c", split="a"), 0, 10)
    compact_all(storage)
    committed = committed_in(take_survey(storage, IDENTITY))
    assert committed.missing_ranges(make_video("b\0c", split="a")) == []
    assert committed.missing_ranges(make_video("c", split="a\0b")) == [(0, 10)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"run_id": "x"}',
        b'{"run_id":"x","host":"h","pid":1e999,"since":1,"heartbeat":"now"}',
    ],
)
def test_a_lease_that_makes_no_sense_keeps_nobody_off(tmp_path: Path, content: bytes) -> None:
    storage = new_dataset(tmp_path)
    storage.write(paths.LEASE, content)
    assert read_holder(storage) is None
    Lease.acquire(storage, "run").release()


def test_secrets_do_not_reach_the_dataset(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(
        storage, DatasetIdentity(layout="made-up", source_root="/data/https:/anna:geheim@host/x?token=geheim")
    )
    words = "cannot open https://anna:geheim@host/x?sig=geheim"
    record_failure(storage, FailureRecord("train", "a", 0, 1, "input", words, "node", 1, words, "run", 1.5))
    assert all(b"geheim" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert read_failures(storage)[0].message == "cannot open https://***@host/x?sig=***"


def test_failures_of_hostile_names_are_listed_as_they_are(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    failure = FailureRecord("[red]", "[/]\x1b[2J\nNo failures.", 0, 1, "input", "a\x1b]0;b", "node", 1, "", "run", 1.5)
    record_failure(storage, failure)
    result = CliRunner().invoke(cli, ["failures", str(tmp_path)])
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "[red]/[/]\\x1b[2J\\nNo failures." in result.output.replace("\n", "").replace("  ", " ")
