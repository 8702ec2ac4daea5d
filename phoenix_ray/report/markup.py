"""Builds HTML as a tree of elements, so that text from outside can never become markup.

Names of videos, annotations and error messages are untrusted. The tree of the standard library escapes every text and
attribute when it is written, and `element` makes control characters visible and removes secrets.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Sequence
from xml.etree import ElementTree

from phoenix_ray.text import printable_line

Element = ElementTree.Element
Node = Element | str | None
# Stands in a table where there is no value.
ABSENT = "—"


def element(tag: str, *children: Node, **attributes: str | float) -> Element:
    """Return an element with text and elements inside, None left out.

    Args:
        tag: Its name.
        children: What it holds, in order. An element can be in one place only.
        attributes: `class_` stands for `class`, `text_anchor` for `text-anchor`.
    """
    named = {name.rstrip("_").replace("_", "-"): printable_line(value) for name, value in attributes.items()}
    built = Element(tag, named)
    add(built, *children)
    return built


def add(parent: Element, *children: Node) -> None:
    """Append text and elements to an element, None left out."""
    for child in children:
        if isinstance(child, str):
            text = printable_line(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        elif child is not None:
            parent.append(child)


def picture(content: bytes, width: int, height: int, description: str) -> Element:
    """Return a JPEG as an element that holds its bytes."""
    image = element("img", alt=description, width=width, height=height)
    image.set("src", f"data:image/jpeg;base64,{base64.b64encode(content).decode()}")
    return image


def table(headings: Sequence[str], rows: Iterable[Sequence[Node]], texts: Collection[int] = (0,)) -> Element:
    """Return a table; columns of numbers stand to the right, those whose index is in `texts` to the left."""
    kinds = ["text" if column in texts else "number" for column in range(len(headings))]
    head = (element("th", heading, class_=kind, scope="col") for heading, kind in zip(headings, kinds, strict=True))
    body = (
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    return element(
        "div",
        element("table", element("thead", element("tr", *head)), element("tbody", *body)),
        class_="scroll",
    )


def definitions(pairs: Iterable[tuple[str, Node]]) -> Element:
    """Return names and what each is, those left out that are None or empty."""
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value))
            for name, value in pairs
            if value is not None and value != ""
        ),
    )


def note(text: str) -> Element:
    """Return a sentence below something that it explains."""
    return element("p", text, class_="note")


def more(shown: int, total: int, noun: str) -> Element | None:
    """Return how many things of a list are not shown, None where all are."""
    left = total - shown
    return note(f"and {left:,} more {noun}{'' if left == 1 else 's'}") if left > 0 else None


def brief(text: str, most: int = 120) -> str:
    """Return text from outside, cut where it is longer than a line or two of the page."""
    return text if len(text) <= most else f"{text[:most]}…"


def video_label(split: str, video_id: str) -> str:
    """Return a video as `split/ID`, brief; files of other tools may have no split."""
    return brief("/".join(filter(None, (split, video_id))))


def document(title: str, style: str, body: Sequence[Element]) -> str:
    """Return a whole page that fetches nothing and runs nothing, whatever its texts hold."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    security = element("meta", content=policy)
    security.set("http-equiv", "Content-Security-Policy")
    sheet = Element("style")
    # Written as it is: our own, and the text that the policy allows.
    sheet.text = style
    head = element(
        "head",
        element("meta", charset="utf-8"),
        security,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        sheet,
    )
    page = element("html", head, element("body", element("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{ElementTree.tostring(page, encoding='unicode', method='html')}\n"
