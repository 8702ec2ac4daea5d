"""What the pages of the documentation hold: fenced blocks and inline code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "jobs" / "README.md"])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Name of the page, relative to the repository.
        line: Line of its first line of text, counted from 1.
        language: The word behind the fence; empty where there is none.
        text: The lines between the fences.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page_name(page: Path) -> str:
    """Return a page's path relative to the repository."""
    return str(page.relative_to(ROOT))


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all pages that are in one of these languages."""
    return [block for page in PAGES for block in _blocks_of(page) if block.language in languages]


def inline_code(page: Path) -> list[str]:
    """Return the pieces of code between single backquotes, without the backslashes that table cells need."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(piece.replace("\\|", "|").split()) for piece in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start(2)) + 1
        yield Block(page_name(page), line, found[1], found[2])
