"""Text for people: making text from outside harmless before it is shown or stored, counting nouns, progress bars.

Names of videos and files, annotations and error messages may hold anything: escape sequences that move the cursor or
retitle the window, line ends that forge a log line, URIs with passwords. Code that prints or logs such text passes it
through `printable_line` or `printable_text`; code that stores it (annotations, messages, `dataset.json`) through
`without_secrets`, and through `storable_text` if it comes from the file system; code that writes it into a CSV cell
through `spreadsheet_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

# Control characters, surrogates, line and paragraph separators.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# These make a terminal show letters in another order than that of the text.
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# One slash of two is left where a URI was taken for a path.
_USER_INFO = re.compile(
    # The container in `abfs://CONTAINER@ACCOUNT…` is not secret.
    r"(?<![A-Za-z0-9+.-])(?!(?i:abfss?):/{1,2}[^/?#\s\"'<>@:]*@)"
    r"([A-Za-z][A-Za-z0-9+.-]{1,19}:/{1,2})[^/?#\s\"'<>@]*(?:@[^/?#\s\"'<>@]*)*@"
)
# Cells that a spreadsheet takes for a formula, after any marks that make them text; and cells that are numbers.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TEXT_MARK = "'"
_SECRET_VALUE = re.compile(
    r"([?&;][^=&;#\s]{0,64}?(?:token|key|secret|passw|pwd|signature|sig|credential|auth)[^=&;#\s]{0,64}=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, whose plural ends in s: `1 video`, `8,257 videos`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class ShowProgress(Protocol):
    """Shows how many of how many things are done, and a remark about them."""

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        """Move the bar."""


@contextmanager
def progress_bar(label: str, things: str) -> Iterator[ShowProgress]:
    """Give a function that moves a bar on standard error, where that is a terminal, for as long as the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    counts = (MofNCompleteColumn(), TextColumn(things + "{task.fields[remark]}"), TimeRemainingColumn())
    with Progress(
        TextColumn(label), BarColumn(), *counts, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=None, remark="")
        yield lambda done, total, remark="": bar.update(task, completed=done, total=total, remark=remark)


def printable_line(text: object) -> str:
    """Return text as one line that is safe in a terminal or log: control characters escaped, secrets removed."""
    return "".join(map(_escape, without_secrets(str(text))))


def short_line(text: object, most: int = 80) -> str:
    """Return text as `printable_line` does, with `…` in place of what is beyond `most` characters."""
    line = printable_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def printable_text(text: object) -> str:
    """Return text of several lines that is safe in a terminal; as `printable_line`, but line ends and tabs stay."""
    return "".join(character if character in "\n\t" else _escape(character) for character in without_secrets(str(text)))


def without_secrets(text: str) -> str:
    """Return text with `***` in place of credentials in URIs: `scheme://user:password@`, `?token=`, `&Signature=`.

    Other parts of a URI stay, because they may identify a video (`?v=…`).
    """
    if ":/" not in text and "=" not in text:
        return text
    return _SECRET_VALUE.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def storable_text(text: str) -> str:
    r"""Return text with `\udcXX` for each byte of a file name that is not UTF-8, which no data file can store."""
    return text.encode("utf-8", "backslashreplace").decode()


def spreadsheet_text(text: str) -> str:
    """Return text for a CSV cell, with a `'` before anything but a number that a spreadsheet would run as a formula."""
    return _TEXT_MARK + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_spreadsheet_text(text: str) -> str:
    """Undo `spreadsheet_text`."""
    return text[1:] if text.startswith(_TEXT_MARK) and _FORMULA.match(text) else text


def _escape(character: str) -> str:
    if unicodedata.category(character) in _CONTROLS or character in _DIRECTION_MARKS:
        return character.encode("unicode_escape").decode()
    return character
