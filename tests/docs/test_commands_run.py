"""The commands of the pages run: each `phoenix-ray` line of README and docs, where what it names lies beside it.

Runs use the model `synthetic` and a Ray that this process has started. Commands that need a bucket, a download or a
person at a browser are skipped with the reason; others test those.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import ray
from click.testing import CliRunner

from phoenix_ray.cli import cli
from phoenix_ray.layouts import LAYOUTS, Layout
from tests.dataset.with_heads import EMOTION, dataset_with_heads
from tests.docs.pages import blocks
from tests.docs.test_commands import commands_in
from tests.sources.made_up import write_video

pytestmark = pytest.mark.cluster

# Signer and videos that the pages name, each with the splits that have it.
SIGNER = "Signer05"
VIDEOS = {
    "01April_2010": ("train",),
    "01April_2010_Thursday_heute-6694": ("train",),
    "02May_2011": ("dev",),
    "ID": ("train",),
    "clip-1": ("train",),
    "clip-2": ("train",),
    "other": ("train", "dev"),
}
DATASETS = (
    *("OUTPUT", "A", "B", "landmarks", "landmarks_heavy"),
    *("data/landmarks", "data/static", "data/tracking", "data/heavy"),
)
SOURCES = ("SOURCE", "PATH", "videos", "recordings", "data/videos")
EMOTIONS = Layout("holistic-468+emotion", LAYOUTS["holistic-468"].parts, (replace(EMOTION, part="face"),))
# The last word counts: they replace the model that a page names.
QUICK = ("model.name=synthetic", "model.complexity=1", "model.face_points=468", "cluster.num_workers=1")


class Command(NamedTuple):
    """A command of a page."""

    place: str
    words: tuple[str, ...]


def page_commands() -> Iterator[Command]:
    for block in blocks("bash", "console"):
        for words in commands_in(block.text):
            if words[0] == "phoenix-ray":
                found = tuple(words[1:])
            elif words[1:3] == ["-m", "phoenix_ray.run"]:
                found = ("run", *words[3:])
            else:
                continue
            yield Command(f"{block} {shlex.join(found)}", found)


COMMANDS = list(page_commands())


def why_not(words: Sequence[str]) -> str:
    """Return why a command is not run here; an empty text where it is."""
    if any("://" in word for word in words):
        return "it needs a bucket or a server"
    if words[:2] == ("models", "install"):
        return "it downloads weights"
    if words[:2] == ("models", "add") or any(word.startswith("model.heads=") for word in words):
        return "it needs a network's file; tests/models/heads and tests/commands/test_models.py have some"
    if "--watch" in words or "--web" in words or _opens_browser(words):
        return "it goes on until a person stops it"
    if words[0] == "verify" and "--reference" in words:
        return "it needs the legacy package of MediaPipe"
    if any(word.startswith("phoenix") for word in words[1:]) and "--config" in words:
        return "it needs PHOENIX-2014-T"
    return ""


def _opens_browser(words: Sequence[str]) -> bool:
    return words[0] == "view" and not {"--sheet", "--mp4", "--gif", "--html"}.intersection(words)


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, own_ray: None) -> Path:
    """A folder with all that the pages name: sources, datasets, files."""
    folder = tmp_path_factory.mktemp("world")
    lines = ["video_id,path,split,signer"]
    for name, splits in VIDEOS.items():
        for split in splits:
            path = Path("videos") / split / f"{name}.mp4"
            (folder / path.parent).mkdir(parents=True, exist_ok=True)
            write_video(folder / path, frames=110 if name == "clip-1" else 6)
            lines.append(f"{name},{path},{split},{SIGNER if name.startswith('0') else 'Signer01'}")
    (folder / "table.csv").write_text("\n".join(lines))
    run(folder, ("run", "table.csv", "landmarks", *QUICK))
    for name in DATASETS:
        if name != "landmarks":
            shutil.copytree(folder / "landmarks", folder / name)
    for name in SOURCES:
        if name != "videos":
            (folder / name).symlink_to(folder / "videos")
    (folder / "how2sign.csv").write_text(
        "SENTENCE_NAME,path,START_REALIGNED,END_REALIGNED\n_fZb_0,videos/train/clip-1.mp4,0.2,1.4\n"
    )
    (settings,) = (block.text for block in blocks("yaml") if block.text.startswith("source:\n  path: recordings\n"))
    (folder / "recordings.yaml").write_text(settings)
    (folder / "withdrawn.txt").write_text("train/01April_2010\n02May_2011\n")
    run(folder, ("export", "landmarks", "old_results.pickle", "--format", "pickle"))
    run(folder, ("export", "landmarks", "labels", "--format", "coco"))
    shutil.copy(folder / "labels" / "train.json", folder / "annotations.json")
    run(folder, ("export", "landmarks", "json", "--format", "openpose"))
    dataset_with_heads(str(folder / "emotions"), layout=EMOTIONS)
    return folder


def run(folder: Path, words: Sequence[str], code: int = 0) -> str:
    """Run a command in a folder and return what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(cli, list(words))
    assert result.exit_code == code, f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
    return result.output


def here(words: Sequence[str]) -> list[str]:
    """Return the words with paths below the folder, the quick model, and the answer to a question."""
    moved = [word.replace("/data/", "data/") for word in words]
    if words[0] in ("run", "plan"):
        return [*moved, *QUICK]
    if words[0] == "compare":
        return without_weights(moved)
    if words[0] == "drop" and not {"--yes", "--dry-run", "--allow", "--list"}.intersection(words):
        return [*moved, "--yes"]
    return moved


def without_weights(words: Sequence[str]) -> list[str]:
    """Return the words of `compare` with the model that needs no weights in place of each, with unlike settings."""
    models = [word for option, word in pairwise(words) if option == "--model"]
    quick = {model: f"synthetic,batch_size={number}" for number, model in enumerate(models, 1)}
    return [
        quick.get(word, word) if option in ("--model", "--reference") else word
        for option, word in zip(["", *words], words, strict=False)
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_a_command_of_a_page_runs(command: Command, world: Path, tmp_path: Path) -> None:
    if reason := why_not(command.words):
        pytest.skip(reason)
    folder = tmp_path / "here"
    shutil.copytree(world, folder, symlinks=True)
    if command.words[0] == "run":
        for name in DATASETS:
            shutil.rmtree(folder / name)
    if "--allow" in command.words:
        run(folder, here([word for word in command.words if word != "--allow"]))
    run(folder, here(command.words))
