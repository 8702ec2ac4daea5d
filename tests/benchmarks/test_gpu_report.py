from __future__ import annotations

from dataclasses import asdict, replace

from benchmarks.gpu_report import bars_chapter, rates_chapter, roofline_chapter, speed_bars, to_markdown
from benchmarks.gpu_results import Chapter, Conditions, GpuResults, Limits, Rate, Work
from benchmarks.machine import Machine
from benchmarks.table import Table

LIMITS = Limits(
    memory=4e12,
    products={"exact": 4e13, "fp16": 4e14},
    multiply_adds=5e13,
    launch=5e-6,
    node=1e-6,
    upload=5e10,
    decoding=12_000,
)
WORK = Work(operations=3e9, bytes_moved=2.8e8, launches=400)
RATES = [
    Rate(
        "triton",
        "exact",
        128,
        5_000,
        9_000,
        5_500,
        7_000,
        6_500,
        end_to_end=6_000,
        tracking=4_000,
        memory_mb=900,
        network_work=WORK,
        pipeline_work=WORK,
    ),
    Rate(
        "torch",
        "exact",
        128,
        2_500,
        2_600,
        pipeline=2_000,
        end_to_end=1_800,
        tracking=1_900,
        memory_mb=900,
        network_work=WORK,
        pipeline_work=WORK,
    ),
    Rate(
        "triton",
        "fp16",
        256,
        10_000,
        None,
        pipeline=9_000,
        end_to_end=11_000,
        network_work=replace(WORK, launches=40_000),
    ),
]


def make_results(device: str) -> GpuResults:
    conditions = Conditions(
        date="2026-01-01",
        machine=Machine("Imaginary CPU", 16, "Linux", 0.1),
        instructions="AVX-512",
        device=device,
        versions={"torch": "2.11.0"},
        environment={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        commit="abc",
        frames="2 frames (210x260)",
        threads=16,
    )
    parity = [
        {"case": "static-468", "precision": precision, "kernels": kernels, "report": {"failures": failures}}
        for kernels, precision, failures in (
            ("triton", "exact", []),
            ("torch", "exact", ["pose: mean 0.1 px."]),
            ("triton", "fp16", ["pose: mean 0.2 px."]),
        )
    ]
    data = {
        "limits": asdict(LIMITS),
        "rates": [asdict(rate) for rate in RATES],
        "frame_bytes": 163_800.0,
        "parity": parity,
    }
    chapters = [rates_chapter(RATES), roofline_chapter(LIMITS)]
    return GpuResults(conditions, chapters, data, ["profile, torch: time was up"])


def test_bars_are_those_of_the_device() -> None:
    bars = {
        device: [(bar.name, bar.wanted, bar.found) for bar in speed_bars(make_results(f"NVIDIA {device} (80 GB)"))]
        for device in ("H200", "H100 80GB HBM3", "T4")
    }
    found = [("exact, networks", 9_000), ("fp16, networks", 10_000), ("exact, end to end", 6_000)]
    wanted = {"H200": (8_000, 12_000, 6_000), "H100 80GB HBM3": (6_000, 12_000, 5_000)}
    for device, limits in wanted.items():
        assert bars[device][:3] == [(name, bar, rate) for (name, rate), bar in zip(found, limits, strict=True)]
        # The better of both kernels' ratios.
        assert bars[device][3] == ("exact, tracking", 0.9, 1_900 / 2_000)
    assert bars["T4"] == []


def test_each_bar_says_what_limits_it() -> None:
    limited = {bar.name: bar.limited_by for bar in speed_bars(make_results("NVIDIA H200 (140 GB)"))}
    # 280 MB at 4 TB/s; 3 GFLOP at 50 TFLOP/s; 400 nodes of 1 µs for 128 frames, since the graph was faster.
    assert limited["exact, networks"] == (
        "bytes: at most 14,286 frames/s (FLOP 60.0 µs, bytes 70.0 µs, launches 3.1 µs a frame)"
    )
    # Not captured: 40,000 launches of 5 µs for 256 frames. Half precision multiplies on other units.
    assert limited["fp16, networks"] == (
        "launches: at most 1,280 frames/s (FLOP 7.5 µs, bytes 70.0 µs, launches 781.2 µs a frame)"
    )
    assert limited["exact, end to end"] == (
        "pipeline: at most 6,500 frames/s (decoding cores 12,000, copies to the device 305,250, pipeline 6,500)"
    )


def test_landmarks_have_bars_on_any_device_for_the_kernels_that_users_get() -> None:
    chapter = bars_chapter(make_results("NVIDIA T4 (15 GB)"))
    assert [row[:4] for row in chapter.table.rows] == [
        ("exact, landmarks, static-468", "those of docs/parity.md", "all met", "yes")
    ]
    assert "no bars on speed for NVIDIA T4 (15 GB)" in chapter.words


def test_the_page_has_the_conditions_and_what_was_left_out() -> None:
    page = to_markdown(make_results("NVIDIA H200 (140 GB)"))
    assert page.startswith("# Holistic in torch on NVIDIA H200 (140 GB)\n")
    assert "Imaginary CPU, 16 cores, AVX-512, load 0.1 before the start. torch 2.11.0. 2 frames (210x260)" in page
    assert "Environment variables that change products: CUBLAS_WORKSPACE_CONFIG=:4096:8." in page
    assert "| exact, tracking | 0.90 x static | 0.95 x static | yes |" in page
    assert "| triton | exact | 128 | 5,000 | 9,000 | 5,500 | 7,000 | 6,500 | 4,000 | 6,000 | 158 s | 900 |" in page
    assert "| a node of a captured graph | 1.00 µs |" in page
    assert page.endswith("## Left out\n\n- profile, torch: time was up\n")


def test_a_table_replaces_the_one_of_its_title() -> None:
    results = make_results("NVIDIA H200 (140 GB)")
    results.put(Chapter("Frames per second", "New.", Table(("a",), [("1",)])))
    assert [chapter.title for chapter in results.chapters] == ["The device's limits", "Frames per second"]
    assert "New." in to_markdown(results)


def test_the_page_has_no_table_without_rows_and_one_line_for_many_shapes_without_time() -> None:
    results = make_results("NVIDIA H200 (140 GB)")
    results.put(Chapter("Sums out of order", "0 of 0.", Table(("shape",), [])))
    results.left_out[:] = [f"order of sums: shape {number}: time was up" for number in range(60)]
    results.left_out += ["torch, exact: networks: time was up", "torch, exact: tracking: time was up"]
    page = to_markdown(results)
    assert "Sums out of order" not in page
    assert page.endswith(
        "## Left out\n\n- order of sums: 60 shapes: time was up\n"
        "- torch, exact: networks: time was up\n- torch, exact: tracking: time was up\n"
    )
