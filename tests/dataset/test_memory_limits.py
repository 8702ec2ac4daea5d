from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ray.dataset import memory_limits, rows
from phoenix_ray.dataset.memory_limits import VARIABLE, free_memory, refuse_large_video
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError, OutputError
from tests.dataset.made_up import commit, make_video, new_dataset


def test_a_video_larger_than_allowed_is_named_with_its_size_and_a_way_out_and_can_be_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(new_dataset(tmp_path), make_video("a"), 0, 10)
    dataset = Dataset.open(str(tmp_path))
    monkeypatch.setattr(rows, "_SMALL_BYTES", 0)
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(OutputError, match=rf"train/a takes at least 0 MiB .*by {VARIABLE}.*load_blocks"):
        dataset.load("train", "a")
    assert dataset.load_blocks("train", "a", lambda blocks: sum(map(len, blocks))) == 10
    monkeypatch.setenv(VARIABLE, "1")
    assert len(dataset.load("train", "a")) == 10


def test_a_third_of_the_free_memory_is_allowed_unless_the_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(memory_limits, "free_memory", lambda: 3 << 30)
    refuse_large_video(("train", "a"), 1 << 30, 1 << 28)
    with pytest.raises(OutputError, match=r"at least 1,024 MiB .* 1,024 MiB are allowed by the free memory"):
        refuse_large_video(("train", "a"), (1 << 30) + 1, 1 << 28)
    monkeypatch.setenv(VARIABLE, "2048")
    refuse_large_video(("train", "a"), 2 << 30, 1)


@pytest.mark.parametrize("value", ["much", "-1", "1e3", "9" * 5_000])
def test_a_variable_that_is_not_a_number_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"{VARIABLE} is '{value[:10]}"):
        refuse_large_video(("train", "a"), 1, 1)


@pytest.mark.parametrize("free", [None, 1 << 50])
def test_a_video_of_nobody_is_loaded_until_it_is_far_longer_than_its_file(
    monkeypatch: pytest.MonkeyPatch, free: int | None
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(memory_limits, "free_memory", lambda: free)
    # An hour in which a person is found in one frame of twelve.
    refuse_large_video(("train", "a"), 6_800 * 90_000, 90_000 // 12 * 2_270)
    # 25 minutes of nobody, in row groups of 8,192 rows: 1,500 times the compressed bytes.
    refuse_large_video(("train", "a"), 6_800 * 36_000, 36_000 * 5)
    with pytest.raises(OutputError, match=f"train/a takes at least 4,386 MiB .*{VARIABLE}=4387"):
        refuse_large_video(("train", "a"), 4_600_000_000, 355_000)


@pytest.mark.parametrize(("limit", "free"), [("1000", 1000 - 700 + 200), ("100", 0), ("max", None)])
def test_a_control_group_bounds_what_is_free_but_its_cached_files_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\nodd\ninactive_file 200\n")

    def groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
        yield tmp_path, memory_limits._FILES

    monkeypatch.setattr(memory_limits, "_control_groups", groups)
    found = free_memory()
    if free is None:
        assert found is None or found > 1000
    else:
        assert found == free
