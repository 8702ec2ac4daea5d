from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.forecast import Fleet, Limit, Speed, Workload, find_fleet, find_speed, make_forecast
from phoenix_ray.cluster.rates import Cost, Rates
from phoenix_ray.cluster.worker_plan import WorkerPlan

# A core that takes 40 ms for a frame in the model, 1 ms to decode it and 0.25 ms to encode its row.
RATES = Rates(
    node="n1",
    kernels="",
    frames=100,
    videos=10,
    decode=Cost(0.001, 0.002),
    model=Cost(0.04, 0.04),
    rows=Cost(0.00025, 0.00025),
    chain_seconds=0.0,
    read_bytes=1e4,
    written_bytes=5e3,
)
CPUS = Fleet(workers=8, nodes=2, cpus=8, gpus=0)
GPUS = Fleet(workers=2, nodes=2, cpus=32, gpus=2)
ON_GPU = replace(RATES, model=Cost(0.0005, 0.0005))


def limit_of(rates: Rates, fleet: Fleet, threads: int = 2, in_flight: int = 2) -> Limit:
    return find_speed(rates, fleet, threads, in_flight).limit


def test_workers_on_cores_share_them_with_decoding_and_rows() -> None:
    speed = find_speed(RATES, CPUS, decode_threads=2, shards_in_flight=2)
    assert speed.frames_per_second == pytest.approx(1 / 0.04225)
    assert speed.limit == "model"
    assert speed.basis == "measured on n1"
    # Cores to spare let them go on beside the model.
    assert find_speed(RATES, replace(CPUS, cpus=16), 2, 2).frames_per_second == pytest.approx(25)


@pytest.mark.parametrize(
    ("rates", "fleet", "limit"),
    [
        (ON_GPU, replace(GPUS, cpus=64), "decoding"),
        (replace(ON_GPU, decode=Cost(0.001, 0.0002)), replace(GPUS, cpus=64), "storage"),
        (replace(ON_GPU, decode=Cost(0.0001, 0.0001)), GPUS, "model"),
        (replace(ON_GPU, decode=Cost(0.0001, 0.0001), rows=Cost(0.002, 0.002)), replace(GPUS, cpus=64), "rows"),
        (ON_GPU, replace(GPUS, cpus=4), "cores"),
        (replace(RATES, decode=Cost(0.05, 0.05)), CPUS, "decoding"),
        (replace(RATES, decode=Cost(0.5, 0.01)), CPUS, "storage"),
    ],
)
def test_the_slowest_step_is_the_limit(rates: Rates, fleet: Fleet, limit: Limit) -> None:
    assert limit_of(rates, fleet) == limit


def test_more_shards_in_flight_encode_rows_at_the_same_time() -> None:
    rates = replace(ON_GPU, decode=Cost(0.0001, 0.0001), rows=Cost(0.001, 0.001))
    fleet = replace(GPUS, cpus=64)
    assert limit_of(rates, fleet, in_flight=2) == "rows"
    assert limit_of(rates, fleet, in_flight=4) == "model"


def test_hours_are_those_of_all_nodes_and_gpus() -> None:
    speed = Speed(10.0, "model", "")
    forecast = make_forecast(Workload(72_000, 1000, 100, tracks=False), GPUS, speed)
    assert (forecast.seconds, forecast.frames_per_second) == (3600, 20)
    assert (forecast.node_hours, forecast.gpu_hours) == (2, 2)
    assert forecast.limit == "model"
    assert "--num-workers" in forecast.advice


def test_a_long_video_bounds_a_run_that_tracks() -> None:
    speed = Speed(10.0, "model", "", chain_frames_per_second=5.0)
    forecast = make_forecast(Workload(8_000, 100, 4_000, tracks=True), CPUS, speed)
    assert forecast.seconds == 800
    assert forecast.limit == "longest video"
    assert forecast.useful_workers == 1
    assert make_forecast(Workload(80_000, 100, 4_000, tracks=True), CPUS, speed).limit == "model"


def test_workers_without_a_shard_do_not_count() -> None:
    forecast = make_forecast(Workload(300, 3, 100, tracks=False), CPUS, Speed(10.0, "model", ""))
    assert (forecast.seconds, forecast.frames_per_second, forecast.limit) == (10, 30, "few shards")
    assert "cluster.shard_frames" in forecast.advice
    assert forecast.useful_workers == 3


def test_nodes_hold_whole_workers() -> None:
    plan = WorkerPlan(count=10, cpus=4, gpus=0.5, memory_mb=0)
    nodes = [{"CPU": 6.0, "GPU": 4.0}, {"CPU": 64.0}, {"CPU": 16.0, "GPU": 1.0}, {}]
    assert find_fleet(plan, nodes) == Fleet(workers=3, nodes=2, cpus=22, gpus=1.5)
    assert find_fleet(replace(plan, count=1), nodes) == Fleet(workers=1, nodes=1, cpus=6, gpus=0.5)


def test_nodes_that_have_yet_to_come_are_like_the_largest_or_hold_one_worker_each() -> None:
    plan = WorkerPlan(count=7, cpus=1, gpus=0, memory_mb=0)
    assert find_fleet(plan, [{"CPU": 0.0}], brings_nodes=True) == Fleet(7, nodes=7, cpus=7, gpus=0, awaited_nodes=7)
    assert find_fleet(plan, [{"CPU": 2.0}], brings_nodes=True) == Fleet(7, nodes=4, cpus=8, gpus=0, awaited_nodes=3)
    assert find_fleet(plan, [{"CPU": 2.0}]) == Fleet(2, nodes=1, cpus=2, gpus=0)


SECONDS = st.floats(1e-5, 10)
COSTS = st.builds(Cost, SECONDS, SECONDS)


@given(
    st.builds(replace, st.just(RATES), decode=COSTS, model=COSTS, rows=COSTS),
    st.builds(Fleet, st.integers(1, 1000), st.integers(1, 100), st.floats(1, 1e4), st.floats(0, 100)),
    st.integers(1, 10**6),
    st.integers(1, 1000),
    st.booleans(),
)
def test_no_step_is_faster_than_it_was_measured(
    rates: Rates, fleet: Fleet, frames: int, pieces: int, tracks: bool
) -> None:
    speed = find_speed(rates, fleet, 2, 2)
    for cost in (rates.decode, rates.model, rates.rows):
        assert speed.frames_per_second * cost.seconds <= 1.0001
    cpu = rates.decode.cpu_seconds + rates.model.cpu_seconds + rates.rows.cpu_seconds
    assert speed.frames_per_second * cpu * fleet.workers <= 1.0001 * fleet.cpus
    pieces = min(pieces, frames)
    longest = -(-frames // pieces)
    forecast = make_forecast(Workload(frames, pieces, longest, tracks), fleet, speed)
    assert forecast.seconds * speed.frames_per_second >= 0.9999 * max(longest, frames / fleet.workers)
    more = make_forecast(Workload(frames, pieces, longest, tracks), replace(fleet, workers=2 * fleet.workers), speed)
    assert more.seconds <= forecast.seconds
