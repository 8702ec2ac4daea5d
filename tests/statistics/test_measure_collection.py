from __future__ import annotations

from dataclasses import replace

import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.statistics.measures import measure_video
from phoenix_ray.statistics.summary import count_only, measure_collection
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video

VIDEOS = tuple(
    replace(make_video(10 + number, {"left_hand": [4, 5], "face": [0]}, number), split=split, video_id=f"v{number}")
    for number, split in enumerate(["dev", "train", "train", "train"])
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("dataset"), VIDEOS)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pass_measures_every_video_in_order_with_any_number_of_threads(dataset: str, threads: int) -> None:
    measured = list(measure_collection(Dataset.open(dataset).select, threads))
    assert [(one.split, one.video_id) for one in measured] == [(one.split, one.video_id) for one in VIDEOS]
    for one, video in zip(measured, VIDEOS, strict=True):
        expected = measure_video(video)
        assert one.parts["face"].jitter == expected.parts["face"].jitter
        assert one.parts["left_hand"].jerk == expected.parts["left_hand"].jerk
        assert one.parts["left_hand"].gaps == expected.parts["left_hand"].gaps


def test_the_table_of_videos_gives_the_same_counts_as_the_pass(dataset: str) -> None:
    opened = Dataset.open(dataset)
    for quick, slow in zip(count_only(opened), measure_collection(opened.select, 1), strict=True):
        assert (quick.split, quick.video_id, quick.frames) == (slow.split, slow.video_id, slow.frames)
        assert (quick.statuses, quick.signer) == (slow.statuses, slow.signer)
        assert {part: quick.rate(part) for part in quick.parts} == {part: slow.rate(part) for part in slow.parts}
