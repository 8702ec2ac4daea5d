"""What a tracking model remembers of a video, in the footers of partitions: where the next range of the video begins.

A partition of a dataset in mode tracking carries the model's state after its last frame, bit for bit. The worker that
computes the frames after it goes on from there. The state is not part of `PartitionInfo`, since a survey of a million
partitions would hold gigabytes of states that nobody asks for: `partitions.latest_state` reads one when it is needed.

A state that is missing or damaged costs no row: the frames before are computed again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The field of a footer.
STATE_FIELD = "state"
# Raise it when the encoding changes; a state of another version counts as missing.
STATE_VERSION = 1
# 256 KiB, far more than any model remembers: what a hostile footer may make a reader decode.
MOST_NUMBERS = 1 << 16
_MOST_CHARACTERS = 4 * -(-4 * MOST_NUMBERS // 3)


@dataclass(frozen=True, slots=True)
class CommittedState:
    """A state in the dataset.

    Attributes:
        frame: It is the state before this frame of its video.
        numbers: float32 (state_size,).
    """

    frame: int
    numbers: NDArray[np.float32]


def encode_state(numbers: NDArray[np.float32]) -> dict[str, Any]:
    """Return a state as it lies in a footer; NaNs keep their bits.

    Raises:
        ValueError: It is longer than any reader takes.
    """
    if numbers.size > MOST_NUMBERS:
        raise ValueError(f"a state of {numbers.size:,} numbers, more than the {MOST_NUMBERS:,} that readers take")
    content = np.ascontiguousarray(numbers, "<f4").tobytes()
    return {"version": STATE_VERSION, "float32": base64.b64encode(content).decode()}


def parse_state(tree: object) -> NDArray[np.float32] | None:
    """Return the state that a field of a footer holds; None where it holds none that can be understood."""
    if not isinstance(tree, Mapping) or tree.get("version") != STATE_VERSION:
        return None
    text = tree.get("float32")
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
        return None
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except ValueError:
        return None
    # No model remembers infinity, and arithmetic with it would fail in every frame after.
    return None if np.isinf(numbers).any() else numbers
