"""Text for people: text from outside made harmless before it is shown or stored, and nouns with their numbers.

Names of videos and files, annotations and error messages may hold anything: escape sequences that move a cursor or
retitle a window, line ends that forge a line of a log, URIs with a password in them. What prints or logs passes such
text through `printable_line` or `printable_text`; what stores it (annotations, messages, `dataset.json`) through
`without_secrets`; what writes it into a cell of CSV through `spreadsheet_text`.
"""

from __future__ import annotations

import re
import unicodedata

# Control characters, surrogates, line and paragraph separators.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
# These make a terminal show letters in another order than they come in.
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# One slash is what is left of two where a URI was taken for a path.
_USER_INFO = re.compile(
    r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{1,19}:/{1,2})[^/?#\s\"'<>@]*(?:@[^/?#\s\"'<>@]*)*@"
)
# Cells that a spreadsheet takes for a formula, behind any marks that make them text; and those that are numbers.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TEXT_MARK = "'"
_SECRET_VALUE = re.compile(
    r"([?&;][^=&;#\s]{0,64}?(?:token|key|secret|passw|pwd|signature|sig|credential|auth)[^=&;#\s]{0,64}=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, which takes an s in the plural: `1 video`, `8,257 videos`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable_line(text: object) -> str:
    """Return text as one line that a terminal or a log can show: control characters are escaped, secrets taken out."""
    return "".join(map(_escape, without_secrets(str(text))))


def printable_text(text: object) -> str:
    """As `printable_line`, for text of several lines: line ends and tabs stay."""
    return "".join(character if character in "\n\t" else _escape(character) for character in without_secrets(str(text)))


def without_secrets(text: str) -> str:
    """Return text with `***` in the place of what lets one in: `scheme://user:password@`, `?token=`, `&Signature=`.

    Other parts of a URI stay, since they may be what names a video (`?v=…`).
    """
    if ":/" not in text and "=" not in text:
        return text
    return _SECRET_VALUE.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def spreadsheet_text(text: str) -> str:
    """Return text for a cell of CSV, with a `'` before what a spreadsheet would compute as a formula; numbers stay."""
    return _TEXT_MARK + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_spreadsheet_text(text: str) -> str:
    """Return the text that `spreadsheet_text` was given."""
    return text[1:] if text.startswith(_TEXT_MARK) and _FORMULA.match(text) else text


def _escape(character: str) -> str:
    if unicodedata.category(character) in _CONTROLS or character in _DIRECTION_MARKS:
        return character.encode("unicode_escape").decode()
    return character
