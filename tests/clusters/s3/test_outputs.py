"""Runs whose output is in a bucket of a real S3 gateway, and the commands that users give then.

What the runs say stays in build/cluster-test/s3.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.clusters.conftest import kept_folder
from tests.clusters.s3.gateway import BUCKET, SECRET, Gateway

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
SHORT, LONG = 30, 400


@pytest.fixture(scope="module")
def kept(gateway: Gateway) -> Path:
    assert gateway
    return kept_folder("s3")


@pytest.fixture
def environment(gateway: Gateway) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    return own | gateway.environment


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(environment: dict[str, str], kept: Path) -> Command:
    def run(*words: str, code: int = 0, **changed: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "phoenix_ray.cli", *words]
        done = subprocess.run(line, capture_output=True, text=True, timeout=400, env=environment | changed, check=False)
        with (kept / "said").open("a") as said:
            said.write(f"$ phoenix-ray {' '.join(words)}\n{done.stdout}{done.stderr}exit code {done.returncode}\n\n")
        assert done.returncode == code, done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    return run


def source(videos: int) -> list[str]:
    return ["source.kind=synthetic", f"source.max_videos_per_split={videos}", "model.name=synthetic"]


def run_words(output: str, videos: int) -> list[str]:
    return ["run", *source(videos), f"output.path={output}", "cluster.num_workers=2"]


def digest_in(text: str) -> str:
    return str(re.findall(r"Landmark digest (\w+)", text)[-1])


def test_a_run_into_a_bucket_is_that_into_a_folder_and_every_command_reads_it(command: Command, tmp_path: Path) -> None:
    uri, folder = f"s3://{BUCKET}/outputs/a b/split=x/%41", str(tmp_path / "near")
    there = command(*run_words(uri, SHORT))
    near = command(*run_words(folder, SHORT))
    assert digest_in(there.stdout) == digest_in(near.stdout)
    assert "EQUAL bit for bit" in command("verify", uri, folder).stdout
    assert f"{SHORT} videos" in command("status", uri).stdout
    assert "No failures" in command("failures", uri).stdout
    assert command("check", uri)
    assert command("stats", uri, "--quick")
    assert command("compact", uri)
    assert "Nothing is left to compute" in command("plan", *source(SHORT), f"output.path={uri}").stdout
    assert command("export", uri, str(tmp_path / "npz"), "--format", "npz")
    assert "give a path of this machine" in command("export", folder, uri, "--format", "npz", code=2).stderr
    again = command(*run_words(uri, SHORT))
    assert " 0 frames to compute" in again.stdout + again.stderr


def test_check_repairs_a_bucket(command: Command, gateway: Gateway) -> None:
    uri = f"s3://{BUCKET}/outputs/damaged"
    command(*run_words(uri, SHORT))
    storage = gateway.storage("outputs/damaged")
    (data,) = storage.list("data")
    content = bytearray(storage.read(data.name))
    content[len(content) // 2] ^= 1
    storage.write(data.name, bytes(content))
    command("check", uri, code=8)
    command("check", uri, "--repair", code=3)
    command(*run_words(uri, SHORT))
    command("check", uri)


def test_a_second_driver_is_refused_and_a_killed_one_resumed(
    command: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    uri = f"s3://{BUCKET}/outputs/killed"
    words = run_words(uri, LONG)
    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(
            [sys.executable, "-m", "phoenix_ray.cli", *words], stdout=log, stderr=log, env=environment
        )
    deadline = time.monotonic() + 120
    while not (done := _frames_done(command, uri)) and first.poll() is None:
        assert time.monotonic() < deadline
    assert SECRET not in " ".join(
        word for one in psutil.process_iter(["cmdline"]) for word in one.info["cmdline"] or []
    )
    assert "is being written by the run" in command(*words, code=6).stderr
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = command(*words)
    said = again.stdout + again.stderr
    computed = int(re.findall(r"([\d,]+) frames to compute", said)[0].replace(",", ""))
    everything = int(re.findall(r"videos with ([\d,]+) frames", said)[0].replace(",", ""))
    assert done <= everything - computed
    folder = str(tmp_path / "near")
    assert digest_in(again.stdout) == digest_in(command(*run_words(folder, LONG)).stdout)


def _frames_done(command: Command, uri: str) -> int:
    try:
        return int(json.loads(command("status", "--json", uri).stdout).get("frames_done", 0))
    except AssertionError:
        # Nothing is there yet.
        return 0


@pytest.mark.parametrize(
    ("output", "changed", "said"),
    [
        ("s3://no-such-bucket/x", {}, "no such bucket"),
        (f"s3://{BUCKET}/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "Set AWS_ACCESS_KEY_ID"),
        (f"s3://{BUCKET}/x?region=eu", {}, "has options"),
        (f"s3://user:{SECRET}@{BUCKET}/x", {}, "Take them out"),
    ],
)
def test_an_output_that_cannot_be_is_told_with_a_way_out(
    command: Command, output: str, changed: dict[str, str], said: str
) -> None:
    code = 2 if "?" in output or "@" in output else 6
    assert said in command(*run_words(output, SHORT), code=code, **changed).stderr


def test_no_secret_is_in_the_dataset(command: Command, gateway: Gateway) -> None:
    uri = f"s3://{BUCKET}/outputs/secrets"
    command(*run_words(uri, SHORT))
    storage = gateway.storage("outputs/secrets")
    contents = [storage.read(file.name) for file in storage.list("")]
    assert contents
    assert not any(SECRET.encode() in content for content in contents)
