"""Every Python block of the pages runs as it stands there, on a made-up dataset with Holistic's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset, define_layout
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.layouts import Head, holistic
from phoenix_ray.models.heads.entry import add_heads
from tests.dataset.made_up import commit_rows, make_batch, make_records, make_video
from tests.docs.pages import Block, blocks

# Videos of six frames that the pages name.
VIDEOS = {"train": ("01April_2010_Thursday_heute-6694", "clip_a", "v2"), "dev": ("v0",), "test": ("v0",)}
FRAMES = {split: 6 * len(videos) for split, videos in VIDEOS.items()}
EMONET_CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
# A text of the block, and why it is compiled only.
NOT_RUN = {"s3://": "needs a bucket"}
RAY_DATA = "import ray\n"
# tests/docs/test_python_page.py runs its blocks, which compute.
OTHER_TEST = "docs/python.md"

Names = dict[str, Any]
After = Callable[[str, str], Names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset as OUTPUT and as landmarks, and training inputs made of it."""
    folder = tmp_path_factory.mktemp("pages")
    storage, layout, settings = LocalStorage(str(folder / "OUTPUT")), holistic(468), OutputSettings()
    identity = claim_dataset(storage, DatasetIdentity(layout.name))
    for split, names in VIDEOS.items():
        for name in names:
            video = make_video(name, split, frames=6, signer="Signer01", gloss="MORGEN REGEN", topic="weather")
            batch = make_batch(video, 0, 6, layout)
            commit_rows(storage, Shard(video, 0, 6), make_records(0, 6), batch, identity, settings)
    tasks = plan_compaction(take_survey(storage, identity), lambda name: [], 1e9)
    publish(storage, identity, [compact_videos(storage, task, settings) for task in tasks])
    write_card(storage, identity, CardWords(), pytest.fail)
    (folder / "landmarks").symlink_to("OUTPUT")
    write_dataset_with_head(folder / "emotions")
    CliRunner().invoke(cli, ["prepare", str(folder / "OUTPUT"), str(folder / "training")], catch_exceptions=False)
    return folder


def write_dataset_with_head(folder: Path) -> None:
    """Write a dataset of one video whose faces have the numbers of `emonet-8`."""
    head = Head("emotion", "face", EMONET_CLASSES, ("valence", "arousal"))
    layout = add_heads(holistic(468), [head])
    storage = LocalStorage(str(folder))
    identity = DatasetIdentity(layout.name, layout_definition=define_layout(layout))
    claim_dataset(storage, identity)
    video = make_video("v0", frames=6)
    numbers = np.random.default_rng(0).normal(0, 1, (6, head.width)).astype(np.float32)
    batch = replace(make_batch(video, 0, 6, holistic(468)), heads={"emotion": numbers})
    commit_rows(storage, Shard(video, 0, 6), make_records(0, 6), batch, identity, OutputSettings())


