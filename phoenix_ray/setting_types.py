"""Types of settings: what their values may be, beyond being a number or a text."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Precision = Literal["exact", "tf32", "fp16"]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
# Marks settings that hold a path: in a file or a word, `$NAME` and `~` are expanded in them.
IS_PATH = "is a path"
PathText = Annotated[str, IS_PATH]
# What a caller gives where a setting holds a path or URI.
Location = str | os.PathLike[str]
_SHARE = re.compile(r"(0|[1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


def _check_share(text: str) -> str:
    """Return a share of the videos, or the empty text; ValueError for anything else."""
    parts = _SHARE.fullmatch(text)
    if text and (parts is None or int(parts[1]) >= int(parts[2])):
        raise ValueError("give I/N, with I from 0 to N-1: 0/8 to 7/8 are the shares of eight")
    return text


ShareText = Annotated[str, AfterValidator(_check_share)]


class Section(BaseModel):
    """A group of settings: frozen, strict about unknown keys, and without NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)
