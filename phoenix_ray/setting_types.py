"""Types of settings whose values have a form of their own; `config` uses them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_SHARE = re.compile(r"(0|[1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


def _check_share(text: str) -> str:
    """Return a share of the videos, or the empty text; ValueError for anything else."""
    parts = _SHARE.fullmatch(text)
    if text and (parts is None or int(parts[1]) >= int(parts[2])):
        raise ValueError("give I/N, with I from 0 to N-1: 0/8 to 7/8 are the shares of eight")
    return text


ShareText = Annotated[str, AfterValidator(_check_share)]
