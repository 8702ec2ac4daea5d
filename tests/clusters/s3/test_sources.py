"""Sources in a bucket of a real S3 gateway: the run of the same files on a disk, and what users see when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.object_stores import open_bucket
from phoenix_ray.sources import object_paths
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from tests.clusters.s3.gateway import BUCKET, SECRET, Gateway
from tests.sources.made_up import listed_videos, write_video
from tests.sources.test_object_paths import check_equal, phoenix_tree, read

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
PREFIX = "sources/tests"
ROOT = f"s3://{BUCKET}/{PREFIX}"


@pytest.fixture
def environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment with the gateway's credentials, which this process has as well."""
    for name in [name for name in os.environ if name.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)
    object_paths.opened_bucket.cache_clear()
    return dict(os.environ)


@pytest.fixture
def tree(environment: dict[str, str], tmp_path: Path) -> Path:
    """A PHOENIX-2014-T tree and a video file on the disk, which the bucket has as well."""
    phoenix_tree(tmp_path / "data")
    write_video(tmp_path / "data" / "clips" / "clip.mp4", 400)
    store = open_bucket(f"s3://{BUCKET}").store
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            obstore.put(store, f"{PREFIX}/{path.relative_to(tmp_path / 'data').as_posix()}", path.read_bytes())
    return tmp_path / "data"


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(environment: dict[str, str]) -> Command:
    def run(*words: str, code: int = 0, **changed: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "phoenix_ray.cli", *words]
        done = subprocess.run(line, capture_output=True, text=True, timeout=280, env=environment | changed, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    return run


def test_a_run_from_a_bucket_is_that_from_a_disk_and_every_command_reads_it(
    command: Command, tree: Path, tmp_path: Path
) -> None:
    # A row of the annotations has no video, so both runs are incomplete.
    words = ["model.name=synthetic", "cluster.num_workers=2"]
    there = command("run", f"{ROOT}/PHOENIX-2014-T", str(tmp_path / "there"), *words, code=3)
    here = command("run", str(tree / "PHOENIX-2014-T"), str(tmp_path / "here"), *words, code=3)
    digests = [re.findall(r"Landmark digest (\w+)", done.stdout)[-1] for done in (there, here)]
    assert digests[0] == digests[1]
    assert "EQUAL" in command("verify", "--full", str(tmp_path / "there"), str(tmp_path / "here")).stdout
    assert "EQUAL" in command("verify", str(tmp_path / "there"), "--recompute").stdout
    assert command("view", str(tmp_path / "there"), "--sheet", str(tmp_path / "sheet.png"))
    # The dataset can be continued from the disk: its signatures are those of the bucket.
    plan = command("plan", str(tree / "PHOENIX-2014-T"), str(tmp_path / "there"), *words)
    assert "Nothing is left to compute" in plan.stdout
    command("check", str(tmp_path / "there"), "--source", f"{ROOT}/PHOENIX-2014-T", code=3)
    for file in (tmp_path / "there").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_video_files_and_frames_are_those_of_the_disk(tree: Path) -> None:
    for part in ("clips", "PHOENIX-2014-T/features"):
        videos = list(open_source(SourceSettings(path=f"{ROOT}/{part}")).videos())
        for video, expected in zip(videos, open_source(SourceSettings(path=str(tree / part))).videos(), strict=True):
            if isinstance(video, Video):
                assert isinstance(expected, Video)
                assert (video.signature, video.fps) == (expected.signature, expected.fps)
                check_equal(read(video), read(expected))


def test_a_gateway_that_is_killed_and_comes_back_loses_no_frame(gateway: Gateway, tree: Path) -> None:
    (video,) = listed_videos(tree / "PHOENIX-2014-T", kind="phoenix", splits=("dev",))
    there = open_source(SourceSettings(path=f"{ROOT}/PHOENIX-2014-T", splits=("dev",))).videos()
    (other,) = [found for found in there if isinstance(found, Video)]
    gateway.kill()
    started = threading.Timer(3.0, gateway.start)
    started.start()
    began = time.monotonic()
    check_equal(list(read_frames(other, 0, other.frame_count, DecodeSettings())), read(video))
    assert time.monotonic() - began > 2.0
    started.join()


@pytest.mark.parametrize(
    ("uri", "changed", "message"),
    [
        ("s3://no-such-bucket/x", {}, "there is no such bucket"),
        (f"{ROOT}/PHEONIX-2014-T", {}, "Did you mean 'PHOENIX-2014-T'?"),
        (
            f"{ROOT}/PHOENIX-2014-T",
            {"AWS_SECRET_ACCESS_KEY": "another"},
            "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
        ),
        (f"{ROOT}/PHOENIX-2014-T/annotations", {}, "holds no PHOENIX-2014-T tree, no video file and no frames"),
    ],
)
def test_a_source_that_cannot_be_read_names_the_way_out(
    command: Command, tree: Path, tmp_path: Path, uri: str, changed: dict[str, str], message: str
) -> None:
    said = command("plan", uri, str(tmp_path / "out"), code=4, **changed)
    assert message in said.stdout + said.stderr
    assert "Traceback" not in said.stderr
