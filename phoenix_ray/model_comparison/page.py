"""A comparison as one page of HTML: the tables, and the same frames side by side, a column for each model.

Like the report of a dataset it fetches nothing and runs nothing, and follows the browser's light or dark colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray import __version__
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.model_comparison.comparison import ModelComparison
from phoenix_ray.model_comparison.tables import comparison_tables, sample_lines
from phoenix_ray.report.markup import Element, brief, document, element, note, picture, table, video_label
from phoenix_ray.viewer.overlay import Image, draw

# Frames of each kind: spread over the sample, farthest apart, and with most parts that one model alone found.
SHOWN_OF_EACH = 4
_SHOWN_HEIGHT = 260
_WIDEST = 1.8
_JPEG_QUALITY = 82
_STYLE = """
main { max-width: 1400px; }
.beside table { width: auto; }
.beside td, .beside th { padding: 6px 8px 10px 0; border: 0; text-align: left; vertical-align: top; }
.beside img { display: block; border-radius: 8px; max-width: none; }
.beside .missing { color: var(--warning); font-size: 12.5px; }
.where { min-width: 130px; max-width: 190px; overflow-wrap: anywhere; font-size: 12.5px; }
"""


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame of the sample to show.

    Attributes:
        run: Index of its run.
        row: Its row in the run.
        why: Why it is shown.
    """

    run: int
    row: int
    why: str


def comparison_page(comparison: ModelComparison, now: datetime) -> str:
    """Return the page.

    Args:
        comparison: The comparison.
        now: When the page is made, with its time zone.
    """
    names = ", ".join(model.label for model in comparison.models)
    header = element(
        "header",
        element("p", f"Comparison of models, {now:%Y-%m-%d %H:%M %Z}", class_="kicker"),
        element("h1", brief(names, 300)),
        element("ul", *(element("li", brief(line, 600)) for line in sample_lines(comparison))),
    )
    sections = [
        element(
            "section",
            element("h2", content.title),
            table(content.headings, content.rows, content.texts) if content.rows else None,
            note(content.note) if content.note else None,
        )
        for content in comparison_tables(comparison)
    ]
    footer = element(
        "footer",
        f"Made by phoenix-ray {__version__} on {now:%Y-%m-%d %H:%M %Z}. The page Compare of its documentation says "
        "what each figure means. This page fetches nothing and runs no script.",
    )
    style = (resources.files("phoenix_ray.report") / "style.css").read_text(encoding="utf-8") + _STYLE
    body = [header, *sections, _pictures(comparison), footer]
    return document(f"Models compared: {names}", style, body)


def choose_frames(comparison: ModelComparison) -> list[ShownFrame]:
    """Return the frames to show, in the order of the sample; none twice, and none that could not be read."""
    places = [
        (number, row)
        for number, run in enumerate(comparison.runs)
        for row, frame in enumerate(run.frames)
        if frame.image is not None
    ]
    rows = [
        row
        for row, frame in enumerate(frame for run in comparison.runs for frame in run.frames)
        if frame.image is not None
    ]
    chosen: dict[tuple[int, int], str] = {}
    if comparison.pairs:
        apart = np.fmax.reduce([pair.apart for pair in comparison.pairs])[rows]
        alone = np.max([pair.one_sided for pair in comparison.pairs], axis=0)[rows]
        for why, values in (("farthest apart", apart), ("found by one model alone", alone.astype(np.float64))):
            for place in _largest(values, [run for run, _ in places]):
                chosen.setdefault(places[place], why)
    spread = (np.arange(SHOWN_OF_EACH) + 0.5) * len(places) / SHOWN_OF_EACH
    for place in spread.astype(int).tolist():
        chosen.setdefault(places[place], "spread over the sample")
    return [ShownFrame(run, row, why) for (run, row), why in sorted(chosen.items())]


def _largest(values: NDArray[np.float64], runs: Sequence[int]) -> list[int]:
    """Return the places of the largest values above 0, the first of equals first: of each run one before a second.

    Neighbouring frames look alike.
    """
    order = np.argsort(-np.nan_to_num(values, nan=0.0), kind="stable")
    candidates = [place for place in order.tolist() if values[place] > 0]
    firsts = {runs[place]: place for place in reversed(candidates)}.values()
    others = [place for place in candidates if place not in firsts]
    ranked = sorted(firsts, key=candidates.index)
    return [*ranked, *others][:SHOWN_OF_EACH]


def _pictures(comparison: ModelComparison) -> Element:
    labels = [model.label for model in comparison.models]
    head = element("tr", element("th", "frame"), *(element("th", brief(label), scope="col") for label in labels))
    rows = [_row(comparison, shown) for shown in choose_frames(comparison)]
    return element(
        "section",
        element("h2", "The same frames"),
        note(
            "Frames that lie farthest apart, that one model alone finds a part in, and some spread over the sample. "
            "Pale points are guesses of low visibility."
        ),
        element(
            "div", element("table", element("thead", head), element("tbody", *rows), class_="beside"), class_="scroll"
        ),
    )


def _row(comparison: ModelComparison, shown: ShownFrame) -> Element:
    run = comparison.runs[shown.run]
    frame = run.frames[shown.row]
    where = element(
        "td",
        element("div", video_label(run.video.split, run.video.video_id)),
        element("div", f"frame {frame.index}"),
        element("div", shown.why, class_="note"),
        class_="where",
    )
    assert frame.image is not None
    cells = [_cell(frame.image, model.result.runs[shown.run], shown.row, model.label) for model in comparison.models]
    return element("tr", where, *cells)


def _cell(image: Image, landmarks: VideoLandmarks, row: int, label: str) -> Element:
    height, width = image.shape[:2]
    factor = min(_SHOWN_HEIGHT / height, _SHOWN_HEIGHT * _WIDEST / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # Drawn at twice the size and then reduced, so that lines are fine and smooth.
    large = np.asarray(cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_AREA), np.uint8)
    points = {part: values[row] for part, values in landmarks.points.items()}
    drawn = draw(large, landmarks.layout, points, scale=1)
    small = cv2.cvtColor(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return element("td", picture(content.tobytes(), *size, f"landmarks of {label}"), *_missing(landmarks, row))


def _missing(landmarks: VideoLandmarks, row: int) -> Iterator[Element]:
    """Yield what is wrong with a frame: parts that were not found, or that the model failed on it."""
    status = landmarks.status[row]
    if status != "ok":
        yield element("div", {"no_person": "no person", "failed": "failed"}.get(status, status), class_="missing")
        return
    absent: Sequence[str] = [
        part.name.replace("_", " ")
        for part in landmarks.layout.parts
        if part.scored and np.isnan(landmarks.points[part.name][row, :, 0]).all()
    ]
    if absent:
        yield element("div", f"without {', '.join(absent)}", class_="missing")
