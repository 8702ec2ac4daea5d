"""The bars of `benchmarks.gpu` with what limits each, and its page. The suite `gpu` takes tables and bars from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu_results import Chapter, GpuResults, Limits, Rate, Work
from benchmarks.table import Table

# Frames of PHOENIX-2014-T, for the time that a whole dataset would take.
PHOENIX_FRAMES = 947_756
# Lines that the page has for what was left out of one measurement for one reason.
MOST_LINES = 8

BARS, RATES, LANDMARKS, VERDICTS = "Bars", "Frames per second", "Landmarks against the CPU engine", "Landmarks, judged"
ROOFLINE, STAGES = "The device's limits", "Networks against the roofline"
SUMS, OUT_OF_ORDER, QUOTIENTS, PROFILE = "Order of sums", "Sums out of order", "Quotients", "Kernels of a batch"
COMPILATION = "Compilation"
_ORDER = (
    *(BARS, VERDICTS, RATES, ROOFLINE, STAGES, LANDMARKS, SUMS, OUT_OF_ORDER, QUOTIENTS, PROFILE),
    COMPILATION,
)


@dataclass(frozen=True, slots=True)
class DeviceBars:
    """Frames per second that a device with 16 cores should reach with batches of the best size.

    Attributes:
        networks: The networks alone, in 'exact'.
        end_to_end: From bytes of PNG files to landmarks in memory, in 'exact'.
        half_networks: The networks alone, in 'fp16'.
        tracking: The pipeline in tracking mode, as a share of the static pipeline with batches of the same size.
    """

    networks: float
    end_to_end: float
    half_networks: float
    tracking: float = 0.9


# Part of a device's name → its bars. They follow from counts, beside copies of 4.3 and 3.0 TB/s and a third to a half
# of 67 TFLOP/s; all other devices have only the bars of landmarks.
DEVICE_BARS = {
    "H200": DeviceBars(networks=8_000, end_to_end=6_000, half_networks=12_000),
    "H100": DeviceBars(networks=6_000, end_to_end=5_000, half_networks=12_000),
}


@dataclass(frozen=True, slots=True)
class SpeedBar:
    """A speed that the device should reach, the speed it reached, and what limits it."""

    name: str
    wanted: float
    found: float
    limited_by: str

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table of bars."""
        is_share = self.wanted < 1
        wanted, found = (
            f"{value:.2f} x static" if is_share else f"{value:,.0f} frames/s" for value in (self.wanted, self.found)
        )
        return self.name, wanted, found, "yes" if self.found >= self.wanted else "no", self.limited_by


def device_bars(device: str) -> DeviceBars | None:
    """Return the bars on speed of a device by its name, None where it has none."""
    return next((bars for name, bars in DEVICE_BARS.items() if name in device), None)


def speed_bars(results: GpuResults) -> Iterator[SpeedBar]:
    """Yield the bars on speeds that were measured, of a device that has them."""
    bars = device_bars(results.conditions.device) if results.conditions else None
    limits = results.limits
    if bars is None or limits is None:
        return
    rates = results.rates
    for precision, wanted in (("exact", bars.networks), ("fp16", bars.half_networks)):
        measured = [rate for rate in rates if rate.precision == precision and rate.best_networks]
        if measured:
            best = max(measured, key=lambda rate: rate.best_networks or 0)
            yield SpeedBar(f"{precision}, networks", wanted, best.best_networks or 0, limit_of_networks(best, limits))
    exact = [rate for rate in rates if rate.precision == "exact"]
    if ended := [rate for rate in exact if rate.end_to_end]:
        best = max(ended, key=lambda rate: rate.end_to_end or 0)
        limit = limit_of_end_to_end(best, limits, results.data.get("frame_bytes", 0))
        yield SpeedBar("exact, end to end", bars.end_to_end, best.end_to_end or 0, limit)
    if tracked := [rate for rate in exact if rate.tracking and rate.pipeline]:
        best = max(tracked, key=lambda rate: (rate.tracking or 0) / (rate.pipeline or 1))
        limit = limit_of_work(best.pipeline_work, limits, best, limits.launch)
        yield SpeedBar("exact, tracking", bars.tracking, (best.tracking or 0) / (best.pipeline or 1), limit)


def limit_of_networks(rate: Rate, limits: Limits) -> str:
    """Return what limits the networks alone: operations, bytes or launches, whichever takes longest."""
    is_replayed = limits.node is not None and rate.replayed is not None and rate.replayed == rate.best_networks
    return limit_of_work(rate.network_work, limits, rate, limits.node if is_replayed and limits.node else limits.launch)


def limit_of_work(work: Work | None, limits: Limits, rate: Rate, launch: float) -> str:
    """Return what limits some work at the measured limits, with the times of a frame.

    Args:
        work: Its counts; None where they are not known.
        limits: The device's.
        rate: Gives precision and batch size.
        launch: Seconds of a launch, or of a node of a graph.
    """
    if work is None:
        return "not counted"
    seconds = {
        "FLOP": work.operations / limits.operations(rate.precision),
        "bytes": work.bytes_moved / limits.memory,
        "launches": work.launches * launch / rate.batch_size,
    }
    longest = max(seconds, key=lambda name: seconds[name])
    times = ", ".join(f"{name} {1e6 * value:,.1f} µs" for name, value in seconds.items())
    return f"{longest}: at most {1 / seconds[longest]:,.0f} frames/s ({times} a frame)"


