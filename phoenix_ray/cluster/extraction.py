"""A run as a call from Python, and what it returns: `phoenix_ray.extract`.

The run is that of `phoenix-ray run` (`cluster.job`). This module chooses where progress is shown, and hands back the
result in place of an exit code.
"""

from __future__ import annotations

import html
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_ray.cluster.job import RunResult, compute_dataset
from phoenix_ray.cluster.notebook import is_notebook
from phoenix_ray.cluster.screen import Screen, ScreenKind
from phoenix_ray.cluster.session import handlers_kept
from phoenix_ray.cluster.status import format_seconds
from phoenix_ray.cluster.summary import RunSummary, make_rate_table
from phoenix_ray.config import Settings
from phoenix_ray.dataset.failures import FailureRecord, read_failures
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.tally import total
from phoenix_ray.errors import ConfigError, PhoenixRayError
from phoenix_ray.layouts import Layout

# Characters of an output's name that a representation shows.
_SHOWN = 120


@dataclass(frozen=True, slots=True, repr=False)
class Extraction:
    """What a call of `phoenix_ray.extract` has done, and the dataset that it wrote.

    Attributes:
        state: `finished` (every frame has its row), `incomplete` (some videos or shards failed, see `failures`) or
            `stopped` (by a signal; what is committed is kept).
        output: The dataset's folder or URI.
        counts: Frames of the dataset by status: `ok`, `no_person`, `unreadable`, `failed`; those without a frame are
            left out.
        failures: What is on the dataset's failure list: videos and frames without rows, each with the reason.
        digest: Landmark digest of the dataset: equal datasets have equal digests.
        seconds: Wall time of the call, Ray's start and compaction included.
        frames_computed: Frames that this call has computed; the others were there before.
        frames_per_second: Those per second, from the first worker that was ready to the last frame; 0 if there are
            none.
        lines: How the run ended and what to do next, as `phoenix-ray run` prints it.
        summary: All numbers of the run, as in `summary.json`.
        layout: Parts and points of the landmarks.
    """

    state: str
    output: str
    counts: Mapping[str, int]
    failures: tuple[FailureRecord, ...]
    digest: str
    seconds: float
    frames_computed: int
    frames_per_second: float
    lines: tuple[str, ...]
    summary: RunSummary
    layout: Layout

    @property
    def frames(self) -> int:
        """Frames of the dataset, each with its row."""
        return sum(self.counts.values())

    def open(self) -> Dataset:
        """Open the dataset, as `phoenix_ray.open(extraction.output)` does.

        Raises:
            phoenix_ray.errors.OutputError: There is no dataset, because the call was stopped before it computed.
        """
        return Dataset.open(self.output)

    def __repr__(self) -> str:
        """Return the state, the number of failures, what the dataset holds, and how fast the run was."""
        return f"<Extraction {self._headline()}: {self._content()}>"

    def _repr_html_(self) -> str:
        """Return the same with the rates of each part, for notebooks."""
        colour = "" if self.state == "finished" else ' style="color:#c00000"'
        parts = [f"<b{colour}>{html.escape(self._headline())}</b>: {html.escape(self._content())}"]
        if (table := make_rate_table(self.summary, self.layout)).rows:
            head, *body = [_table_row(table.header, "th"), *(_table_row(row, "td") for row in table.rows)]
            parts.append(
                f"<table><caption>{html.escape(table.title)}</caption><thead>{head}</thead>"
                f"<tbody>{''.join(body)}</tbody></table>"
            )
        if self.frames_computed:
            parts.append(f"<div>{html.escape(self.summary.speed())}</div>")
        if self.state != "finished":
            parts += [f"<div>{html.escape(line)}</div>" for line in self.lines]
        return "".join(parts)

    def _headline(self) -> str:
        if self.state != "incomplete":
            return self.state
        return f"{self.state}, {self.summary.failures:,} failed"

    def _content(self) -> str:
        output = self.output if len(self.output) <= _SHOWN else f"…{self.output[-_SHOWN:]}"
        computed = "nothing to compute"
        if self.frames_computed:
            computed = f"{self.frames_computed:,} computed at {self.frames_per_second:,.1f}/s"
        return f"{self.frames:,} frames in {output}, {computed} ({format_seconds(self.seconds)} in all)"


def _table_row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def require_both_places(settings: Settings) -> None:
    """Refuse settings that lack a source or an output.

    Raises:
        ConfigError: The source or the output is missing.
    """
    usage = "phoenix_ray.extract(SOURCE, OUTPUT)"
    if not settings.source.path and settings.source.kind not in ("sample", "synthetic"):
        raise ConfigError(f"No source is given: {usage}, or config='demo' for the built-in sample.")
    if not settings.output.path:
        raise ConfigError(f"No folder for the dataset is given: {usage}.")


def run_extraction(settings: Settings, *, progress: bool) -> Extraction:
    """Compute what is missing of a dataset and return what was done; `progress` shows how far it is.

    SIGINT and SIGTERM stop the run, which drains. After SIGTERM the signal is sent once more when everything is closed,
    to whoever handled it before: by default it ends the process.

    Raises:
        ConfigError: The source or the output is missing.
        PhoenixRayError: Nothing could be computed, or the run had to stop; where Python shows notes, they say what is
            left and how to go on.
        KeyboardInterrupt: SIGINT came before the run computed, or twice.
    """
    require_both_places(settings)
    kind: ScreenKind = "none"
    if progress:
        kind = "json" if settings.run.log_format == "json" else "notebook" if is_notebook() else "text"
    screen = Screen(kind)
    try:
        with handlers_kept():
            result = compute_dataset(settings, screen, in_python=True)
    except PhoenixRayError as error:
        # Python 3.10 has no notes.
        add_note: Any = getattr(error, "add_note", None)
        if add_note is not None:
            for line in error.closing_lines:
                add_note(line)
        raise
    extraction = _to_extraction(result)
    for line in extraction.lines:
        screen.say(line, "info" if extraction.state == "finished" else "warning")
    if result.stop.signal == signal.SIGTERM:
        signal.raise_signal(signal.SIGTERM)
    return extraction


def _to_extraction(result: RunResult) -> Extraction:
    summary = result.summary
    return Extraction(
        state=result.outcome.state,
        output=summary.output,
        counts=dict(total(summary.splits.values()).statuses),
        failures=tuple(read_failures(result.storage)),
        digest=summary.digest,
        seconds=summary.seconds,
        frames_computed=summary.frames_computed,
        frames_per_second=summary.frames_per_second,
        lines=tuple(result.outcome.lines()),
        summary=summary,
        layout=result.layout,
    )
