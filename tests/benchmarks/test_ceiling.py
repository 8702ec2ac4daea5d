from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ceiling import NETWORKS, Ceiling, count_operations, measure_ceiling

CEILING = Ceiling(gigaflops=100.0, gigabytes=10.0, operations={"pose_detection": 0.86e9, "hand_landmark": 0.58e9})


def test_a_core_multiplies_and_copies() -> None:
    ceiling = measure_ceiling()
    assert ceiling.gigaflops > 0.1
    assert ceiling.gigabytes > 0.1


def test_the_least_time_is_operations_over_the_rate() -> None:
    assert CEILING.least_ms("pose_detection", 1) == pytest.approx(8.6)
    assert CEILING.least_ms("hand_landmark", 2) == pytest.approx(11.6)


@given(st.dictionaries(st.sampled_from(NETWORKS), st.floats(0.1, 1e4)))
def test_no_network_exceeds_the_ceiling(rates: dict[str, float]) -> None:
    ceiling = CEILING.raised(rates)
    assert ceiling.gigaflops == max(CEILING.gigaflops, *rates.values(), 0)
    assert (ceiling.set_by in rates) == (ceiling.gigaflops > CEILING.gigaflops)


def test_the_ceiling_names_what_gave_it() -> None:
    assert CEILING.raised({"pose_detection": 99.0}).source == "a float32 matrix product"
    assert CEILING.raised({"pose_detection": 130.0}).source == "the network pose_detection"


def test_operations_are_those_of_the_networks_without_dead_channels() -> None:
    """Counted in the networks' graphs by hand: 3.06 GFLOP a frame, of which the hands' dead channels are 0.15."""
    operations = count_operations()
    assert tuple(operations) == NETWORKS
    frame = sum(operations.values()) + operations["hand_recrop"] + operations["hand_landmark"]
    assert frame == pytest.approx(2.90e9, rel=0.01)


def test_networks_without_dead_channels_have_the_operations_that_torch_counts() -> None:
    pytest.importorskip("torch")
    from benchmarks.gpu_measure import count_work
    from phoenix_ray.models.weights import ensure_installed

    counted = count_work(ensure_installed(), 468, "tf32")
    for name, operations in count_operations().items():
        if not name.startswith("hand"):
            assert operations == pytest.approx(counted[name].operations, rel=0.01)
