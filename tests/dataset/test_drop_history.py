"""The history of drops: what it bans, what it lifts, and that it names nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.drop_history import DropHistory, append_record, read_drops
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from tests.dataset.test_object_storage import make_storage

TEXTS = st.text(max_size=6) | st.text("/.é~", min_size=1, max_size=300)


@given(split=TEXTS, video_id=TEXTS, other=TEXTS)
def test_a_video_is_banned_by_name_and_by_the_path_of_its_files(split: str, video_id: str, other: str) -> None:
    storage = make_storage()
    append_record(storage, "drop", {(split, video_id): ""}, [])
    history = read_drops(storage)
    for found in ((split, video_id), (split, other), (other, video_id)):
        banned = found == (split, video_id)
        assert history.bans(*found, {}) == banned
        for name in (paths.partition_path(*found, 0, 9), paths.failure_path(*found, 0, 0)):
            assert history.bans_file(name) == history.bans_file(f"{paths.QUARANTINE}/20260101/{name}") == banned
    assert len(history.find_banned(video_id)) >= 1
    assert [video.video for video in history.find_banned(f"{split}/{video_id}")].count(
        history.hash_video(split, video_id)
    )


@given(st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("xy"))), max_size=6))
def test_the_last_word_on_a_video_counts(records: list[tuple[bool, set[str], set[str]]]) -> None:
    """A video that was dropped by name stays out when a signer is allowed; a model of sets says the same."""
    signed = {"a": "x", "b": "y", "c": ""}
    storage = make_storage()
    named: set[str] = set()
    signers: set[str] = set()
    for drops, videos, of in records:
        if drops:
            chosen = {("train", video): "" for video in videos}
            chosen |= {("train", video): signer for video, signer in signed.items() if signer in of - {""}} | chosen
            append_record(storage, "drop", chosen, of)
            named |= videos
            signers |= of
        else:
            history = read_drops(storage)
            lifted = [video for name in sorted(videos) for video in history.find_banned(name) if not video.signer]
            append_record(storage, "allow", lifted, of)
            named -= videos
            signers -= of
    history = read_drops(storage)
    for video, signer in signed.items():
        assert history.bans("train", video, {"signer": signer}) == (video in named or signer in signers)
    assert history.newest == len(records)


def test_two_datasets_hash_the_same_name_differently() -> None:
    histories = []
    for _ in range(2):
        storage = make_storage()
        append_record(storage, "drop", {("train", "Anna"): ""}, ["Anna"])
        assert all(b"Anna" not in storage.read(file.name) for file in storage.list(""))
        histories.append(read_drops(storage))
    assert histories[0].hash_signer("Anna") != histories[1].hash_signer("Anna")
    assert histories[0].hash_video("train", "Anna") != histories[1].hash_video("train", "Anna")


def test_a_dataset_without_drops_bans_nothing() -> None:
    history = read_drops(make_storage())
    assert not history
    assert not history.bans("train", "a", {"signer": "b"})
    assert not history.bans_file(paths.partition_path("train", "a", 0, 1))
    assert DropHistory().find_banned("train/a") == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"number": 2}', b"[1]"])
def test_a_damaged_record_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write(f"{paths.DROPPED}/000000000003.json", content)
    with pytest.raises(OutputError, match=r"dropped/000000000003\.json is damaged .*Restore it from a copy"):
        read_drops(storage)


def test_records_of_another_dataset_are_refused(tmp_path: Path) -> None:
    own, other = LocalStorage(str(tmp_path / "own")), LocalStorage(str(tmp_path / "other"))
    append_record(own, "drop", {("train", "a"): ""}, [])
    for number in (1, 2):
        append_record(other, "drop", {("train", str(number)): ""}, [])
    own.write(f"{paths.DROPPED}/000000000002.json", other.read(f"{paths.DROPPED}/000000000002.json"))
    with pytest.raises(OutputError, match="several datasets"):
        read_drops(own)
