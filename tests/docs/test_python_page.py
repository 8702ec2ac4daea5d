"""Every block of docs/python.md runs, in order and in one process, on two of the demo's videos."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phoenix_ray
from phoenix_ray.sources.sample import DEMO_VIDEOS
from tests.docs.pages import blocks

PAGE = "docs/python.md"
Names = dict[str, Any]

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Names]]:
    """The names that exist after each block, by the block's text."""
    folder = tmp_path_factory.mktemp("page")
    for split, name in (("train", "signer01-a.mp4"), ("dev", "signer01-c.mp4")):
        (folder / "videos" / split).mkdir(parents=True)
        shutil.copyfile(DEMO_VIDEOS / split / name, folder / "videos" / split / name)
    shutil.copyfile(DEMO_VIDEOS / "test" / "signer03-b.mp4", folder / "clip.mp4")
    names: Names = {}
    ran: dict[str, Names] = {}
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(variable)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        for block in blocks("python"):
            if block.page == PAGE:
                exec(compile(block.text, str(block), "exec"), names)
                ran[block.text] = dict(names)
        yield ran


def names_after(after: dict[str, Names], text: str) -> Names:
    (names,) = (names for block, names in after.items() if text in block)
    return names


def test_a_folder_of_videos_becomes_a_dataset(after: dict[str, Names]) -> None:
    names = names_after(after, "extraction.open()")
    assert names["extraction"].state == "finished"
    assert names["extraction"].frames == 50
    assert sorted(names["dataset"].keys()) == [("dev", "signer01-c"), ("train", "signer01-a")]


def test_a_frame_is_drawn(after: dict[str, Names]) -> None:
    names_after(after, "video.draw(20)")
    assert Path("skeleton.mp4").stat().st_size > 1_000


def test_one_video_is_estimated_by_path_and_from_frames(after: dict[str, Names]) -> None:
    by_path = names_after(after, 'estimate("clip.mp4", mode="tracking"')["landmarks"]
    assert len(by_path) == 10
    assert np.isfinite(by_path.points["pose"]).any()
    stored = names_after(after, "extraction.open()")["dataset"].load("dev", "signer01-c")
    fresh = phoenix_ray.estimate(DEMO_VIDEOS / "dev" / "signer01-c.mp4", mode="tracking", limit_frames=25)
    for part, points in stored.points.items():
        assert points.tobytes() == fresh.points[part].tobytes(), part
    from_frames = names_after(after, "import cv2")["landmarks"]
    np.testing.assert_allclose(from_frames.timestamps, np.arange(10) / 25)


def test_settings_and_config(after: dict[str, Names]) -> None:
    names = names_after(after, 'config="demo"')
    assert names["extraction"].layout.part("face").points[-1]
    assert len(names["extraction"].layout.part("face").points) == 478
    assert names["demo"].frames == 15


def test_a_ray_that_is_up_is_used(after: dict[str, Names]) -> None:
    assert names_after(after, "import ray\n")["extraction"].frames == 10


def test_a_mistake_is_explained(after: dict[str, Names], capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in after if "except SourceError" in block)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(after[block]["extraction"].output).parent)
        exec(block, dict(after[block]))
    assert "Did you mean 'videos'?" in capsys.readouterr().out
