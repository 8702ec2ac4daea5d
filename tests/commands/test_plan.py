"""What `phoenix-ray plan` says, with a cluster and rates that are made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.cluster.autoscaler import START_SECONDS, Cluster
from phoenix_ray.cluster.rates import Cost, Rates
from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.drop_history import append_record
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import ClusterError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source

RATES = Rates("n1", "", 512, 9, Cost(0.001, 0.002), Cost(0.04, 0.04), Cost(0.0002, 0.0002), 0.0, 1e4, 5e3)
CLUSTER = [{"CPU": 4.0}, {"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]
WORDS = ["source.kind=synthetic", "source.max_videos_per_split=50", "model.name=synthetic"]


class Session:
    """A Ray of three nodes."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None: ...

    def cluster(self) -> Cluster:
        return Cluster(self.resources())

    def resources(self) -> dict[str, float]:
        return {"CPU": 10.0, "GPU": 1.0}

    def nodes(self) -> Sequence[dict[str, float]]:
        return CLUSTER


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Give made-up rates instead of measuring; return what was to be measured."""
    asked: list[object] = []

    def measure(settings: object, identity: object, shards: object, plan: object, start_seconds: float) -> Rates:
        assert start_seconds == START_SECONDS
        asked.append(plan)
        return RATES

    monkeypatch.setattr("phoenix_ray.cluster.session.RaySession", Session)
    monkeypatch.setattr("phoenix_ray.cluster.rates.measure_on_a_node", measure)
    return asked


def invoke(output: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["plan", *WORDS, f"output.path={output}", *words])


def test_a_plan_measures_nothing_unless_it_is_asked_to(tmp_path: Path, measured: list[object]) -> None:
    said = invoke(tmp_path / "out").stdout
    assert not measured
    assert "a guess from one core" in said
    assert "Nothing was measured: `phoenix-ray plan --measure`" in said
    assert not (tmp_path / "out").exists()


def test_a_plan_that_measures_says_how_long_what_limits_it_and_what_that_rests_on(
    tmp_path: Path, measured: list[object]
) -> None:
    said = invoke(tmp_path / "out", "--measure").stdout
    assert len(measured) == 1
    for words in (
        "Workers: 10 workers with 1 CPU each on 3 nodes",
        "Measured on n1, one worker alone, 512 frames of 9 videos: decoding 1,000, model 25, rows 5,000 frames/s.",
        "at 237 frames/s (measured on n1): 0.02",
        "node-hours",
        "The limit: model. More workers are faster",
        "read 2.4 MB/s and write 1.2 MB/s",
        "It rests on these frames alone.",
    ):
        assert words in said
    assert not (tmp_path / "out").exists()


def test_the_plan_of_a_share_is_that_of_its_videos(tmp_path: Path, measured: list[object]) -> None:
    whole = json.loads(invoke(tmp_path, "--json").stdout)
    shares = [json.loads(invoke(tmp_path, "--json", f"run.share={index}/3").stdout) for index in range(3)]
    assert sum(share["videos"] for share in shares) == whole["videos"] == 50
    assert sum(share["missing_frames"] for share in shares) == whole["missing_frames"]


def test_dropped_videos_are_counted_and_left_out(tmp_path: Path, measured: list[object]) -> None:
    whole = json.loads(invoke(tmp_path, "--json").stdout)
    settings = SourceSettings(kind="synthetic", max_videos_per_split=50)
    first = next(iter(open_source(settings).videos()))
    signer = open_source(settings).videos()
    others = {
        video.video_id for video in signer if isinstance(video, Video) and video.annotation["signer"] == "Signer03"
    }
    append_record(LocalStorage(str(tmp_path)), "drop", {(first.split, first.video_id): ""}, ["Signer03"])
    done = invoke(tmp_path, "--json")
    tree, dropped = json.loads(done.stdout), len(others | {first.video_id})
    assert (tree["dropped"], tree["videos"]) == (dropped, whole["videos"] - dropped)
    assert f"{dropped} videos of the source left out: dropped from this dataset for good." in done.stderr


def test_json_has_the_plan_the_estimate_and_the_rates(tmp_path: Path, measured: list[object]) -> None:
    done = invoke(tmp_path, "--json", "--measure", "cluster.num_workers=40")
    tree = json.loads(done.stdout)
    assert "Trying a worker" in done.stderr
    assert (tree["videos"], tree["problems"], tree["splits"]["all"]["shards"]) == (50, 0, tree["shards"])
    estimate = tree["estimate"]
    assert (estimate["workers"], estimate["workers_wanted"], estimate["nodes"]) == (10, 40, 3)
    assert estimate["limit"] == "model"
    assert estimate["seconds"] == pytest.approx(tree["missing_frames"] / estimate["frames_per_second"], rel=0.01)
    assert estimate["node_hours"] == pytest.approx(3 * estimate["seconds"] / 3600)
    assert estimate["rates"]["model"] == {"seconds": 0.04, "cpu_seconds": 0.04}
    assert estimate["output_bytes"] == 5_000 * tree["missing_frames"]


def test_where_nothing_is_left_there_is_no_estimate(
    tmp_path: Path, measured: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoenix_ray.dataset.shards.CommittedFrames.missing_ranges", lambda *_: [])
    tree = json.loads(invoke(tmp_path, "--json", "--measure").stdout)
    assert tree["estimate"] is None
    assert not measured


def test_a_cluster_without_room_ends_the_measurement_with_the_way_out(
    tmp_path: Path, measured: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Rates:
        raise ClusterError("Nothing was measured: no node had room.")

    monkeypatch.setattr("phoenix_ray.cluster.rates.measure_on_a_node", refuse)
    assert invoke(tmp_path, "--measure").exit_code == 7
