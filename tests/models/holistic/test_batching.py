from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.holistic.batching import (
    LEAST_TRIED,
    MOST_TRIED,
    NEARLY_BEST,
    SIZES_OF_BATCHES,
    BatchRate,
    batch_size,
    choose_batch,
    is_worth_growing,
    memory_for_a_worker,
    padded_count,
    sizes_to_try,
)

GIGABYTE = 2.0**30
some_rates = st.lists(
    st.builds(BatchRate, st.integers(1, 512), st.floats(1, 20_000), st.integers(0, 100)),
    min_size=1,
    max_size=6,
    unique_by=lambda rate: rate.batch_size,
)


def test_the_batch_size_is_the_setting_or_that_of_the_device_or_one() -> None:
    assert batch_size(ModelSettings(batch_size=5)) == 5
    assert batch_size(ModelSettings(device="cuda")) == batch_size(ModelSettings()) == 128
    assert batch_size(ModelSettings(device="cpu")) == 8
    assert batch_size(ModelSettings(batch_size=5, enable_batching=False)) == 1


@given(size=st.integers(1, 300), data=st.data())
def test_batches_are_padded_to_few_sizes_and_by_little(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size))
    padded = padded_count(count, size)
    assert 0 <= padded - count < max(1, size / SIZES_OF_BATCHES)
    assert len({padded_count(other, size) for other in range(1, size + 1)}) <= 2 * SIZES_OF_BATCHES


@given(rates=some_rates, limit=st.integers(0, 100))
def test_the_chosen_size_is_the_smallest_that_fits_and_is_nearly_the_fastest(
    rates: list[BatchRate], limit: int
) -> None:
    fitting = [rate for rate in rates if rate.peak_bytes <= limit]
    chosen = choose_batch(rates, limit)
    if chosen is None:
        assert fitting == []
        return
    assert chosen in fitting
    nearly_best = NEARLY_BEST * max(rate.rate for rate in fitting)
    assert chosen.rate >= nearly_best
    assert all(rate.rate < nearly_best for rate in fitting if rate.batch_size < chosen.batch_size)


@given(rates=some_rates, limit=st.integers(0, 100), data=st.data())
def test_the_order_of_rates_and_what_does_not_fit_change_nothing(
    rates: list[BatchRate], limit: int, data: st.DataObject
) -> None:
    too_large = BatchRate(1024, 1e9, limit + 1)
    shuffled = data.draw(st.permutations([*rates, too_large]))
    assert choose_batch(shuffled, limit) == choose_batch(rates, limit)


def test_a_larger_batch_must_be_more_than_three_percent_faster() -> None:
    small = BatchRate(32, 1000, 0)
    assert choose_batch([small, BatchRate(64, 1029, 0)], 0) == small
    assert choose_batch([small, BatchRate(64, 1035, 0)], 0) == BatchRate(64, 1035, 0)


def test_growing_ends_where_the_rate_no_longer_rises_or_memory_is_full() -> None:
    small, level, faster = BatchRate(8, 1000, 10), BatchRate(16, 1010, 20), BatchRate(16, 1900, 20)
    assert is_worth_growing([small], 100)
    assert is_worth_growing([small, faster], 100)
    assert not is_worth_growing([small, level], 100)
    assert not is_worth_growing([small, faster], 19)


@given(frames=st.integers(1, 100_000))
def test_sizes_grow_to_the_first_that_takes_a_video_whole_and_none_is_padded(frames: int) -> None:
    sizes = sizes_to_try(frames)
    assert sizes == [sizes[0] * 2**step for step in range(len(sizes))]
    assert LEAST_TRIED <= sizes[0] <= sizes[-1] <= MOST_TRIED
    assert len(sizes) <= 5
    assert sizes[-1] >= min(frames, MOST_TRIED)
    assert all(size < frames for size in sizes[:-1])
    assert all(padded_count(size, sizes[-1]) == size for size in sizes)


def test_a_typical_phoenix_video_goes_through_whole() -> None:
    assert sizes_to_try(116) == [8, 16, 32, 64, 128]


def test_workers_share_what_is_free_within_their_fraction_of_all() -> None:
    assert memory_for_a_worker(80 * GIGABYTE, 100 * GIGABYTE, 1.0, workers=2) == 36 * GIGABYTE
    assert memory_for_a_worker(80 * GIGABYTE, 100 * GIGABYTE, 0.25, workers=2) == 22.5 * GIGABYTE