@pytest.fixture(scope="module")
def after(folder: Path) -> Iterator[After]:
    """Give the names that exist after the block of a page that holds a text; the page's blocks run once, in order."""
    pages: dict[str, list[tuple[Block, Names]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

        def names_after(page: str, text: str) -> Names:
            if page not in pages:
                pages[page] = run_page(page)
            (names,) = (names for block, names in pages[page] if text in block.text)
            return names

        yield names_after


def run_page(page: str) -> list[tuple[Block, Names]]:
    names: Names = {}
    ran = []
    for block in blocks("python"):
        if block.page == page and RAY_DATA not in block.text and not reason_not_to_run(block):
            exec(compile(block.text.replace("/data/landmarks", "OUTPUT"), str(block), "exec"), names)
            ran.append((block, dict(names)))
    return ran


def reason_not_to_run(block: Block) -> str | None:
    return next((reason for text, reason in NOT_RUN.items() if text in block.text), None)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")} - {OTHER_TEST}))
def test_the_blocks_of_a_page_run_in_order(page: str, after: After) -> None:
    for block in blocks("python"):
        if block.page == page and RAY_DATA not in block.text and not reason_not_to_run(block):
            after(page, block.text)


def test_videos_are_read_as_arrays(after: After) -> None:
    names = after("docs/reading.md", 'dataset.select(split="train", signer')
    assert names["video"].array().shape == (6, 543, 3)
    assert len(names["hands"]) == 3
    assert [part.name for part in names["hands"].layout.parts] == ["left_hand", "right_hand"]
    assert len(names["clear"]) == 2


def test_videos_are_found_by_place_and_name(after: After) -> None:
    names = after("docs/reading.md", "dataset[0]")
    assert (names["video"].split, names["video"].video_id) == ("train", "clip_a")
    assert len(names["few"]) == 2
    assert names["dataset"].splits == {"dev": 1, "test": 1, "train": 3}
    assert ("train", "clip_a") in names["dataset"]


def test_a_video_is_a_table(after: After) -> None:
    names = after("docs/reading.md", "video.to_pandas()")
    assert names["frames"].shape[0] == 6
    assert names["pixels"].notna().sum() == 4
    assert len(names["points"]) == 6 * 42


def test_a_video_is_drawn_and_played(after: After, folder: Path) -> None:
    names = after("docs/reading.md", "video.draw(0)")
    assert names["picture"].size == (420, 520)
    assert (folder / "skeleton.png").stat().st_size > 1_000
    assert (folder / "skeleton.mp4").stat().st_size > 1_000


def test_training_with_torch(after: After) -> None:
    assert after("docs/reading.md", "LandmarkStream(train")["batch"].points.shape[1:] == (6, 543, 3)


def test_heads_are_read_and_smoothed(after: After) -> None:
    names = after("docs/heads.md", "head_columns(smooth=True)")
    assert names["classes"] == EMONET_CLASSES
    assert names["columns"]["emotion_logits"].shape == (6, 8)
    assert not np.allclose(names["columns"]["emotion_valence"], names["smooth"]["emotion_valence"])
    assert "emotion_logits_happy" in names["frames"]


def test_prepared_inputs(after: After) -> None:
    assert after("docs/quickstart.md", "numpy.load")["example"]["points"].shape == (6, 178, 2)


def test_pandas(after: After) -> None:
    names = after("docs/reading.md", "pandas.read_parquet")
    assert names["frames"]["split"].value_counts().to_dict() == FRAMES
    assert set(names["labelled"]["gloss"]) == {"MORGEN REGEN"}
    assert np.stack(names["frames"]["left_hand_x"].dropna()).shape == (20, 21)


def test_polars(after: After) -> None:
    wrists = after("docs/reading.md", "import polars")["wrists"]
    assert wrists.shape == (30, 3)
    assert wrists["wrist_x"].null_count() == 10


def test_pyarrow(after: After) -> None:
    dev = after("docs/reading.md", "import pyarrow.dataset")["dev"]
    assert dev.num_rows == FRAMES["dev"]
    assert dev["left_hand_x"].null_count == 2


def test_duckdb(after: After) -> None:
    names = after("docs/reading.md", "import duckdb")
    rates = names["rates"]
    assert set(names["topics"]) == {(name, "weather") for listed in VIDEOS.values() for name in listed}
    assert rates == [(split, FRAMES[split], 2 / 3) for split in sorted(FRAMES)]


def test_hugging_face_datasets(after: After) -> None:
    names = after("docs/reading.md", "from datasets import")
    frames, videos = names["frames"], names["videos"]
    assert {split: len(rows) for split, rows in frames.items()} == FRAMES
    assert len(frames["train"][1]["face_x"]) == 468
    assert frames["train"][0]["left_hand_x"] is None
    assert sorted(zip(videos["split"], videos["video_id"], strict=True)) == sorted(
        (split, name) for split, listed in VIDEOS.items() for name in listed
    )


@pytest.mark.cluster
def test_ray_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.chdir(folder)
    names: Names = {}
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        (block,) = (block for block in blocks("python") if RAY_DATA in block.text and block.page != OTHER_TEST)
        exec(block.text, names)
        frames = names["frames"].take_all()
    finally:
        ray.shutdown()
    assert len(frames) == 30
    assert sum(frame["left_hand_x"] is not None for frame in frames) == 20
