"""The built-in demo has the committed landmark digests, whatever the processor: one process stands for all workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray import config_files
from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.tally import digest_text, tally_rows
from phoenix_ray.estimation import estimate_frames
from phoenix_ray.models import provenance, registry
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from tests.matrix.demo_digest import differing_videos, read_expected

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.mark.slow
@pytest.mark.skipif(provenance.architecture() != "x86_64", reason="the digests are those of x86-64 with FMA")
def test_the_demo_has_the_committed_digests(weights: Path) -> None:
    settings = config_files.load(DEMO, overrides=["model.engine=litert"])
    model = registry.create(settings.model)
    found = {}
    for video in open_source(settings.source).videos():
        assert isinstance(video, Video)
        frames = read_frames(video, 0, video.frame_count, settings.decode)
        estimate = estimate_frames(model, frames, 0, video.frame_count)
        table = to_table(model.layout, video.split, video.video_id, estimate.records, estimate.rows)
        found[f"{video.split}/{video.video_id}"] = digest_text(tally_rows(model.layout, table).digest)
    model.close()
    assert differing_videos(found, read_expected()) == []
