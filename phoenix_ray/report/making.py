"""The sections of a report about how a dataset was made: identity, digest, versions, runs, and where the time went."""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_ray.models.provenance import describe_mixture
from phoenix_ray.report.charts import bar_plot, figure, legend_of
from phoenix_ray.report.findings import DatasetRecord
from phoenix_ray.report.markup import ABSENT, Element, Node, brief, definitions, element, more, note, table
from phoenix_ray.report.runs import PHASES, RecordedRun

RUNS_SHOWN = 8
NODES_SHOWN = 16
_HOUR = 3600
# Characters of a setting or a list of versions; a dataset may come from anywhere.
_LONGEST = 2_000


def making_section(record: DatasetRecord) -> Element:
    """Return what decides the numbers of a dataset, and its runs."""
    identity, history = record.identity, record.history
    ended = next((run for run in history.runs if run.ended), None)
    versions = ", ".join(f"{name} {version}" for name, version in ended.versions.items()) if ended else ""
    settings = {name: value for name, value in sorted(identity.model.items()) if not name.startswith("weights.")}
    weights = {name: value for name, value in sorted(identity.model.items()) if name.startswith("weights.")}
    kernels = [
        f"{frames:,} frames: {line}" for line, frames in sorted(record.kernels.items(), key=lambda pair: -pair[1])
    ]
    return element(
        "section",
        element("h2", "How it was made"),
        definitions(
            [
                ("landmark digest", element("code", record.digest)),
                ("fingerprint of the settings", element("code", identity.fingerprint)),
                ("settings", brief(", ".join(f"{name}={value}" for name, value in settings.items()), _LONGEST)),
                (
                    "weights (sha256)",
                    brief(", ".join(f"{name[8:]} {value[:12]}" for name, value in weights.items()), _LONGEST),
                ),
                ("signatures of the source", identity.signature),
                ("versions of the last run", brief(versions, _LONGEST)),
                (
                    "computed with",
                    element("span", *(element("div", brief(line, _LONGEST)) for line in kernels[:NODES_SHOWN]))
                    if kernels
                    else None,
                ),
            ]
        ),
        note("Datasets with the same digest hold the same landmarks, bit for bit."),
        *(note(line.strip()) for line in describe_mixture(record.kernels)[:1]),
        *_runs(record),
    )


def _runs(record: DatasetRecord) -> Iterator[Node]:
    history = record.history
    yield element("h3", "Runs")
    if not history.runs:
        yield note("No run has left a record.")
        return
    rows = (
        [
            brief(run.run_id),
            run.began or ABSENT,
            run.state if run.ended else f"{run.state}, no summary yet",
            f"{run.frames_computed:,}",
            duration(run.seconds) if run.ended else ABSENT,
            f"{run.frames_computed / run.compute_seconds:,.1f}" if run.compute_seconds else ABSENT,
            f"{run.workers:,}" if run.workers else ABSENT,
            f"{run.failures:,}" if run.ended else ABSENT,
            f"{run.peak_memory_mb:,.0f}" if run.peak_memory_mb else ABSENT,
        ]
        for run in history.runs[:RUNS_SHOWN]
    )
    headings = ["run", "began", "state", "frames computed", "time", "frames/s", "workers", "failures"]
    yield table([*headings, "MB of a worker, most"], rows, texts=(0, 1, 2))
    shown = min(RUNS_SHOWN, len(history.runs))
    yield more(shown, len(history.runs) + history.older, "run")


def time_section(record: DatasetRecord) -> Element:
    """Return what workers spent their time on, by run and by node; a sentence where that is not recorded."""
    heading = element("h2", "Where the time went")
    timed = [run for run in record.history.runs if run.timings.shares()]
    if not timed:
        remark = "A run records it at its end" if record.history.at_work else "No run here has recorded it"
        return element("section", heading, note(f"{remark}."))
    remark = f" Shown are {RUNS_SHOWN} of {len(timed):,} runs." if len(timed) > RUNS_SHOWN else ""
    plots = [
        figure(
            "Workers' time by run",
            "What the workers of a run spent their time on. Inference should be nearly all of it: much decode asks for "
            "more decoding threads or faster storage, much write for faster storage of the output, much idle for fewer "
            f"workers or smaller shards.{remark}",
            bar_plot(
                "share of the workers' time, in %",
                [(run.began or run.run_id, _pieces(run.timings.shares())) for run in timed[:RUNS_SHOWN]],
            ),
            legend_of({f"phase-{phase}": phase for phase in PHASES}),
        )
    ]
    if nodes := {name: seconds.shares() for name, seconds in sorted(timed[0].nodes.items()) if seconds.shares()}:
        plots.append(_nodes(timed[0], nodes))
    return element("section", heading, element("div", *plots, class_="plots"))


def _nodes(run: RecordedRun, nodes: dict[str, dict[str, float]]) -> Element:
    rows = [(brief(name) or "not known", _pieces(shares)) for name, shares in list(nodes.items())[:NODES_SHOWN]]
    remark = f" Shown are {NODES_SHOWN} of {len(nodes):,} nodes." if len(nodes) > NODES_SHOWN else ""
    return figure(
        f"Workers' time by node, run of {run.began or run.run_id}",
        "The same for each machine of the newest run. A node that waits longer for decoded frames than the others has "
        f"slower storage or busy cores.{remark}",
        bar_plot("share of the workers' time, in %", rows),
        legend_of({f"phase-{phase}": phase for phase in PHASES}),
    )


def _pieces(shares: dict[str, float]) -> list[tuple[str, float]]:
    return [(f"phase-{phase}", share) for phase, share in shares.items()]


def duration(seconds: float) -> str:
    """Return a time for people: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // 60:02} min"
