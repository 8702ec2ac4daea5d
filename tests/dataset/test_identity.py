from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.identity import (
    DatasetIdentity,
    agree_on_identity,
    as_recorded,
    claim_dataset,
    define_layout,
    find_layout,
    listing_settings,
    read_identity,
)
from phoenix_ray.dataset.parquet import SCHEMA_VERSION
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import FingerprintMismatchError, OutputError
from phoenix_ray.layouts import COCO_17, Layout, Part
from tests.dataset.made_up import IDENTITY, LAYOUT


def test_what_the_first_run_records_is_read_back(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    assert claim_dataset(storage, IDENTITY) == IDENTITY
    assert read_identity(storage) == IDENTITY
    assert claim_dataset(storage, IDENTITY) == IDENTITY


def test_what_is_not_recorded_is_shown_as_the_default_that_it_means(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    now = replace(IDENTITY, model={**IDENTITY.model, "mode": "tracking", "complexity": "2"})
    with pytest.raises(FingerprintMismatchError, match=r"model\.complexity: 1 → 2\n  model\.mode: static → tracking"):
        claim_dataset(storage, now)


def test_a_changed_setting_is_refused_field_by_field(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    now = replace(IDENTITY, model={"name": "made-up", "engine": "other", "kernel": "9"}, limit_frames=5)
    with pytest.raises(FingerprintMismatchError) as caught:
        claim_dataset(storage, now)
    message = str(caught.value)
    assert "model.engine: none → other" in message
    assert "model.kernel: none → 9" in message
    assert "source.limit_frames: none → 5" in message
    assert "layout" not in message
    assert "another output.path" in message
    assert str(tmp_path) in message
    assert read_identity(storage) == IDENTITY


def test_a_difference_is_named_as_the_setting_is() -> None:
    was, now = replace(IDENTITY, model={"model": "synthetic"}), replace(IDENTITY, model={"model": "holistic"})
    assert was.differences(now) == ["model.name: synthetic → holistic"]


def test_agreeing_writes_nothing(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "output"))
    assert agree_on_identity(storage, IDENTITY) == IDENTITY
    assert not (tmp_path / "output").exists()
    claim_dataset(storage, IDENTITY)
    assert agree_on_identity(storage, replace(IDENTITY, source_root="/elsewhere")) == IDENTITY
    with pytest.raises(FingerprintMismatchError):
        agree_on_identity(storage, replace(IDENTITY, limit_frames=5))


def test_a_dataset_without_rows_is_refused_with_the_way_to_begin_it_anew(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    other = replace(IDENTITY, limit_frames=5)
    storage.write("partitions/split=train/00/v/.tmp-1", b"unfinished")
    with pytest.raises(FingerprintMismatchError, match=rf"delete {tmp_path}/dataset\.json"):
        claim_dataset(storage, other)
    storage.write("partitions/split=train/00/v/00000000-00000003.parquet", b"")
    with pytest.raises(FingerprintMismatchError) as caught:
        claim_dataset(storage, other)
    assert "delete" not in str(caught.value)
    assert read_identity(storage) == IDENTITY


@pytest.mark.parametrize(("engine", "said"), [("litert", True), ("torch", False)])
def test_rows_of_another_version_are_not_blamed_on_settings(tmp_path: Path, engine: str, said: bool) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, replace(IDENTITY, model={"model": "m", "engine": "litert", "pipeline_version": "1"}))
    storage.write("partitions/split=train/00/v/00000000-00000003.parquet", b"")
    now = replace(IDENTITY, model={"model": "m", "engine": engine, "pipeline_version": "2", "architecture": "x86_64"})
    with pytest.raises(FingerprintMismatchError) as caught:
        agree_on_identity(storage, now)
    message = str(caught.value)
    assert "model.pipeline_version: 1 → 2" in message
    assert ("another version of phoenix_ray" in message) is said
    assert ("Restore the settings" in message) is not said


def test_data_that_is_mounted_elsewhere_is_the_same_dataset(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    moved = replace(IDENTITY, source_root="/elsewhere")
    assert moved.fingerprint == IDENTITY.fingerprint
    assert claim_dataset(storage, moved).source_root == "/data"


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, limit_frames=1),
        replace(IDENTITY, layout="other"),
        replace(IDENTITY, signature="names"),
        replace(IDENTITY, model={}),
    ],
)
def test_the_fingerprint_covers_every_compared_field(other: DatasetIdentity) -> None:
    assert other.fingerprint != IDENTITY.fingerprint


def test_two_drivers_that_start_at_once_agree_on_one_identity(tmp_path: Path) -> None:
    start = Barrier(6)

    def begin(limit: int) -> DatasetIdentity | None:
        start.wait()
        try:
            return claim_dataset(LocalStorage(str(tmp_path)), replace(IDENTITY, limit_frames=limit % 2 + 1))
        except FingerprintMismatchError:
            return None

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(begin, range(6)))
    recorded = read_identity(LocalStorage(str(tmp_path)))
    assert [outcome for outcome in outcomes if outcome] == [recorded] * 3


