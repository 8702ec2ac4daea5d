from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ray.dataset import memory_limit, snapshot
from phoenix_ray.dataset.memory_limit import VARIABLE, free_memory, refuse_large_video
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError, OutputError
from tests.dataset.made_up import commit, make_video, new_dataset


def test_a_video_larger_than_allowed_is_named_with_its_size_and_a_way_out_and_can_be_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(new_dataset(tmp_path), make_video("a"), 0, 10)
    dataset = Dataset.open(str(tmp_path))
    monkeypatch.setattr(snapshot, "SMALL_VIDEO_BYTES", 0)
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(OutputError, match=rf"train/a takes 0 MB .*load_blocks.*{VARIABLE}"):
        dataset.load("train", "a")
    assert dataset.load_blocks("train", "a", lambda blocks: sum(map(len, blocks))) == 10
    monkeypatch.setenv(VARIABLE, "1")
    assert len(dataset.load("train", "a")) == 10


def test_a_third_of_the_free_memory_is_allowed_unless_the_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(memory_limit, "free_memory", lambda: 3 << 30)
    refuse_large_video(("train", "a"), 1 << 30)
    with pytest.raises(OutputError, match=r"takes 1,024 MB or more .* 1,024 MB are allowed"):
        refuse_large_video(("train", "a"), (1 << 30) + 1)
    monkeypatch.setenv(VARIABLE, "2048")
    refuse_large_video(("train", "a"), 2 << 30)
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ConfigError, match="'much'"):
        refuse_large_video(("train", "a"), 1)


def test_where_nothing_says_what_is_free_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "free_memory", lambda: None)
    refuse_large_video(("train", "a"), 1 << 50)


@pytest.mark.parametrize(("limit", "free"), [("1000", 1000 - 700 + 200), ("100", 0), ("max", None)])
def test_a_control_group_bounds_what_is_free_but_its_cached_files_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 200\n")

    def groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
        yield tmp_path, memory_limit._FILES

    monkeypatch.setattr(memory_limit, "_control_groups", groups)
    found = free_memory()
    if free is None:
        assert found is None or found > 1000
    else:
        assert found == free
