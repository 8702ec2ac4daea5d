"""Mode tracking on a real Ray: the same bits however videos are cut and spread. `tests.chaos` kills what computes."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset.reader import Dataset
from tests.cluster.conftest import FRAMES, Run

pytestmark = pytest.mark.cluster


def words(source: Path, output: Path, workers: int, shard_frames: int, batch_size: int) -> list[str]:
    return [
        *("run", "--num-workers", str(workers), "--batch-size", str(batch_size)),
        *(f"source.path={source}", f"output.path={output}", "model.name=synthetic", "model.mode=tracking"),
        f"cluster.shard_frames={shard_frames}",
    ]


def digest(output: Path) -> int:
    return Dataset.open(str(output)).digest()


@pytest.fixture(scope="module")
def whole(frame_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where the videos go that one worker computes in one go, one after the other; and the command."""
    output = tmp_path_factory.mktemp("whole") / "output"
    return output, words(frame_folders, output, 1, 512, 1)


@pytest.mark.slow
def test_tracked_landmarks_are_the_same_bits_whatever_workers_links_and_company(
    whole: tuple[Path, list[str]], frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    output, command = whole
    assert run_command(*command).returncode == 0
    for workers, shard_frames, batch_size in [(1, 4, 2), (2, 7, 3), (2, 1, 1)]:
        other = tmp_path / f"{workers}-{shard_frames}-{batch_size}"
        done = run_command(*words(frame_folders, other, workers, shard_frames, batch_size))
        assert done.returncode == 0, done.stderr
        assert digest(other) == digest(output)


@pytest.mark.slow
def test_links_that_were_lost_are_computed_again_and_change_nothing(
    whole: tuple[Path, list[str]], frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    output, command = whole
    if not output.exists():
        assert run_command(*command).returncode == 0
    again = words(frame_folders, tmp_path, 2, 6, 2)
    assert run_command(*again, "output.compact=false").returncode == 0
    partitions = sorted(tmp_path.glob("partitions/**/*.parquet"))
    videos = Counter(path.parent for path in partitions)
    links = [path for path in partitions if path.parent == videos.most_common(1)[0][0]]
    assert len(links) == 7
    links[1].unlink()
    os.truncate(links[3], 1_000)
    links[6].unlink()
    content = bytearray(links[5].read_bytes())
    content[content.rindex(b'"float32"') + 99] ^= 1
    links[5].write_bytes(content)
    done = run_command(*again)
    assert done.returncode == 0, done.stderr
    # A wrong bit in a state breaks the seal of its footer, so the rows beside it count as lost too.
    assert "22 frames to compute" in done.stderr
    assert digest(tmp_path) == digest(output)
    rows = [pq.read_metadata(path).num_rows for path in tmp_path.glob("data/*.parquet")]
    assert sum(rows) == FRAMES


def test_a_plan_says_how_long_the_longest_chain_is(frame_folders: Path, tmp_path: Path, run_command: Run) -> None:
    done = run_command("plan", *words(frame_folders, tmp_path / "output", 2, 10, 1)[1:])
    assert done.returncode == 0, done.stderr
    assert "the longest video needs 4 shards" in done.stdout
    assert not (tmp_path / "output").exists()