def test_a_folder_without_identity_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"not a dataset of phoenix_ray: it has no dataset\.json"):
        read_identity(LocalStorage(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"schema_version": "x"}'])
def test_a_damaged_identity_is_told_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"damaged.*Delete it"):
        claim_dataset(LocalStorage(str(tmp_path)), IDENTITY)


def test_an_edited_identity_is_damaged(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    tree = json.loads(storage.read("dataset.json"))
    storage.write("dataset.json", json.dumps({**tree, "limit_frames": 3}).encode())
    with pytest.raises(OutputError, match="fingerprint"):
        read_identity(storage)


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("dataset.json", json.dumps({"schema_version": SCHEMA_VERSION + 1, "new": True}).encode())
    with pytest.raises(OutputError, match=r"newer phoenix_ray.*upgrade"):
        read_identity(storage)


def test_an_unknown_layout_is_told() -> None:
    assert find_layout(IDENTITY) == LAYOUT
    with pytest.raises(OutputError, match="'other' is not known"):
        find_layout(replace(IDENTITY, layout="other"))


def test_square_pixels_are_part_of_the_identity_only_where_they_are_asked_for(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, IDENTITY)
    assert "square_pixels" not in json.loads((tmp_path / "dataset.json").read_text())
    square = replace(IDENTITY, square_pixels=True)
    assert IDENTITY.differences(square) == ["source.square_pixels: False → True"]
    with pytest.raises(FingerprintMismatchError, match=r"source\.square_pixels: False → True"):
        agree_on_identity(storage, square)
    other = LocalStorage(str(tmp_path / "other"))
    claim_dataset(other, square)
    assert read_identity(other) == square


def test_the_settings_with_which_a_source_was_listed_are_recorded_and_taken_again(tmp_path: Path) -> None:
    settings = SourceSettings(start_column="START", end_column="", pixel_aspect_ratio=1.5, limit_frames=7)
    identity = replace(IDENTITY, listing=listing_settings(settings), limit_frames=7)
    assert identity.listing == {"start_column": "START", "end_column": "", "pixel_aspect_ratio": "1.5"}
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, identity)
    recorded = read_identity(storage)
    assert recorded == identity
    assert recorded.differences(replace(identity, listing={})) == []
    assert as_recorded(SourceSettings(path="/now"), recorded) == settings.model_copy(update={"path": "/now"})
    assert as_recorded(SourceSettings(start_column="FROM"), recorded).start_column == "FROM"


def test_of_another_model_or_other_heads_only_the_names_are_shown() -> None:
    model = {"model": "rtmw", "engine": "onnx", "input.size": "[288, 384]", "weights": "1" * 64}
    was = replace(IDENTITY, model=model)
    now = replace(IDENTITY, model={"model": "holistic", "engine": "litert", "complexity": "2"})
    assert was.differences(now) == ["model.name: rtmw → holistic", "model.engine: onnx → litert"]
    with_head = replace(IDENTITY, model={**IDENTITY.model, "heads": "[fer]", "head.emotion.crop.scale": "1.0"})
    assert with_head.differences(IDENTITY) == ["model.heads: [fer] → none"]


def test_a_layout_without_a_known_name_is_described_and_compared(tmp_path: Path) -> None:
    own = Layout(
        "lab", (Part("torso", ("neck", "back"), ("x", "y", "confidence"), ((0, 1),)), Part("a", ("b",), ("x",)))
    )
    assert define_layout(COCO_17) == ""
    identity = replace(IDENTITY, layout=own.name, layout_definition=define_layout(own))
    claim_dataset(LocalStorage(str(tmp_path)), identity)
    recorded = read_identity(LocalStorage(str(tmp_path)))
    assert find_layout(recorded) == own
    swapped = replace(own, parts=own.parts[::-1])
    other = replace(identity, layout_definition=define_layout(swapped))
    assert other.fingerprint != identity.fingerprint
    with pytest.raises(OutputError, match=r"layout \(dataset\.json\) is damaged"):
        find_layout(replace(identity, layout_definition='{"name": "lab"}'))


@pytest.mark.parametrize(
    "definition",
    [
        "[" * 100_000,
        '{"name": "a", "parts": {"p": {"points": ["q"], "axes": ["x"], "edges": [[Infinity, 0]], "scored": true}}}',
        '{"name": "a", "parts": {"p": {"points": ["q"], "axes": ["x"], "edges": [[0, 1]], "scored": true}}}',
        '{"name": "a", "parts": {"p": {"points": ["q"], "axes": [], "edges": [], "scored": true}}}',
        '{"name": "\\ud800", "parts": {}}',
        '{"name": "a", "parts": {}, "heads": {"h": {"part": "p", "classes": [], "values": []}}}',
    ],
)
def test_a_hostile_layout_is_damage(definition: str) -> None:
    with pytest.raises(OutputError, match="is damaged"):
        find_layout(replace(IDENTITY, layout_definition=definition))
