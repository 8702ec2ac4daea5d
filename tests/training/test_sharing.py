from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.training.sharing import Place, order_videos, rank_from_environment, take_share

VIDEOS = st.integers(0, 200)
COUNTS = st.integers(1, 7)


@given(VIDEOS, COUNTS, COUNTS, st.none() | st.integers(0, 9), st.integers(0, 3))
def test_all_workers_of_all_ranks_read_each_video_once(
    videos: int, ranks: int, workers: int, seed: int | None, epoch: int
) -> None:
    order = order_videos(videos, seed, epoch)
    shares = [
        take_share(order, Place(rank, ranks), Place(worker, workers))
        for rank in range(ranks)
        for worker in range(workers)
    ]
    assert sorted(np.concatenate(shares).tolist()) == list(range(videos))
    assert max(map(len, shares)) - min(map(len, shares)) <= 2


@given(VIDEOS, COUNTS, COUNTS)
def test_equal_ranks_have_workers_with_equal_shares(videos: int, ranks: int, workers: int) -> None:
    order = order_videos(videos, 1, 0)
    sizes = [
        [
            len(take_share(order, Place(rank, ranks), Place(worker, workers), equal_ranks=True))
            for worker in range(workers)
        ]
        for rank in range(ranks)
    ]
    assert all(shares == sizes[0] for shares in sizes)
    assert videos - sum(map(sum, sizes)) < ranks


def test_the_order_changes_with_the_epoch_and_is_the_same_everywhere() -> None:
    orders = {epoch: order_videos(50, 7, epoch).tolist() for epoch in (0, 1)}
    assert orders[0] != orders[1]
    assert orders[0] == order_videos(50, 7, 0).tolist()
    assert order_videos(5, None, 3).tolist() == [0, 1, 2, 3, 4]


def test_a_rank_is_found_in_the_environment() -> None:
    assert rank_from_environment({"RANK": "2", "WORLD_SIZE": "4"}) == Place(2, 4)
    assert rank_from_environment({"RANK": "2"}) == Place(0, 1)


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_place_that_does_not_exist_is_refused(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="count from 0"):
        Place(index, count)
