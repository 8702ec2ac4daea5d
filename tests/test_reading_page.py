"""Every recipe of docs/reading.md runs as it stands there, on a made-up dataset with Holistic's columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.landmarks import holistic
from tests.dataset.made_up import commit_rows, make_batch, make_records, make_video

PAGE = Path(__file__).parents[1] / "docs" / "reading.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
Run = Callable[..., dict[str, Any]]
FRAMES = {"train": 18, "dev": 6, "test": 6}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which OUTPUT is a dataset of five videos with six frames each."""
    folder = tmp_path_factory.mktemp("reading")
    storage, layout, settings = LocalStorage(str(folder / "OUTPUT")), holistic(468), OutputSettings()
    identity = claim_dataset(storage, DatasetIdentity(layout.name))
    for split, frames in FRAMES.items():
        for number in range(frames // 6):
            video = make_video(f"v{number}", split, frames=6, signer="Signer01", gloss="MORGEN REGEN")
            batch = make_batch(video, 0, 6, layout)
            commit_rows(storage, Shard(video, 0, 6), make_records(0, 6), batch, identity, settings)
    tasks = plan_compaction(take_survey(storage, identity), lambda name: [], 1e9)
    publish(storage, identity, [compact_videos(storage, task, settings) for task in tasks])
    return folder


@pytest.fixture
def run(output: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the blocks of the page that hold a text, one after the other; gives the names they define."""
    monkeypatch.chdir(output)

    def run_blocks(*texts: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for text in texts:
            (block,) = (block for block in BLOCKS if text in block)
            exec(block, names)
        return names

    return run_blocks


def test_videos_are_read_as_arrays(run: Run) -> None:
    names = run("import phoenix_ray", 'dataset.select(split="train", signer')
    assert names["video"].array().shape == (6, 543, 3)
    assert len(names["hands"]) == 3
    assert [part.name for part in names["hands"].layout.parts] == ["left_hand", "right_hand"]
    assert len(names["clear"]) == 2


def test_training_with_torch(run: Run) -> None:
    pytest.importorskip("torch")
    names = run("import phoenix_ray", "import torch", "LandmarkStream(train")
    assert names["batch"].points.shape[1:] == (6, 543, 3)


def test_pandas(run: Run) -> None:
    pytest.importorskip("pandas")
    names = run("import pandas")
    assert names["frames"]["split"].value_counts().to_dict() == FRAMES
    assert set(names["labelled"]["gloss"]) == {"MORGEN REGEN"}
    assert np.stack(names["frames"]["left_hand_x"].dropna()).shape == (20, 21)


def test_polars(run: Run) -> None:
    pytest.importorskip("polars")
    wrists = run("import polars")["wrists"]
    assert wrists.shape == (30, 3)
    assert wrists["wrist_x"].null_count() == 10


def test_duckdb(run: Run) -> None:
    pytest.importorskip("duckdb")
    assert run("import duckdb")["rates"] == [(split, FRAMES[split], 2 / 3) for split in sorted(FRAMES)]


def test_hugging_face_datasets(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    frames = run("from datasets import")["frames"]
    assert len(frames) == 18
    assert len(frames[1]["face_x"]) == 468
    assert frames[0]["left_hand_x"] is None


@pytest.mark.cluster
def test_ray_data(run: Run) -> None:
    import ray

    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        frames = run("import ray\n")["frames"].take_all()
    finally:
        ray.shutdown()
    assert len(frames) == 30
    assert sum(frame["left_hand_x"] is not None for frame in frames) == 20
