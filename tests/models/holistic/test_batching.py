from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import ModelSettings
from phoenix_ray.models.holistic.batching import SIZES_OF_BATCHES, batch_size, padded_count


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
