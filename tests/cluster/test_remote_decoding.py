from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import ray

from phoenix_ray.cluster import remote_decoding
from phoenix_ray.cluster.remote_decoding import (
    CHUNK_FRAMES,
    DecoderDiedError,
    decoding_ranges,
    nodes_to_decode_on,
    read_remotely,
)
from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames

FRAMES = 3 * CHUNK_FRAMES + 5


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def video(tmp_path: Path) -> Video:
    numbers = np.random.default_rng(0)
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), numbers.integers(0, 256, (26, 21, 3), np.uint8))
    (tmp_path / "007.png").write_bytes(b"no picture")
    return Video("dev", "clip", "frame_folder", str(tmp_path), FRAMES, "signature", 25.0)


@pytest.mark.parametrize(("first", "last"), [(0, FRAMES), (10, 40), (FRAMES - 1, FRAMES), (5, 5)])
def test_frames_are_those_of_a_worker_that_decodes_itself(cluster: None, video: Video, first: int, last: int) -> None:
    settings = DecodeSettings()
    theirs = list(read_remotely(video, first, last, settings))
    ours = list(read_frames(video, first, last, settings))
    assert [(one.index, one.name, one.timestamp, one.error) for one in theirs] == [
        (one.index, one.name, one.timestamp, one.error) for one in ours
    ]
    for one, other in zip(theirs, ours, strict=True):
        assert (one.image is None) == (other.image is None)
        if one.image is not None and other.image is not None:
            np.testing.assert_array_equal(one.image, other.image)


def test_a_node_that_cannot_see_the_video_says_so(cluster: None, video: Video) -> None:
    gone = Video("dev", "clip", "frame_folder", f"{video.location}/nowhere", FRAMES, "signature")
    with pytest.raises(SourceError, match="every node must see"):
        list(read_remotely(gone, 0, FRAMES, DecodeSettings()))


def test_another_kind_of_processor_than_the_workers_decodes_nothing(
    cluster: None, video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(SourceError, match=r"another kind of processor .* \(sparc\).*decode\.on=workers"):
        list(read_remotely(video, 0, 1, DecodeSettings()))


def test_a_process_that_dies_of_its_frames_is_reported(
    cluster: None, video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> Iterator[None]:
        os._exit(139)
        yield

    monkeypatch.setattr(remote_decoding, "_DECODE", ray.remote(num_cpus=1, max_retries=0)(die))
    with pytest.raises(DecoderDiedError, match="died"):
        list(read_remotely(video, 0, FRAMES, DecodeSettings()))


def test_closing_early_leaves_no_task_behind(cluster: None, video: Video) -> None:
    frames = read_remotely(video, 0, FRAMES, DecodeSettings(ahead=2 * CHUNK_FRAMES))
    assert next(frames).index == 0
    frames.close()
    assert len(list(read_remotely(video, 0, FRAMES, DecodeSettings()))) == FRAMES


def test_pictures_are_shared_out_and_videos_decoded_in_order(video: Video) -> None:
    assert decoding_ranges(video, 3, 36) == [(3, 19), (19, 35), (35, 36)]
    assert decoding_ranges(Video("dev", "clip", "video_file", "/clip.mp4", 900, "signature"), 100, 900) == [(100, 900)]


def test_living_nodes_without_a_gpu_decode() -> None:
    def node(name: str, alive: bool = True, **resources: float) -> dict[str, object]:
        return {"NodeID": name, "Alive": alive, "Resources": resources}

    nodes = [node("c", CPU=8), node("a", CPU=8), node("gpu", CPU=8, GPU=1), node("gone", False, CPU=8), node("head")]
    assert nodes_to_decode_on(nodes) == ["a", "c"]
    assert nodes_to_decode_on([node("gpu", CPU=8, GPU=1)]) == []