def limit_of_end_to_end(rate: Rate, limits: Limits, frame_bytes: float) -> str:
    """Return what limits the way from files to landmarks: decoding cores, the copy to the device, or the pipeline."""
    rates = {"decoding cores": limits.decoding}
    if limits.upload and frame_bytes:
        rates["copies to the device"] = limits.upload / frame_bytes
    if rate.pipeline:
        rates["pipeline"] = rate.pipeline
    slowest = min(rates, key=lambda name: rates[name])
    listed = ", ".join(f"{name} {value:,.0f}" for name, value in rates.items())
    return f"{slowest}: at most {rates[slowest]:,.0f} frames/s ({listed})"


def bars_chapter(results: GpuResults) -> Chapter:
    """Return the table of all bars."""
    device = results.conditions.device if results.conditions else "this device"
    words = (
        "Bars on speed are for this device with 16 cores, batches of the best size and the faster kernels; bars on "
        "landmarks are for any device. A limit is what the counts of bytes, operations and launches need at the rates "
        "measured in the same call."
        if device_bars(device)
        else f"There are no bars on speed for {device}; bars on landmarks are for any device."
    )
    rows = [*_landmark_bars(results), *(bar.cells() for bar in speed_bars(results))]
    return Chapter(BARS, words, Table(("what", "bar", "found", "met", "limited by"), rows))


def exact_landmarks(results: GpuResults) -> dict[str, dict[str, Any]]:
    """Return the name of each case → its comparison in 'exact' with the kernels that users get."""
    found: dict[str, dict[str, Any]] = {}
    for compared in results.data.get("parity", []):
        if compared["precision"] == "exact":
            found.setdefault(compared["case"], compared)
    return found


def _landmark_bars(results: GpuResults) -> Iterator[tuple[str, ...]]:
    for case, compared in exact_landmarks(results).items():
        missed = compared["report"]["failures"]
        met = "no" if missed else "yes"
        shown = " ".join(missed) or "all met"
        yield f"exact, landmarks, {case}", "those of docs/parity.md", shown, met, f"the order of sums ({SUMS})"


def roofline_chapter(limits: Limits) -> Chapter:
    """Return the table of the device's limits."""
    rows = [("a copy within the device's memory", f"{limits.memory / 1e9:,.0f} GB/s")]
    if limits.multiply_adds:
        rows.append(("float32 multiply-adds without tensor cores", f"{limits.multiply_adds / 1e12:,.2f} TFLOP/s"))
    rows += [
        (f"a matrix product, {precision}", f"{rate / 1e12:,.2f} TFLOP/s") for precision, rate in limits.products.items()
    ]
    rows.append(("a launch from Python", f"{1e6 * limits.launch:,.2f} µs"))
    if limits.node:
        rows.append(("a node of a captured graph", f"{1e6 * limits.node:,.2f} µs"))
    if limits.upload:
        rows.append(("a copy from page-locked memory to the device", f"{limits.upload / 1e9:,.1f} GB/s"))
    rows.append(("decoding on all threads", f"{limits.decoding:,.0f} pictures/s"))
    return Chapter(ROOFLINE, "Measured in the same call as the rates.", Table(("what", "rate"), rows))


def rates_chapter(rates: list[Rate]) -> Chapter:
    """Return the table of frames per second."""
    case, networks = ("kernels", "precision", "batch"), ("networks", "as a graph")
    head = (*case, *networks, "on the device", "as a graph", "pipeline", "tracking", "end to end")
    return Chapter(
        RATES,
        "Networks: on crops that lie on the device, started one by one and as a captured graph. On the device: from "
        "frames to landmarks that lie there, in both ways. Pipeline: from frames in memory to landmarks in memory. "
        "Tracking: the same in tracking mode, one frame of each of as many videos. End to end: from bytes of picture "
        "files to landmarks in memory, decoding the next batch meanwhile.",
        Table((*head, "PHOENIX-2014-T", "GPU MB"), [_rate_cells(rate) for rate in rates]),
    )


def _rate_cells(rate: Rate) -> tuple[str, ...]:
    def show(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

    whole = "" if rate.end_to_end is None else f"{PHOENIX_FRAMES / rate.end_to_end:,.0f} s"
    on_device = (rate.networks, rate.replayed, rate.started, rate.started_replayed)
    rates = (*on_device, rate.pipeline, rate.tracking, rate.end_to_end)
    return rate.kernels, rate.precision, str(rate.batch_size), *map(show, rates), whole, show(rate.memory_mb)


def to_markdown(results: GpuResults) -> str:
    """Return the results as a page of Markdown."""
    lines = ["# Holistic on a device"]
    if results.conditions is not None:
        machine = results.conditions.machine
        lines = [
            f"# Holistic in torch on {results.conditions.device}",
            "",
            f"{results.conditions.date}. {machine.processor}, {machine.cores} cores, "
            f"{results.conditions.instructions}, load {machine.load} before the start. {results.conditions}.",
        ]
    for chapter in [bars_chapter(results), *in_order([given for given in results.chapters if given.table.rows])]:
        lines += ["", f"## {chapter.title}", "", chapter.words, "", *chapter.table.lines()]
    if results.left_out:
        lines += ["", "## Left out", "", *(f"- {reason}" for reason in _gathered(results.left_out))]
    return "\n".join(lines) + "\n"


def _gathered(left_out: Sequence[str]) -> Iterator[str]:
    """Yield what was left out; of a measurement of many shapes that lack the same, one line for all of them."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for line in left_out:
        measurement, _, rest = line.partition(": ")
        gathered.setdefault((measurement, rest.rpartition(": ")[2]), []).append(line)
    for (measurement, reason), lines in gathered.items():
        yield from lines if len(lines) <= MOST_LINES else [f"{measurement}: {len(lines)} shapes: {reason}"]


def in_order(chapters: list[Chapter]) -> list[Chapter]:
    """Return chapters as the page has them."""
    return sorted(chapters, key=lambda chapter: _ORDER.index(chapter.title))
